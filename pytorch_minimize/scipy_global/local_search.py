"""The local searches that a global optimiser starts, with everything that the user asked for."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import scipy.optimize
from scipy.optimize import Bounds, OptimizeResult

from ..bridge.layout import coarsest_eps
from ..bridge.vectors import as_vector, same_values
from ..problem.objective import nowhere_violated
from ..record.history import History
from ..region.search_box import clipped
from ..run.endings import Ending, Stopped
from ..run.finish import true_end
from ..run.watch import Watch
from ..scipy_minimize.arguments import Arguments
from ..scipy_minimize.function import ScipyFunction
from ..settings import Settings
from ..typing import Array

__all__ = ["LocalSearch", "MakeKeywords"]

MakeKeywords = Callable[[Arguments, ScipyFunction, Watch], dict[str, Any]]


class LocalSearch:
    """A ``method`` for ``scipy.optimize.minimize`` that runs the user's own, nothing dropped.

    scipy's global optimisers call ``minimize`` with what they let through: shgo drops ``tol`` and
    most options, dual_annealing forwards no bounds, and neither tells the objective whether a
    gradient will be asked for. They all take a callable method, and leave that one alone.

    Args:
        function: of the run; its objective computes gradients while a search runs, and not
            otherwise, and the bounds and constraints of the search hold in it meanwhile.
        arguments: the user's ``minimizer_args``, checked.
        make_keywords: what ``minimize`` gets for these arguments.
        watch: of the run.
        bounds: for methods that take some, where ``make_keywords`` does not know them.
    """

    def __init__(
        self,
        function: ScipyFunction,
        arguments: Arguments,
        make_keywords: MakeKeywords,
        watch: Watch,
        bounds: Bounds | None,
    ) -> None:
        self._function = function
        self._objective = objective = function.objective
        self._arguments = arguments
        self._best: OptimizeResult | None = None
        outside = objective.box, objective.violation
        objective.box, objective.violation = None, nowhere_violated
        self._keywords = make_keywords(arguments, function, watch)
        self._inside = objective.box, objective.violation
        objective.box, objective.violation = outside
        if bounds is not None:
            self._keywords["bounds"] = bounds
        for what in ("bounds", "constraints"):
            if not self._takes(what):
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
        keywords = dict(self._keywords)
        # A hop of basinhopping may have left the bounds; brute hands over one variable as a number.
        x0 = clipped(as_vector(x0), keywords.get("bounds"))
        watch = Watch(self._function, x0, arguments, Settings(), History())
        keywords["callback"] = watch if callback is None else _Both(watch, callback)
        evaluations, objective.iterate = objective.evaluations, objective.known(x0)
        with self._rules():
            try:
                result = scipy.optimize.minimize(fun, x0, **keywords)
            except Stopped as stop:
                if stop.ending is Ending.BROKEN_DOWN:  # a search that fails, no more
                    stop.x, stop.nit = watch.iterate, watch.nit
                if stop.x is None:  # the whole run ends, not only this search
                    raise
                result = stop.result(objective, ("jac",))
        true_end(self._function, result, objective.iterate, arguments)
        if not math.isfinite(result.fun):
            result.fun = math.inf  # a number that algorithms can compare
        result.setdefault("nfev", objective.evaluations - evaluations)
        self._forgive_lost_precision(result)
        self._keep(result)
        return result

    @contextlib.contextmanager
    def _rules(self) -> Iterator[None]:
        objective = self._objective
        outside = objective.box, objective.violation
        objective.box, objective.violation = self._inside
        gradients = self._arguments.gradient
        try:
            with objective.with_gradients() if gradients else contextlib.nullcontext():
                yield
        finally:
            objective.box, objective.violation = outside

    def best_at(self, x: Array) -> OptimizeResult | None:
        """The best search's x, fun, gradient (or None) and success, if x is where it ended."""
        best = self._best
        return best if best is not None and same_values(np.asarray(x), best.x) else None

    def _takes(self, what: str) -> bool:
        row = self._arguments.row
        return row is None or bool(getattr(row, what))

    def _forgive_lost_precision(self, found: OptimizeResult) -> None:
        """basinhopping and our polish take only successes, which a float32 loss rarely allows."""
        row = self._arguments.row
        if row is not None and found.get("status") in row.precision_lost:
            coarse = coarsest_eps(self._objective.bridge) > np.finfo(np.float64).eps
            found.success = bool(found.success) or coarse

    def _keep(self, found: OptimizeResult) -> None:
        if self._best is None or found.fun < self._best.fun:
            # Newton-CG's own is that of the iterate before.
            known = self._objective.known_gradient(np.asarray(found.x))
            self._best = OptimizeResult(
                x=np.array(found.x),
                fun=float(found.fun),
                gradient=found.get("grad", found.get("jac")) if known is None else known,
                success=bool(found.success),
            )


class _Both:
    """Two callbacks as one; the parameter's name makes scipy hand over a result."""

    def __init__(self, first: Callable[..., Any], second: Callable[..., Any]) -> None:
        self._first, self._second = first, second

    def __call__(self, intermediate_result: Any) -> None:
        self._first(intermediate_result)
        self._second(intermediate_result)
