"""The loop that solvers of our own run in: it evaluates for them, and decides when they end."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from scipy.optimize import OptimizeResult

from .endings import Ending, ended
from .optimizer import Run
from .plan import Plan
from .protocol import Answer, Solver, Stage, Trial

__all__ = ["solve"]


def solve(solver: Solver[Any], run: Run, plan: Plan) -> OptimizeResult:
    """Run a solver to its end, or to where the watch ends it.

    All that a run promises is decided here and by those that are asked here, never in a solver:
    limits before each evaluation, history and callback at each iterate, NaN, exceptions.

    Args:
        solver: a new one.
        run: the step that it is for.
        plan: of that solver.

    Returns:
        A result as scipy's, with the solver's own fields besides.
    """
    asked = _Asked(run)
    stage, ending, x, status = solver.start(run.x0), None, None, None
    while ending is None and status is None:
        before = solver.nit
        ending = asked.go_through(stage)
        if ending is None and solver.nit > before:
            ending = asked.tell(solver)
            x = None if ending is None else solver.x
        status = solver.done() if ending is None else None
        if ending is None and status is None:
            stage = solver.step()
    if ending is not None:
        fields = plan.habits.result
        res = ended(ending, run.objective, fields, x=x, nit=run.watch.nit)
        return OptimizeResult({**solver.fields(), **res})
    assert status is not None
    return OptimizeResult(
        x=solver.x,
        fun=solver.value,
        jac=solver.gradient,
        nit=solver.nit,
        nfev=run.objective.evaluations,
        njev=run.evaluator.profile.counts["jac"],
        status=status,
        success=status == 0,
        message=solver.message(status),
        **solver.fields(),
    )


class _Asked:
    """Answers what a solver asks for.

    On a device all that is wanted of one evaluation, by the solver and by the history, comes over
    in one copy: it is waited for once.

    Args:
        run: the step.
    """

    def __init__(self, run: Run) -> None:
        self._run, self._space = run, run.evaluator.space
        self._profile = run.evaluator.profile
        self._lengths: tuple[float, float] | None = None

    def go_through(self, stage: Stage[Any]) -> Ending | None:
        """Go through a stage; why the run ended inside it, if it did."""
        watch = self._run.watch
        try:
            trial = next(stage, None)
            while trial is not None:
                self._profile.begin("bridge", "fun")
                ending = watch.due() if watch.looks else None
                if ending is not None:
                    return ending
                answer = self._answer(trial)
                self._profile.begin("solver")
                try:
                    trial = stage.send(answer)
                except StopIteration:
                    break
        finally:
            stage.close()
            self._profile.begin("solver")
        return None

    def tell(self, solver: Solver[Any]) -> Ending | None:
        """The solver has come to an iterate; why the run is to end there."""
        self._profile.begin("bridge")
        told = OptimizeResult(x=solver.x, fun=solver.value)
        ending = self._run.watch.iteration(solver.x, told, self._lengths)
        self._profile.begin("solver")
        return ending

    def _answer(self, trial: Trial[Any]) -> Answer[Any]:
        waits, before = self._space.waits, self._run.objective.evaluations
        measure = partial(self._measure, trial) if waits else None
        found = self._run.objective.evaluate(trial.x, measure=measure)
        self._profile.count("jac", self._run.objective.evaluations - before)
        assert found.gradient is not None
        answer = partial(Answer, found.value, found.gradient, found.finite)
        if not found.finite or (trial.measure is None and not waits):
            return answer()
        if not waits:
            self._profile.begin("solver")
            assert trial.measure is not None
            return answer(trial.measure(found.gradient).tolist())
        scalars = found.scalars or self._measure(trial, found.gradient).tolist()
        self._lengths = scalars[0], scalars[1]
        return answer(scalars[2:])

    def _measure(self, trial: Trial[Any], gradient: Any) -> Any:
        """Lengths for the history, and what the solver wants."""
        space = self._space
        lengths = space.scalars(
            [space.between(trial.x, self._run.watch.iterate), space.norm(gradient, math.inf)]
        )
        if trial.measure is None:
            return lengths
        return space.joined(lengths, trial.measure(gradient))
