"""One call of ``scipy.optimize.minimize``: what it gets, and how it ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scipy.optimize import Bounds, HessianUpdateStrategy, OptimizeResult

from ..bridge.layout import coarsest_eps
from ..record.profile import Profile
from ..region.feasibility import restrict
from ..region.region import Region
from ..run.callers_data import own_copy
from ..run.endings import USERS_HESS, USERS_JAC, Ending, ended
from ..run.watch import Watch
from ..typing import Array
from .arguments import Arguments
from .callback import ScipyCallback
from .function import ScipyFunction, Stopped

__all__ = ["Call", "all_fixed", "callback_of", "prepare", "until_stopped"]


@dataclass(frozen=True)
class Call:
    """What ``scipy.optimize.minimize`` gets besides ``fun`` and ``x0``.

    Attributes:
        keywords: with bounds, constraints and derivatives, without the callback.
        region: that bounds and constraints make.
    """

    keywords: dict[str, Any]
    region: Region


def prepare(
    arguments: Arguments,
    function: ScipyFunction,
    bounds: Bounds | None,
    hess_inv: Array | None = None,
) -> Call:
    """From the user's arguments to scipy's; the parameters must be at the start.

    Args:
        arguments: checked.
        function: of the run.
        bounds: on the flat vector, of the arguments or of the param groups.
        hess_inv: the inverse Hessian to start BFGS from.
    """
    evaluator, habits = function.objective.evaluator, arguments.row.habits
    options = arguments.options_for(coarsest_eps(evaluator.bridge))
    keywords: dict[str, Any] = {**arguments.keywords, "options": options}
    if not habits.as_given:
        keywords = own_copy(keywords)
        for name, counter in (("jac", USERS_JAC), ("hess", USERS_HESS), ("hessp", USERS_HESS)):
            given = keywords.get(name)
            if callable(given) and not isinstance(given, HessianUpdateStrategy):
                keywords[name] = _counted(given, counter, evaluator.profile)
    if bounds is not None or not habits.as_given:
        keywords["bounds"] = bounds
    region = restrict(
        evaluator,
        function.objective.consider,
        bounds,
        keywords["constraints"],
        arguments.asks,
        keeps_bounds=habits.keeps_bounds,
    )
    keywords["constraints"] = region.constraints
    if arguments.asks.gradient:
        keywords["jac"] = function.jac
    if arguments.asks.curvature:
        keywords[arguments.asks.curvature] = function.curvature(arguments.asks)
    if arguments.row.native is not None:  # scipy does not know its name
        keywords["method"] = arguments.row.native.as_callable()
    if hess_inv is not None:
        keywords["options"]["hess_inv0"] = hess_inv
    return Call(keywords, region)


def callback_of(
    arguments: Arguments,
    function: ScipyFunction,
    watch: Watch[Array],
    region: Region,
    also: Callable[..., Any] | None = None,
) -> ScipyCallback:
    """What scipy is to call back in a call so prepared."""
    habits = arguments.row.habits
    complete = None if habits.as_given else region.completer()
    # Where it removes variables scipy prints a callback that asks for a result, and TNC fails.
    return ScipyCallback(
        function,
        watch,
        habits,
        asks_for_result=complete is None,
        complete=complete,
        also=also,
    )


def until_stopped(
    function: ScipyFunction,
    watch: Watch[Array],
    fields: tuple[str, ...],
    call: Callable[[], OptimizeResult],
) -> OptimizeResult:
    """What ``call`` returns, or what the method would have returned where we end it.

    Args:
        function, watch: of the run.
        fields: of the method's result, besides those that all have.
        call: runs scipy's solver.
    """
    try:
        res = call()
    except Stopped as stop:
        res = ended(
            stop.ending, function.objective, fields, x=stop.x, nit=watch.nit, state=watch.state
        )
    function.scrub(res)
    return res


def all_fixed(function: ScipyFunction, x: Array, fields: tuple[str, ...]) -> OptimizeResult:
    """The result where bounds leave nothing to search, for every method; scipy's COBYLA fails."""
    function.fun(x)
    res = ended(Ending.FIXED, function.objective, fields, x=x, nit=0)
    res.success = not function.objective.violation_at(x) > 0.0
    return res


def _counted(user: Callable[..., Any], name: str, profile: Profile) -> Callable[..., Any]:
    """A derivative of the user's own, which we hand to scipy, with its calls in the profile."""

    def counted(*args: Any) -> Any:
        profile.count(name)
        return user(*args)

    return counted
