"""What is made of each start: a run, and what is left of it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from scipy.optimize import OptimizeResult
from tqdm.auto import tqdm

from ..problem.evaluator import Evaluator
from ..problem.objective import Objective
from ..record.history import History
from ..region.region import Region
from ..run.finish import finish
from ..run.optimizer import Run
from ..run.plan import Plan
from ..settings import Settings
from ..typing import Array
from .ledger import Race, RunObjective, RunWatch

__all__ = ["OneRun", "Runs"]

Lend = Callable[[Any, Callable[[], Any]], Any]
"""Runs code of the user's in the thread that called ``step``, where the model holds x."""


class OneRun:
    """One run, made and finished as if it were the only one.

    Args:
        runs: of the step.
        number: of the start.
        evaluator: of this run, at its start.
        lend: how the user's callback is called.

    Attributes:
        run: what a solver is given.
        plan: of the solver, whose callback is told which run it is.
    """

    def __init__(self, runs: Runs, number: int, evaluator: Evaluator[Any], lend: Lend) -> None:
        whole = runs.whole
        self._runs, self._number = runs, number
        self._history = History()
        self._history.begin_segment()
        self.plan = replace(runs.plan, prints_report=False, callback=self._callback(lend))
        objective: Objective[Any] = RunObjective(evaluator, whole.objective)
        self._watch = RunWatch(
            objective,
            evaluator.x,
            self.plan,
            runs.settings,
            self._history,
            whole.watch,
            runs.race,
        )
        self.run = Run(evaluator, objective, self._watch, whole.bounds, evaluator.x)

    def through(self, solve: Callable[[Run], OptimizeResult]) -> None:
        """From the solver to the result; scipy may hide what was raised inside of it."""
        guard = self.run.evaluator.guard
        try:
            guard.hold()
            res = solve(self.run)
            guard.release()
            guard.check()
        except BaseException as raised:
            error = guard.error
            if error is None or error is raised:
                raise
            raise error from error.__cause__
        self.finished(res)

    def finished(self, res: OptimizeResult) -> None:
        """What is left of the run, among those of the others."""
        run = self.run
        res = finish(run.objective, res, run.x0, self.plan)
        # The point may be none that we remember: COBYLA and COBYQA choose among many at the end.
        violation = run.objective.measure_violation(run.evaluator.space.as_vector(res.x))
        res.run, res.history = self._number, self._history
        self._history.note_ending(f"{self.plan.name}: run {self._number}: {res.get('message')}")
        self._runs.keep(res, violation)

    def close(self) -> None:
        """Keep nothing of it alive; its iterations are part of the step's history."""
        self.run.evaluator.close()
        self.run.watch.close()
        self.run.objective.look_in(Region())  # whose constraints hold the objective
        self._history.end_segment(self.run.evaluator.evaluations, 0.0)
        self._runs.take(self._history, self._watch.spent_in_step)

    def _callback(self, lend: Lend) -> Callable[..., Any] | None:
        """The user's, which is told the run."""
        user = self._runs.plan.callback
        if user is None:
            return None

        @functools.wraps(user)
        def told(*args: Any, **keywords: Any) -> Any:
            result = keywords.get("intermediate_result")
            if result is not None:
                result["run"] = self._number
            x = args[0] if result is None else result["x"]
            return lend(x, lambda: self._runs.tell(self._number, lambda: user(*args, **keywords)))

        return told


class Runs:
    """The runs of one step, and what they share.

    Args:
        whole: the step, over the model itself.
        plan: of the solver.
        settings: of the step; those of a run have no limits of their own but ``rtol``.
        starts: points, shape (S, n).
        hopeless_after: see :class:`~.ledger.Race`; None judges nobody.
        history: of the step.
        current: told the number of the run whose callback is called; None where none is.

    Attributes:
        results: of the runs that ended, the best first.
    """

    def __init__(
        self,
        whole: Run,
        plan: Plan,
        settings: Settings,
        starts: Array,
        hopeless_after: int | None,
        history: History,
        current: Callable[[int | None], None],
    ) -> None:
        self.whole, self.plan, self.starts = whole, plan, starts
        self.settings = replace(
            settings, timeout=None, max_evaluations=None, progress=False, checkpoint=None
        )
        self.race = Race(hopeless_after)
        self.results: list[OptimizeResult] = []
        self._order: list[tuple[float, float]] = []
        self._history, self._taken, self._current = history, 0, current
        self._bar = tqdm(total=len(starts), unit="run") if settings.progress else None

    def numbers(self) -> Iterable[int]:
        """Of the starts, one by one, for as long as a run may begin."""
        for number in range(len(self.starts)):
            if number and self.whole.watch.due() is not None:
                return
            yield number

    def keep(self, res: OptimizeResult, violation: float) -> None:
        """File a result: feasible ones before others, then by loss, NaN last."""
        order = tuple(math.inf if math.isnan(each) else each for each in (violation, res.fun))
        place = sum(other <= order for other in self._order)
        self._order.insert(place, (order[0], order[1]))
        self.results.insert(place, res)
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {self.whole.objective.best_value:.6g}", refresh=False)
            self._bar.update()

    def take(self, history: History, spent: Iterable[tuple[int, float]]) -> None:
        """The iterations of a run that is over, as one segment of the step's history.

        Args:
            history: of the run.
            spent: at each of its iterations, evaluations and seconds of the step so far; one more
                where an interrupt came before the last was recorded.
        """
        if self._taken:
            self._history.begin_segment()
        self._taken += 1
        for row, (evaluations, seconds) in zip(history.segment(), spent, strict=False):
            loss, grad_norm, step_length, *_ = row
            self._history.add(loss, grad_norm, step_length, evaluations, seconds)
        self._history.note_ending(history.endings[-1])

    def lend(self, x: Any, use: Callable[[], Any]) -> Any:
        """What ``use`` returns where the model holds x, an iterate of a run that has no model."""
        evaluator = self.whole.evaluator
        return evaluator.lend(evaluator.space.as_vector(x), use)

    def tell(self, number: int, use: Callable[[], Any]) -> Any:
        """What the user's ``use`` returns, which may ask for the number of its run meanwhile."""
        self._current(number)
        try:
            return use()
        finally:
            self._current(None)

    def close(self) -> None:
        """Leave the progress bar as it stands."""
        if self._bar is not None:
            self._bar.close()
