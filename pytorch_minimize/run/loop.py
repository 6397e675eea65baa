"""The loop that solvers of our own run in: it evaluates for them, and decides when they end."""

from __future__ import annotations

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
    stage, ending, x, status = solver.start(run.x0), None, None, None
    while ending is None and status is None:
        before = solver_nit = solver.nit
        ending = _advance(stage, run)
        if ending is None:
            solver_nit = solver.nit
        if solver_nit > before:
            told = OptimizeResult(x=solver.x, fun=solver.value)
            run.evaluator.profile.begin("bridge")
            ending = run.watch.iteration(solver.x, told)
            run.evaluator.profile.begin("solver")
            x = None if ending is None else solver.x
        status = solver.done() if ending is None else None
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


def _advance(stage: Stage[Any], run: Run) -> Ending | None:
    """Go through a stage; why the run ended inside it, if it did."""
    profile, watch = run.evaluator.profile, run.watch
    try:
        trial = next(stage, None)
        while trial is not None:
            profile.begin("bridge", "fun")
            ending = watch.due() if watch.looks else None
            if ending is not None:
                return ending
            answer = _answer(trial, run)
            profile.begin("solver")
            try:
                trial = stage.send(answer)
            except StopIteration:
                break
    finally:
        stage.close()
        profile.begin("solver")
    return None


def _answer(trial: Trial[Any], run: Run) -> Answer[Any]:
    before = run.objective.evaluations
    found = run.objective.evaluate(trial.x)
    run.evaluator.profile.count("jac", run.objective.evaluations - before)
    gradient = found.gradient
    assert gradient is not None
    if trial.measure is None or not found.finite:
        return Answer(found.value, gradient, found.finite)
    run.evaluator.profile.begin("solver")
    return Answer(found.value, gradient, True, trial.measure(gradient).tolist())
