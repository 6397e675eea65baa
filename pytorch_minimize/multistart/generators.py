"""A solver of ours, as something that asks for points and is told: its stages, without a thread."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Generic, TypeVar

from scipy.optimize import OptimizeResult

from ..problem.evaluation import Evaluation
from ..run.endings import Ending, ended
from ..run.optimizer import Run
from ..run.plan import Plan
from ..run.protocol import Answer, Solver, Stage, Trial
from ..typing import Array
from .batch import RowAnswer
from .ledger import RunObjective
from .member import RowEvaluator

__all__ = ["GeneratedWalk", "Walk", "walk_by_stages"]

R = TypeVar("R")

Walk = Generator[Array, RowAnswer, R]
"""Yields points, is sent what the round gave there, and returns a result."""


class GeneratedWalk(Generic[R]):
    """A generator with the face of :class:`~.threads.ThreadedWalk`.

    Attributes:
        result: what the generator returned.
    """

    result: R

    def __init__(self, walk: Walk[R]) -> None:
        self._walk = walk

    def resume(self, answer: RowAnswer | None) -> Array | None:
        try:
            return next(self._walk) if answer is None else self._walk.send(answer)
        except StopIteration as stop:
            self.result = stop.value
            return None

    def abandon(self) -> None:
        self._walk.close()

    def forget(self) -> None:
        """Nothing is kept."""


def walk_by_stages(
    solver: Solver[Array],
    run: Run,
    plan: Plan,
    finished: Callable[[OptimizeResult], R],
) -> Walk[R]:
    """The run of a solver of ours, to its end or to where the watch ends it.

    As :func:`pytorch_minimize.run.loop.solve` on arrays, but that it yields where that evaluates.

    Args:
        solver: a new one, of gradients alone.
        run: of this start, over a :class:`~.member.RowEvaluator` and a
            :class:`~.ledger.RunObjective`.
        plan: of the solver.
        finished: the solver's result -> what is left of the run.
    """
    objective, watch, counts = run.objective, run.watch, run.evaluator.profile.counts
    stage, ending, x, status = solver.start(run.x0), None, None, None
    while ending is None and status is None:
        before = solver.nit
        ending = yield from _go_through(stage, run)
        if ending is None and solver.nit > before:
            ending = watch.iteration(solver.x, OptimizeResult(x=solver.x, fun=solver.value))
            x = None if ending is None else solver.x
        status = solver.done() if ending is None else None
        if ending is None and status is None:
            stage = solver.step()
    counts["jac"] = objective.evaluations
    if ending is not None:
        fields = plan.habits.result
        res = ended(ending, objective, fields, x=x, nit=watch.nit)
        res = OptimizeResult({**solver.fields(), **res})
    else:
        assert status is not None
        res = _result(solver, run, status)
    if objective.nonfinite and run.evaluator.known(res.x) is None:
        # Where there was NaN the gradient at the end is looked at once more.
        yield from _evaluate(res.x.copy(), run)
    return finished(res)


def _go_through(stage: Stage[Array], run: Run) -> Walk[Ending | None]:
    """Go through a stage; why the run ended inside it, if it did."""
    evaluator, watch = run.evaluator, run.watch
    try:
        wanted = next(stage, None)
        while wanted is not None:
            assert isinstance(wanted, Trial)
            ending = watch.due() if watch.looks else None
            if ending is not None:
                return ending
            found = evaluator.known(wanted.x) or (yield from _evaluate(wanted.x, run))
            value, gradient, finite = found[1:4]
            assert gradient is not None
            measured = wanted.measure if finite else None
            scalars = () if measured is None else measured(gradient).tolist()
            try:
                wanted = stage.send(Answer(value, gradient, finite, scalars))
            except StopIteration:
                break
    finally:
        stage.close()
    return None


def _evaluate(x: Array, run: Run) -> Walk[Evaluation[Array]]:
    """What the round gives at x, filed."""
    objective, evaluator = run.objective, run.evaluator
    assert isinstance(objective, RunObjective)
    assert isinstance(evaluator, RowEvaluator)
    objective.count()
    answer = yield x
    return objective.observe(evaluator.take(x, answer))


def _result(solver: Solver[Array], run: Run, status: int) -> OptimizeResult:
    evaluations = run.objective.evaluations
    return OptimizeResult(
        x=solver.x,
        fun=solver.value,
        jac=solver.gradient,
        nit=solver.nit,
        nfev=evaluations,
        njev=evaluations,
        status=status,
        success=status == 0,
        message=solver.message(status),
        **solver.fields(),
    )
