"""One call of ``scipy.optimize.least_squares``: what it gets, and how it ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.optimize
from scipy.optimize import OptimizeResult

from ..bridge.layout import coarsest_eps
from ..run.endings import ended
from ..run.optimizer import Run
from ..scipy_minimize.function import Stopped, one_at_a_time
from .arguments import SCIPYS, LeastSquaresArguments
from .evaluator import ResidualEvaluator
from .function import ResidualFunction

__all__ = ["call"]


def call(arguments: LeastSquaresArguments, run: Run) -> OptimizeResult:
    """scipy's result, or what it would have been where we end the run; the cost is its ``fun``.

    Args:
        arguments: checked.
        run: the step.
    """
    evaluator = run.evaluator
    assert isinstance(evaluator, ResidualEvaluator)
    function = ResidualFunction(
        run.objective,
        run.watch,
        evaluator,
        as_operator=arguments.as_operator,
        answers=arguments.row.name == "lm",
        users=arguments.users,
    )
    keywords = _keywords(arguments, run, function)
    by_workers = callable(keywords.get("workers"))
    fun = one_at_a_time(function.fun) if by_workers else function.fun
    try:
        res = scipy.optimize.least_squares(fun, run.x0.copy(), **keywords)
    except Stopped as stop:
        fields = ("grad", "njev")
        return ended(stop.ending, run.objective, fields, x=stop.x, nit=run.watch.nit)
    res = OptimizeResult(res, fun=float(res.cost), residuals=res.fun, nit=run.watch.nit)
    if arguments.as_operator:
        res.jac = None  # whose graph ends with the run
    return res


def _keywords(
    arguments: LeastSquaresArguments, run: Run, function: ResidualFunction
) -> dict[str, Any]:
    keywords = dict(arguments.keywords) | {"method": arguments.row.name}
    keywords["jac"] = arguments.differences or function.jac
    if not arguments.loss.is_linear:
        keywords |= {"loss": arguments.loss.given, "f_scale": arguments.loss.f_scale}
    if run.bounds is not None:
        keywords["bounds"] = (run.bounds.lb, run.bounds.ub)
    if not arguments.differences:
        return keywords
    eps = coarsest_eps(run.evaluator.bridge)
    if keywords.get("diff_step") is None and eps > np.finfo(np.float64).eps:
        # scipy's own vanishes in float32.
        keywords["diff_step"] = eps ** (0.5 if arguments.differences == "2-point" else 1 / 3)
    if "callback" in SCIPYS and arguments.row.name != "lm":
        keywords["callback"] = function.callback
    return keywords
