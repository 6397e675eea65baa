"""What a run of many processes is made of in each of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from ..record.profile import Profile
from ..typing import Array, Loss
from .group import Group
from .rows import Rows
from .signals import HeldSignals

__all__ = ["Curvature", "Many", "Part", "Partners", "Runner"]

Many = Callable[[Array], tuple[Array, int]]
"""Points (S, n) -> their losses, and how many of these stand for an exception."""


class Runner(Protocol):
    """Runs the user's closure; see :class:`~pytorch_minimize.closure.runner.ClosureRunner`."""

    recovered: bool
    recovered_why: str
    recover: tuple[type[Exception], ...]

    def clear_grads(self) -> None: ...

    def value(self) -> float: ...

    def value_and_gradient(self) -> Loss: ...


class Curvature(Protocol):
    """See :class:`~pytorch_minimize.curvature.strategies.Curvature`."""

    def evaluate(self) -> Loss: ...

    def product(self, v: Array) -> tuple[Array, bool]: ...

    def hessian(self) -> tuple[Array, bool]: ...

    def drop(self) -> None: ...


@dataclass(frozen=True)
class Part:
    """What this process can compute besides the loss and its gradient.

    Attributes:
        curvature, rows: of the closure here.
        many: losses of many points, where the optimizer has a way.
    """

    curvature: Curvature | None = None
    many: Many | None = None
    rows: Rows[Any] | None = None

    def drop(self) -> None:
        """The parameters are about to change, or the run is over."""
        for each in (self.curvature, self.rows):
            if each is not None:
                each.drop()


@dataclass(frozen=True)
class Partners:
    """What a run is made of in each of its processes.

    Attributes:
        group: of them all.
        signals: held while they do something together.
        runner: of the closure here.
        profile: of the step here.
        factor: by which losses, gradients and products here are multiplied.
        points, sums: buffers for points and for gradients. They are there before the run begins,
            since who has no memory for them could not tell the others any more.
    """

    group: Group
    signals: HeldSignals
    runner: Runner
    profile: Profile
    factor: float
    points: list[Tensor]
    sums: list[Tensor]
