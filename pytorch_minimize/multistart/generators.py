"""A solver of ours, as something that asks for points and is told: its stages, without a thread."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar

from scipy.optimize import OptimizeResult

from ..run.endings import Ending, ended
from ..run.optimizer import Run
from ..run.plan import Plan
from ..run.protocol import Answer, Product, Solver, Stage
from ..typing import Array
from .batch import RowAnswer
from .member import Row

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

    def call(self, code: Callable[[], Any]) -> Any:
        """What ``code`` returns: there is no other thread."""
        return code()

    def abandon(self) -> None:
        self._walk.close()

    def forget(self) -> None:
        """Nothing is kept."""


class _Told:
    """What the row is to answer next; filled before it is asked."""

    def __init__(self, row: Row) -> None:
        self._answer: RowAnswer | None = None
        row.ask = self._take

    def fill(self, answer: RowAnswer) -> None:
        self._answer = answer

    def _take(self, x: Array) -> RowAnswer:
        answer, self._answer = self._answer, None
        assert answer is not None
        return answer


def walk_by_stages(
    solver: Solver[Array],
    run: Run,
    plan: Plan,
    row: Row,
    finished: Callable[[OptimizeResult], R],
) -> Walk[R]:
    """The run of a solver of ours, to its end or to where the watch ends it.

    As :func:`pytorch_minimize.run.loop.solve` on arrays, but that it yields where that evaluates.

    Args:
        solver: a new one, of gradients alone.
        run: of this start.
        plan: of the solver.
        row: what the run's evaluator asks.
        finished: the solver's result -> what is left of the run.
    """
    told, objective, watch = _Told(row), run.objective, run.watch
    stage, ending, x, status = solver.start(run.x0), None, None, None
    while ending is None and status is None:
        before = solver.nit
        ending = yield from _go_through(stage, run, told)
        if ending is None and solver.nit > before:
            ending = watch.iteration(solver.x, OptimizeResult(x=solver.x, fun=solver.value))
            x = None if ending is None else solver.x
        status = solver.done() if ending is None else None
        if ending is None and status is None:
            stage = solver.step()
    if ending is not None:
        fields = plan.habits.result
        res = ended(ending, objective, fields, x=x, nit=watch.nit)
        res = OptimizeResult({**solver.fields(), **res})
    else:
        assert status is not None
        res = _result(solver, run, status)
    if objective.nonfinite and run.evaluator.known(res.x) is None:
        # Where there was NaN the gradient at the end is looked at once more.
        told.fill((yield res.x))
        objective.evaluate(res.x)
    return finished(res)


def _go_through(stage: Stage[Array], run: Run, told: _Told) -> Walk[Ending | None]:
    """Go through a stage; why the run ended inside it, if it did."""
    evaluator, watch = run.evaluator, run.watch
    try:
        wanted = next(stage, None)
        while wanted is not None:
            assert not isinstance(wanted, Product)
            ending = watch.due() if watch.looks else None
            if ending is not None:
                return ending
            if evaluator.known(wanted.x) is None:
                told.fill((yield wanted.x))
            found = run.objective.evaluate(wanted.x)
            assert found.gradient is not None
            measured = wanted.measure if found.finite else None
            scalars = () if measured is None else measured(found.gradient).tolist()
            answer = Answer(found.value, found.gradient, found.finite, scalars)
            try:
                wanted = stage.send(answer)
            except StopIteration:
                break
    finally:
        stage.close()
    return None


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
