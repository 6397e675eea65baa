"""What a run of least squares leaves: residuals, gradient and Jacobian where it ends."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from scipy.optimize import Bounds, OptimizeResult
from torch import Tensor

from ..run.finish import true_end
from ..run.optimizer import Run
from ..run.plan import Plan
from .evaluator import ResidualEvaluator
from .gauss_newton import GaussNewtonEvaluator
from .losses import RobustLoss

__all__ = ["completed", "completed_without_matrix", "named_as_scipys", "weighted_rows"]


def completed(
    res: OptimizeResult, run: Run, plan: Plan, loss: RobustLoss, *, by_autograd: bool
) -> OptimizeResult:
    """A result with residuals, gradient and, where it was taken, the Jacobian of ``res.x``.

    Args:
        res: the solver's, with the cost as ``fun``; what it says of its own end is left as it is
            where the run ends there.
        run: the step.
        plan: of the solver.
        loss: of the residuals.
        by_autograd: the gradient comes out of the closure's graph.
    """
    evaluator = run.evaluator
    assert isinstance(evaluator, ResidualEvaluator)
    solvers = res.x
    true_end(run.objective, res, run.objective.best, plan.habits)
    if not _equal(res.x, solvers):
        res.residuals = res.jac = None
    known = evaluator.linearised
    x = _known_as(run, res.x, None if known is None else known.x)
    if known is not None and x is known.x:
        if res.get("jac") is None:
            res.jac = weighted_rows(known.jacobian, known.residuals, loss)
        res.residuals = known.residuals
    if res.get("residuals") is None:
        res.residuals = evaluator.values_at(x)
    if by_autograd and math.isfinite(res.fun):
        res.grad = evaluator.linearise(x, matrix=False).gradient
    res.setdefault("jac", None)
    res.setdefault("optimality", _optimality(run, res))
    res.setdefault("active_mask", _active(run.bounds, res.x))
    return res


def completed_without_matrix(res: OptimizeResult, run: Run, plan: Plan) -> OptimizeResult:
    """A result of a method that takes products alone, with the residuals of ``res.x``."""
    evaluator = run.evaluator
    assert isinstance(evaluator, GaussNewtonEvaluator)
    true_end(run.objective, res, run.objective.best, plan.habits)
    res.residuals = evaluator.residuals_at(_known_as(run, res.x, None))
    res.jac = None
    if evaluator.here is not None:
        res.grad = evaluator.here.gradient
    elif res.residuals is not None and math.isfinite(res.fun):
        res.grad = evaluator.bridge.flatten_grads()  # which came with the residuals
    res.optimality = _optimality(run, res)
    res.active_mask = _active(None, res.x)
    return res


def named_as_scipys(res: OptimizeResult) -> None:
    """Let ``fun`` be the residuals, None if unknown, and ``cost`` the loss, ``fun`` until here."""
    res.cost = res.fun
    res.fun = res.pop("residuals", None)


def weighted_rows(jacobian: Any, residuals: Any, loss: RobustLoss) -> Any:
    """J with a robust loss's weights in its rows, as scipy returns it; None where there is none."""
    weighted = None if jacobian is None else loss.weighted(residuals)
    return jacobian if weighted is None else jacobian * weighted.scale[:, None]


def _equal(a: Any, b: Any) -> bool:
    """By value, also where that is to wait for a device."""
    return torch.equal(a, b) if isinstance(a, Tensor) else bool(np.array_equal(a, b))


def _known_as(run: Run, x: Any, linearised: Any) -> Any:
    """The very vector that a point is known as, where a device's are not compared by value."""
    for point in (linearised, run.evaluator.x, run.objective.best_x):
        if point is not None and _equal(x, point):
            return point
    return run.evaluator.space.copy(run.evaluator.space.as_vector(x))


def _optimality(run: Run, res: OptimizeResult) -> float:
    """max |g_i|, of what the bounds do not keep from leading on."""
    gradient = res.get("grad")
    if gradient is None:
        return math.nan
    return float(run.evaluator.space.largest(run.objective.region.inwards(gradient, res.x)))


def _active(bounds: Bounds | None, x: Any) -> Any:
    """-1 where a variable is at its lower bound, 1 at its upper one, as scipy has it."""
    x = x.cpu().numpy() if isinstance(x, Tensor) else x
    if bounds is None:
        return np.zeros(x.size, dtype=int)
    return (x >= bounds.ub).astype(int) - (x <= bounds.lb).astype(int)
