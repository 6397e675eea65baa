"""The ledger of a run: what was evaluated, and which point is the best."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Generic, Protocol

import numpy as np

from ..bridge.interface import V
from ..settings import OnNonfinite
from ..typing import Array
from .evaluation import Evaluation
from .evaluator import Evaluator

__all__ = ["NonfiniteError", "Objective", "Where"]


class NonfiniteError(FloatingPointError):
    """The loss or its gradient is NaN or infinite, and ``nonfinite="raise"`` was asked for."""


class Where(Protocol):
    """Where the solver may look; see :class:`~pytorch_minimize.region.region.Region`."""

    @property
    def is_restricted(self) -> bool:
        """Whether there is anything to violate."""

    @property
    def keeps_bounds(self) -> bool:
        """Whether the solver keeps the bounds, save by a rounding."""

    def violation(self) -> float | None:
        """How far the parameters' point is outside; None while that is not known."""

    def ask(self, x: Any) -> None:
        """Have the constraints evaluated at x, the parameters' point: nothing is unknown then."""

    def clip(self, x: Any) -> Any:
        """x, put back where a rounding left the bounds that the solver keeps."""

    def inwards(self, gradient: Any, x: Any) -> Any:
        """The gradient at x without what only the bounds keep from leading on."""

    def count_multipliers(self) -> int:
        """How many the constraints have in all."""


class Objective(Generic[V]):
    """What the closure gave over a run, each evaluation filed once; it knows no solver.

    All that it says was given by the closure (Note [true values]). Five vectors of length n may be
    alive in it, of which most are one and the same: the best point, the iterate, the last that was
    finite with its gradient (which the solver holds as well), and those of its evaluator.

    Args:
        evaluator: owns where the parameters are.
        region: where the solver may look; :meth:`look_in` and, for a while, :meth:`within` say
            otherwise.
        nonfinite: "recover" counts a loss or gradient that is not finite, and warns of the first;
            "raise" raises NonfiniteError.

    Attributes:
        best_x, best_value: the point with the lowest finite loss, among those that violate the
            constraints least; the start before there is one.
        last_finite: the last evaluation that was finite; None before there is one.
        level, worst, largest: the highest loss since the iterate, of all, and the largest in
            magnitude, among those that were finite.
        nonfinite: how many evaluations were not finite.
        recovered: how many of these stand for an exception that the closure may raise.
    """

    def __init__(
        self, evaluator: Evaluator[V], region: Where, nonfinite: OnNonfinite = "recover"
    ) -> None:
        self.evaluator = evaluator
        self.look_in(region)
        self._on_nonfinite = nonfinite
        space = evaluator.space
        self._same, self._compare_and_measure = space.same, space.compare_and_measure
        self._filed: Evaluation[V] | None = None
        self._marks = (0, 0)  # nonfinite at the last two iterates
        self._iterate: tuple[V, float, None, bool] | None = None
        self.last_finite: Evaluation[V] | None = None
        self.level, self.worst, self.largest = -math.inf, -math.inf, 0.0
        self.nonfinite = self.recovered = 0
        self.best_x = evaluator.x
        self.best_value = math.inf
        self._best_violation = math.inf

    @property
    def iterate(self) -> Evaluation[V] | None:
        """The last that the solver told of, without its gradient; before, where it starts."""
        return None if self._iterate is None else Evaluation(*self._iterate)

    @property
    def evaluations(self) -> int:
        """Losses so far, those that only curvature needed aside."""
        return self.evaluator.evaluations

    @property
    def best(self) -> Evaluation[V]:
        """The best point; its loss is NaN before there is one."""
        value = self.best_value
        return Evaluation(self.best_x, value if value < math.inf else math.nan, None, True)

    def evaluate(
        self,
        x: V,
        permit: Callable[[], None] | None = None,
        measure: Callable[[V], V] | None = None,
    ) -> Evaluation[V]:
        """What the closure gives at x, filed; see :meth:`Evaluator.evaluate`."""
        x = x if self._clip is None else self._clip(x)
        found = self.evaluator.evaluate(x, permit, measure)
        return found if found is self._filed else self.observe(found)

    def look_in(self, region: Where) -> None:
        """From here on the solver may look there."""
        self.region = region
        # Asked several times an evaluation.
        self._is_restricted = region.is_restricted
        self._clip = region.clip if region.keeps_bounds else None

    def observe(self, found: Evaluation[V]) -> Evaluation[V]:
        """File what the closure gave where the parameters are, if that was not done."""
        if found is self._filed:
            return found
        self._filed = found
        if self._iterate is None:
            self._iterate = found.x, found.value, None, found.finite
        value = found.value
        if found.finite:
            self.last_finite = found
            self._raise_levels(value, abs(value))
        elif not self.evaluator.space.has_nan(found.x):  # which is no point, but a breakdown
            what = "a gradient with NaN or inf" if math.isfinite(value) else f"a loss of {value}"
            self.note_nonfinite(what, _LARGE, found.recovered)
        if self._is_restricted or value < self.best_value:
            self._consider(found)
        return found

    def observe_many(self: Objective[Array], points: Array, values: Array, recovered: int) -> None:
        """File losses that were found elsewhere, at points (S, n); the parameters stay.

        Args:
            recovered: how many of them stand for an exception.
        """
        self.evaluator.count_elsewhere(len(points))
        finite = np.isfinite(values)
        if finite.any():
            self._raise_levels(float(values[finite].max()), float(np.abs(values[finite]).max()))
            best = int(np.argmin(np.where(finite, values, math.inf)))
            if values[best] < self.best_value:
                self.best_x, self.best_value = points[best].copy(), float(values[best])
                self._best_violation = 0.0
        for number, value in enumerate(values[~finite]):
            self.note_nonfinite(f"a loss of {value}", _LARGE, number < recovered)

    def consider(self) -> None:
        """Keep the parameters' point as the best if it is.

        Called when the loss became known there and when a constraint did, since the solver asks
        for one after the other.
        """
        if self._filed is not None and self._filed is self.evaluator.here:
            self._consider(self._filed)

    def _consider(self, here: Evaluation[V]) -> None:
        violation = self.region.violation() if self._is_restricted else 0.0
        if violation is None or not math.isfinite(here.value):
            return
        if (violation, here.value) < (self._best_violation, self.best_value):
            self.best_x, self.best_value = here.x, here.value
            self._best_violation = violation

    def note_nonfinite(self, what: str, answer: str, recovered: bool) -> None:
        """Count, and tell of the first that no ``recover`` announced.

        Args:
            what: the closure gave.
            answer: what the solver is told instead.
            recovered: whether it stands for an exception that the closure may raise.

        Raises:
            NonfiniteError: that is what the user asked for.
        """
        self.nonfinite += 1
        if recovered:
            self.recovered += 1
            return
        if self._on_nonfinite == "raise":
            raise NonfiniteError(
                f"the closure gave {what}. The parameters are set to the best point seen; "
                f"nonfinite='recover' would have gone on."
            )
        if self.nonfinite - self.recovered == 1:
            warnings.warn(
                f"the closure gave {what}; the solver is told {answer}, and res.nonfinite counts "
                f"how often. nonfinite='raise' stops instead.",
                RuntimeWarning,
                stacklevel=2,
            )

    def known(self, x: V) -> Evaluation[V] | None:
        """What the closure gave at x, if x is the last point, the iterate or the best one."""
        here = self.evaluator.here
        if here is not None and self._same(x, here.x):
            return here
        if self._iterate is not None and self._same(x, self._iterate[0]):
            return self.iterate
        if math.isfinite(self.best_value) and self._same(x, self.best_x):
            return self.best
        return None

    def point(self, x: V) -> V:
        """x as a vector that is never written again; a copy only where x is no known point."""
        for known in (self.evaluator.x, self.best_x):
            if self._same(x, known):
                return known
        return self.evaluator.space.copy(x)

    def start_from(self, x: V) -> None:
        """A solver starts from x, within a run; what is known there is its iterate."""
        known = self.known(x)
        self._iterate = None if known is None else (known.x, known.value, None, known.finite)

    def next_iteration(
        self, x: V, before: V | None = None, *, stays: bool = False
    ) -> tuple[Evaluation[V] | None, float]:
        """The solver has come to x, from where it goes on.

        Args:
            stays: x is not written into before the run is over: it stands for the point that is
                known there, of which one copy less is kept then (Note [points stay]).

        Returns:
            What is known there, and the Euclidean distance from ``before``; NaN where that is None.
        """
        here, length = self.evaluator.here, math.nan
        if before is None:
            known = self.known(x)
        elif here is None:
            known, length = self.known(x), self.evaluator.space.distance(x, before)
        else:
            is_here, length = self._compare_and_measure(x, here.x, before)
            known = here if is_here else self.known(x)
        if known is not None:
            self._iterate = x if stays else known.x, known.value, None, known.finite
            if known.finite or math.isfinite(known.value):
                self.level = known.value
        self._marks = self._marks[1], self.nonfinite
        return known, length

    @property
    def recently_nonfinite(self) -> int:
        """How many evaluations were not finite since the iterate before the last."""
        return self.nonfinite - self._marks[0]

    def is_known_feasible(self, x: V) -> bool:
        """Whether x violates nothing and is the last point or the best one."""
        return self.violation_at(x) == 0.0

    def violation_at(self, x: V) -> float:
        """How far x is outside the feasible region; NaN where that is not known."""
        if not self.region.is_restricted:
            return 0.0
        if self._same(x, self.best_x) and math.isfinite(self._best_violation):
            return self._best_violation
        known = None if self.evaluator.known(x) is None else self.region.violation()
        return math.nan if known is None else known

    def measure_violation(self, x: V) -> float:
        """As :meth:`violation_at`; where that is not known, constraints are evaluated at x."""
        violation = self.violation_at(x)
        if not math.isnan(violation):
            return violation
        self.evaluator.load(x)
        self.region.ask(x)
        found = self.region.violation()
        return math.nan if found is None else found

    @contextlib.contextmanager
    def within(self, region: Where) -> Iterator[None]:
        """Inside the block the solver may look there, and nowhere else."""
        outside = self.region
        self.look_in(region)
        try:
            yield
        finally:
            self.look_in(outside)

    def _raise_levels(self, value: float, magnitude: float) -> None:
        if value > self.level:
            self.level = value
        if value > self.worst:
            self.worst = value
        if magnitude > self.largest:
            self.largest = magnitude


_LARGE = "a large loss so that it steps back"
