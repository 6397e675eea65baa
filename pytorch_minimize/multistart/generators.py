"""A solver of ours, as something that asks for points and is told, without a thread."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar

from scipy.optimize import OptimizeResult

from ..problem.evaluation import Evaluation
from ..run.loop import walk
from ..run.optimizer import Run
from ..run.plan import Plan
from ..run.protocol import Solver, Trial
from .batch import RowAnswer
from .ledger import RunObjective
from .member import RowEvaluator

__all__ = ["GeneratedWalk", "walk_in_rounds"]

R = TypeVar("R")

_Asking = Generator[Trial[Any], RowAnswer, R]
"""Yields trials, is sent what the round gave there, and returns a result."""


class GeneratedWalk(Generic[R]):
    """A generator with the face of :class:`~.threads.ThreadedWalk`.

    Attributes:
        result: what the generator returned.
    """

    result: R

    def __init__(self, asking: _Asking[R]) -> None:
        self._asking = asking

    def resume(self, answer: RowAnswer | None) -> Trial[Any] | None:
        try:
            return next(self._asking) if answer is None else self._asking.send(answer)
        except StopIteration as stop:
            self.result = stop.value
            return None

    def abandon(self) -> None:
        self._asking.close()

    def forget(self) -> None:
        """Nothing is kept."""


def walk_in_rounds(
    solver: Solver[Any],
    run: Run,
    plan: Plan,
    finished: Callable[[OptimizeResult], R],
) -> _Asking[R]:
    """The run of a solver of ours, to its end or to where the watch ends it.

    Args:
        solver: a new one, of gradients alone.
        run: of this start, over a :class:`~.member.RowEvaluator` and a
            :class:`~.ledger.RunObjective`.
        plan: of the solver.
        finished: the solver's result -> what is left of the run.
    """
    walked = walk(solver, run, plan)
    try:
        trial = next(walked)
        while True:
            known = run.evaluator.known(trial.x)
            trial = walked.send(known or (yield from _evaluate(trial, run)))
    except StopIteration as end:
        res: OptimizeResult = end.value
    finally:
        walked.close()
    has_gradient = res.get("jac") is not None  # not where a limit has ended it
    if has_gradient and run.objective.nonfinite and run.evaluator.known(res.x) is None:
        # Where there was NaN the gradient at the end is looked at once more.
        yield from _evaluate(Trial(run.evaluator.space.copy(res.x)), run)
    return finished(res)


def _evaluate(trial: Trial[Any], run: Run) -> _Asking[Evaluation[Any]]:
    """What the round gives there, filed."""
    objective, evaluator = run.objective, run.evaluator
    assert isinstance(objective, RunObjective)
    assert isinstance(evaluator, RowEvaluator)
    objective.count()
    answer = yield trial
    return objective.observe(evaluator.take(trial.x, answer))
