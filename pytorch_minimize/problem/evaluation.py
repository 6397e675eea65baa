"""What the closure gave at a point, and what gives it where the closure runs in many processes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from typing_extensions import NamedTuple  # typing's is not generic before Python 3.11

from ..bridge.interface import V

__all__ = ["Evaluation", "Source"]

V_co = TypeVar("V_co", covariant=True)


class Evaluation(NamedTuple, Generic[V]):
    """What the closure gave at a point (Note [true values]).

    Attributes:
        x: the point, a vector that is never written again (Note [points stay]).
        value: the loss there, NaN and infinities included.
        gradient: of the loss; None where none was computed, or it is no longer kept.
        finite: whether the loss and the gradient are.
        recovered: whether the loss stands for an exception that the closure may raise.
        largest: max |g_i| where the gradient is finite; NaN where nobody has looked.
        scalars: what was measured of the gradient, where it came over with the loss.
    """

    x: V
    value: float
    gradient: V | None
    finite: bool
    recovered: bool = False
    largest: float = math.nan
    scalars: Sequence[float] = ()


class Source(Protocol[V_co]):
    """Stands in for the runner of the closure, where that runs in many processes."""

    recovered: bool

    @property
    def recover(self) -> tuple[type[Exception], ...]: ...

    @property
    def recovered_why(self) -> str: ...

    def value(self) -> float: ...

    def value_and_gradient(self) -> float: ...

    def gradient(self) -> tuple[V_co, bool]:
        """That of the last evaluation, as :meth:`Bridge.gradient` gives it."""

    def clear_grads(self) -> None: ...
