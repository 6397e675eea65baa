"""One run among many, whose loss and gradient come out of rounds that all of them share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import numpy as np
from torch import Tensor

from ..bridge.interface import Bridge
from ..bridge.space import ARRAYS
from ..problem.evaluator import Evaluator
from ..problem.guard import make_guard
from ..record.profile import Profile
from ..typing import Array
from .batch import RowAnswer

if TYPE_CHECKING:
    from ..closure.runner import ClosureRunner

__all__ = ["Row", "row_evaluator"]


class Row:
    """What stands in the place of the model and of its closure for one run.

    To :class:`~pytorch_minimize.problem.evaluator.Evaluator` it is a bridge, whose parameters are
    this run's alone and are held as the vector x, and the source of what a closure would give.

    Args:
        bridge: of the model, which stays where it is.
        templates: the parameters by dtype and shape, on the host, where the run's vectors are.
        recover: exceptions that stand for a loss of NaN.
        x: where the run starts.

    Attributes:
        ask: point -> answer, which may wait for the others.
    """

    ask: Callable[[Array], RowAnswer]

    def __init__(
        self,
        bridge: Bridge,
        templates: list[Tensor],
        recover: tuple[type[Exception], ...],
        x: Array,
    ) -> None:
        self.numel, self.params, self.recover = bridge.numel, templates, recover
        self.recovered, self.recovered_why = False, ""
        self._x, self._answer = x, RowAnswer(0.0, None, False)

    def flatten_params(self) -> Array:
        return self._x

    def load_params(self, x: Array) -> None:
        self._x = x

    def value(self) -> float:
        """The loss where the run is."""
        self._answer = answer = self.ask(self._x)
        self.recovered = bool(answer.raised)
        self.recovered_why = answer.raised or self.recovered_why
        return answer.value

    value_and_gradient = value

    def gradient(self) -> tuple[Array, bool]:
        """That of the last answer, and whether that is finite."""
        gradient = self._answer.gradient
        assert gradient is not None
        return gradient, self._answer.finite

    def flatten_grads(self) -> Array:
        return np.zeros(self.numel)

    def has_grads(self) -> bool:
        return False

    def clear_grads(self) -> None:
        """The model's gradients are of no run."""

    def load_grads(self, x: Array) -> None:
        """As :meth:`clear_grads`."""

    def release(self) -> None:
        """Nothing waits to be reused."""


def row_evaluator(row: Row, profile: Profile, *, gradient: bool, keeps_points: bool) -> Evaluator:
    """An evaluator of one run; see :class:`~pytorch_minimize.problem.evaluator.Evaluator`."""
    bridge, source = cast("Bridge", row), row
    return Evaluator(
        cast("ClosureRunner", None),
        bridge,
        ARRAYS,
        make_guard(profile),
        profile,
        gradient=gradient,
        keeps_points=keeps_points,
        source=source,
    )
