"""The local searches that a global optimiser starts, with everything that the user asked for."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.optimize
from scipy.optimize import Bounds, OptimizeResult

from ..bridge.layout import coarsest_eps
from ..bridge.vectors import as_vector, clip, same_values
from ..record.history import History
from ..run.endings import Ending, ended
from ..run.finish import true_end
from ..run.watch import Watch
from ..scipy_minimize.arguments import Arguments
from ..scipy_minimize.function import ScipyFunction, Stopped
from ..scipy_minimize.minimize import Call, callback_of
from ..settings import Settings
from ..typing import Array

__all__ = ["LocalSearch"]


class LocalSearch:
    """A ``method`` for ``scipy.optimize.minimize`` that runs the user's own, nothing dropped.

    scipy's global optimisers call ``minimize`` with what they let through: shgo drops ``tol`` and
    most options, dual_annealing forwards no bounds, and neither tells the objective whether a
    gradient will be asked for. They all take a callable method, and leave that one alone.

    Args:
        function: of the run; its evaluator computes gradients while a search runs, and not
            otherwise, and the region of the search holds meanwhile.
        arguments: the user's ``minimizer_args``, checked.
        call: what ``minimize`` gets for these arguments.
        bounds: for methods that take some, where the arguments do not know them.
    """

    def __init__(
        self, function: ScipyFunction, arguments: Arguments, call: Call, bounds: Bounds | None
    ) -> None:
        self._function = function
        self._objective = function.objective
        self._arguments = arguments
        self._call = call
        self._best: OptimizeResult | None = None
        self._keywords = dict(call.keywords)
        if bounds is not None:
            self._keywords["bounds"] = bounds
        for what in ("bounds", "constraints"):
            if not getattr(arguments.row, what):
                self._keywords.pop(what, None)

    def lower(self) -> str:
        """shgo looks a method's arguments up by its name in lower case; this one takes all."""
        return "_custom"

    def __call__(
        self,
        fun: Callable[..., float],
        x0: Array,
        args: tuple[Any, ...] = (),
        *,
        callback: Callable[..., Any] | None = None,
        **dropped: Any,
    ) -> OptimizeResult:
        """One local search from x0; the signature is that of scipy's custom methods."""
        objective, arguments = self._objective, self._arguments
        # A hop of basinhopping may have left the bounds; brute hands over one variable as a number.
        x0 = clip(as_vector(x0), self._keywords.get("bounds"))
        watch = Watch(objective, x0, arguments.plan, Settings(), History(), is_search=True)
        called_back = callback_of(arguments, self._function, watch, self._call.region, callback)
        evaluations = objective.evaluations
        objective.start_from(x0)
        gradients = arguments.asks.gradient
        with (
            objective.within(self._call.region),
            objective.evaluator.with_gradients() if gradients else contextlib.nullcontext(),
        ):
            try:
                result = scipy.optimize.minimize(
                    fun, x0, **(self._keywords | {"callback": called_back})
                )
            except Stopped as stop:
                failed = stop.ending is Ending.BROKEN_DOWN  # a search that fails, no more
                x, nit = (watch.iterate if failed else stop.x), watch.nit
                if x is None:  # the whole run ends, not only this search
                    raise
                result = ended(stop.ending, objective, ("jac",), x=x, nit=nit)
                result.nfev = objective.evaluations - evaluations
        true_end(objective, result, objective.iterate, arguments.row.habits)
        if not math.isfinite(result.fun):
            result.fun = math.inf  # a number that algorithms can compare
        result.setdefault("nfev", objective.evaluations - evaluations)
        self._forgive_lost_precision(result)
        self._keep(result)
        return result

    def best_at(self, x: Array) -> OptimizeResult | None:
        """The best search's x, fun, gradient (or None) and success, if x is where it ended."""
        best = self._best
        return best if best is not None and same_values(np.asarray(x), best.x) else None

    def _forgive_lost_precision(self, found: OptimizeResult) -> None:
        """basinhopping and our polish take only successes, which a float32 loss rarely allows."""
        if found.get("status") in self._arguments.row.habits.precision_lost:
            coarse = coarsest_eps(self._objective.evaluator.bridge) > np.finfo(np.float64).eps
            found.success = bool(found.success) or coarse

    def _keep(self, found: OptimizeResult) -> None:
        if self._best is None or found.fun < self._best.fun:
            # Newton-CG's own is that of the iterate before.
            here = self._objective.evaluator.known(np.asarray(found.x))
            known = None if here is None else here.gradient
            self._best = OptimizeResult(
                x=np.array(found.x),
                fun=float(found.fun),
                gradient=found.get("grad", found.get("jac")) if known is None else known,
                success=bool(found.success),
            )
