"""What one run among many shares with the others: the best point, limits, and a race."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from statistics import median

from scipy.optimize import OptimizeResult

from ..bridge.interface import V
from ..problem.evaluation import Evaluation
from ..problem.evaluator import Evaluator
from ..problem.objective import Objective
from ..record.history import History
from ..region.region import Region
from ..run.endings import Ending
from ..run.plan import Plan
from ..run.watch import Watch
from ..settings import Settings

__all__ = ["Race", "RunObjective", "RunWatch"]

_ENOUGH = 4  # losses of other runs, below which the race judges nobody


class RunObjective(Objective[V]):
    """The ledger of one run, as if it were alone, which tells that of the whole step.

    Args:
        evaluator: of the run.
        whole: of the step: it counts evaluations and what is not finite, warns or raises, and
            keeps the best point of all runs.
    """

    def __init__(self, evaluator: Evaluator[V], whole: Objective[V]) -> None:
        super().__init__(evaluator, Region())
        self._whole = whole
        self._permit: Callable[[], None] | None = None

    def evaluate(
        self,
        x: V,
        permit: Callable[[], None] | None = None,
        measure: Callable[[V], V] | None = None,
    ) -> Evaluation[V]:
        self._permit = permit
        return super().evaluate(x, self.count, measure)

    def count(self) -> None:
        """One evaluation more, of the run and of all; before it, so that limits are exact."""
        if self._permit is not None:
            self._permit()
        self._whole.evaluator.count_elsewhere(1)

    def note_nonfinite(self, what: str, answer: str, recovered: bool) -> None:
        self.nonfinite += 1
        self.recovered += recovered
        self._whole.note_nonfinite(what, answer, recovered)

    def _consider(self, here: Evaluation[V]) -> None:
        super()._consider(here)
        whole, violation = self._whole, self._best_violation
        if self.best_x is here.x and (
            (violation, self.best_value) < (whole._best_violation, whole.best_value)
        ):
            whole.best_x, whole.best_value = self.best_x, self.best_value
            whole._best_violation = violation


class Race:
    """Which runs are hopeless: those whose loss is above the median of what others had.

    A run is judged at each of its iterations k from ``after`` on, against the losses that other
    runs had at their own iteration k, ended or not, once at least four of them came so far. The
    best of the runs that were compared is never ended, and no run before iteration ``after``.

    Args:
        after: None to judge nobody.

    Example:
        >>> race = Race(after=2)
        >>> [race.judge(2, loss) for loss in (1.0, 2.0, 3.0, 4.0, 2.5, 2.6)]
        [False, False, False, False, False, True]
        >>> race.judge(1, 100.0)
        False
    """

    def __init__(self, after: int | None) -> None:
        self._after = math.inf if after is None else after
        self._losses: defaultdict[int, list[float]] = defaultdict(list)

    def judge(self, nit: int, loss: float) -> bool:
        """Whether a run is hopeless that has this loss after ``nit`` iterations."""
        if nit < self._after:
            return False
        others = self._losses[nit]
        hopeless = len(others) >= _ENOUGH and not loss <= median(others)
        if not math.isnan(loss):
            others.append(loss)
        return hopeless


class RunWatch(Watch[V]):
    """Stands by one run; limits before evaluations are those of the step.

    Args:
        objective, x0, plan, settings, history: of the run.
        whole: stands by the step.
        race: judges the run at each iterate.

    Attributes:
        spent_in_step: at each iterate, evaluations and seconds of all runs so far.
    """

    def __init__(
        self,
        objective: Objective[V],
        x0: V,
        plan: Plan,
        settings: Settings,
        history: History,
        whole: Watch[V],
        race: Race,
    ) -> None:
        super().__init__(objective, x0, plan, settings, history)
        self._whole, self._race = whole, race
        self.looks = whole.looks
        self.spent_in_step: list[tuple[int, float]] = []

    def due(self) -> Ending | None:
        """Why the run must end; never before its first evaluation."""
        return self._whole.due() if self._objective.evaluations else None

    def iteration(
        self, x: V, result: OptimizeResult, lengths: tuple[float, float] | None = None
    ) -> Ending | None:
        ending = super().iteration(x, result, lengths)
        if ending is None and self._race.judge(self.nit, float(result["fun"])):
            return Ending.HOPELESS
        return ending

    def _record(self, loss: float, lengths: tuple[float, float]) -> None:
        self.spent_in_step.append(self._whole.spent())  # first: an interrupt may come between
        super()._record(loss, lengths)
