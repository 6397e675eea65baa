"""One run among many, whose loss and gradient come out of rounds that all of them share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from torch import Tensor

from ..bridge.interface import Bridge, V
from ..bridge.space import Space
from ..problem.evaluation import Evaluation, Source
from ..problem.evaluator import Evaluator
from ..problem.guard import make_guard
from ..record.profile import Profile
from .batch import RowAnswer

__all__ = ["Row", "RowEvaluator"]


class Row:
    """What stands in the place of the model for one run: its own values, held as the vector x.

    Args:
        bridge: of the model, which stays where it is.
        space: of the run's vectors.
        templates: the parameters by dtype and shape, where the run's vectors are.
        recover: exceptions that stand for a loss of NaN.
        x: where the run starts.
    """

    recovered = False
    recovered_why = ""

    def __init__(
        self,
        bridge: Bridge[Any],
        space: Space[Any],
        templates: list[Tensor],
        recover: tuple[type[Exception], ...],
        x: Any,
    ) -> None:
        self.numel, self.params, self.recover = bridge.numel, templates, recover
        self.space, self._x = space, x

    def flatten_params(self) -> Any:
        return self._x

    def load_params(self, x: Any) -> None:
        self._x = x

    def flatten_grads(self) -> Any:
        return self.space.zeros_like(self._x)

    def has_grads(self) -> bool:
        return False

    def clear_grads(self) -> None:
        """The model's gradients are of no run."""

    def load_grads(self, x: Any) -> None:
        """As :meth:`clear_grads`."""

    def release(self) -> None:
        """Nothing waits to be reused."""


class RowEvaluator(Evaluator[Any]):
    """Where one run is, and what rounds gave it there.

    Args:
        row: of the run.
        profile: of the run.
        gradient, keeps_points: see :class:`~pytorch_minimize.problem.evaluator.Evaluator`.

    Attributes:
        ask: point -> answer; it may wait for the others.
    """

    ask: Callable[[Any], RowAnswer]

    def __init__(self, row: Row, profile: Profile, *, gradient: bool, keeps_points: bool) -> None:
        source: Any = row
        super().__init__(
            source,
            cast("Bridge", row),
            row.space,
            make_guard(profile),
            profile,
            gradient=gradient,
            keeps_points=keeps_points,
            source=cast("Source[Any]", source),
        )
        self._row = row

    def evaluate(
        self,
        x: Any,
        permit: Callable[[], None] | None = None,
        measure: Callable[[V], V] | None = None,
    ) -> Evaluation[Any]:
        here = self.here
        if here is not None and self._same(x, here.x):
            return here
        self.guard.check()
        if permit is not None:
            permit()
        x = x if self.keeps_points else self.space.copy(x)
        try:
            return self.take(x, self.ask(x))
        except BaseException as error:
            self.guard.remember(error)  # also where the solver keeps it to itself
            raise

    def take(self, x: Any, answer: RowAnswer) -> Evaluation[Any]:
        """The run is at x, which is never written again, and was told this of it."""
        self._move(x)
        self.evaluations += 1
        value, gradient, finite, raised, scalars = answer
        self._row.recovered = raised != ""
        if raised:
            self._row.recovered_why = raised
        recovered = raised != ""
        self.here = found = Evaluation(x, value, gradient, finite, recovered, scalars=scalars)
        return found
