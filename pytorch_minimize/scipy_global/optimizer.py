"""What the global optimisers share: from the table's row and the user's keywords to a result."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from scipy.optimize import Bounds, OptimizeResult

from ..bridge.interface import Bridge
from ..closure.runner import ClosureRunner
from ..problem.evaluator import Evaluator
from ..record.saved import plain_part
from ..region.bounds import flat_bounds
from ..region.constraint_checks import check_width
from ..region.constraints import as_list
from ..region.region import Region
from ..region.search_box import check_box, is_inside, layout, rounded_inwards, start_inside, within
from ..row import Asks
from ..run.optimizer import Run
from ..run.plan import Plan
from ..scipy_minimize.arguments import Arguments
from ..scipy_minimize.callback import ScipyCallback
from ..scipy_minimize.function import ScipyFunction
from ..scipy_minimize.minimize import prepare, until_stopped
from ..scipy_minimize.optimizer import ScipyOptimizer
from ..typing import Array
from .algorithms import Algorithm
from .arguments import check_ranges, checked, copied, with_defaults
from .local_search import LocalSearch
from .polish import Search, polish

__all__ = ["GlobalOptimizer"]


class GlobalOptimizer(ScipyOptimizer):
    """One of scipy's global optimisers over the parameters of a model.

    Subclasses name their row of the table and pass on what their users give them.

    Args:
        params: parameters, named parameters or param groups, as for any torch optimizer.
        keywords: those of scipy's function, and ``polish`` where the table says so.
        run_keywords: see :class:`~pytorch_minimize.settings.Settings`.
        minimizer_args: describe the local minimiser, where the algorithm has one.
    """

    algorithm: ClassVar[Algorithm]
    _records_graph = False

    def __init__(
        self,
        params: Iterable[Any],
        keywords: Mapping[str, Any] | None,
        run_keywords: Mapping[str, Any],
        minimizer_args: Mapping[str, Any] | None = None,
    ) -> None:
        row = self.algorithm
        self._keywords = checked(row, keywords)
        self._minimizer_args = with_defaults(row, minimizer_args)
        super().__init__(params, run_keywords, warm=False, name=row.name)
        if self._settings.rtol is not None and not row.iterates:
            raise ValueError(
                f"rtol: {row.name} has no iterations over which the loss falls; leave it out"
            )
        bridge = self.bridge
        self._check_bounds(bridge, self._flat_bounds(bridge.params))

    @property
    def _plan(self) -> Plan:
        row = self.algorithm
        gradient = row.local is not None and Arguments.parse(self._minimizer_args).asks.gradient
        callback = self._keywords.get("callback")
        iterations = self._keywords.get("maxiter") if row.limits_iterations else None
        return Plan(row.name, Asks(gradient=gradient), row.habits, callback, iterations=iterations)

    def _local_arguments(self) -> Arguments:
        """Of the local minimiser, or of the polish where there is no other local search."""
        row = self.algorithm
        if row.local is None:
            return self._polish_arguments()
        args = self._minimizer_args or row.local(self.bridge.numel)
        if "constraints" in self._keywords:
            args = {"constraints": self._keywords["constraints"]} | args
        return Arguments.parse(args, bounds_in_groups=not row.box and self._has_group_bounds)

    def _polish_arguments(self) -> Arguments:
        """As in differential_evolution: trust-constr for constrained problems, else L-BFGS-B."""
        constraints = as_list(self._keywords.get("constraints"))
        method = "trust-constr" if constraints else "L-BFGS-B"
        return Arguments.parse({"method": method, "constraints": constraints})

    def _check_sizes(self, n: int) -> None:
        self._local_arguments().check_sizes(n)
        for number, constraint in enumerate(as_list(self._keywords.get("constraints"))):
            check_width(constraint, f"constraint {number}", n)

    def _check_bounds(self, bridge: Bridge, bounds: Bounds | None) -> None:
        """Refuse bounds that the algorithm cannot search; they may have changed in the groups."""
        box = self._put_box(copied(self._keywords), bounds)
        self._local_bounds(bridge, self._local_arguments(), box)

    def _start_inside(self, bridge: Bridge, bounds: Bounds | None, plan: Plan) -> None:
        self._check_bounds(bridge, bounds)
        if self.algorithm.takes_x0:
            super()._start_inside(bridge, bounds, plan)

    def _make_evaluator(self, runner: ClosureRunner) -> Evaluator[Array]:
        # Gradients are for local searches, which ask for them while they run.
        local = self._local_arguments()
        return self._evaluator(runner, local.asks, local.row.habits, gradient=False)

    def _solve(self, run: Run) -> OptimizeResult:
        row, search = self.algorithm, None
        objective, watch = run.objective, run.watch
        function = ScipyFunction(objective, watch)
        keywords = copied(self._keywords)
        polishing = keywords.pop("polish", row.polish and not keywords.get("no_local_search"))
        box = self._put_box(keywords, run.bounds)
        objective.look_in(Region(box, keeps_bounds=box is not None))
        if row.constraints is not None and "constraints" in keywords:
            keywords["constraints"] = row.constraints(objective, keywords["constraints"])
        if row.takes_x0:
            keywords["x0"] = run.x0.copy() if box is None else start_inside(run.x0, box)
        if row.local is not None:
            search = self._search(function, self._local_arguments(), run, box)
            keywords["minimizer_kwargs"] = {"method": search}
        callback = ScipyCallback(function, watch, row.habits, asks_for_result=row.asks_for_result)
        if row.habits.told:
            keywords["callback"] = callback

        def sample() -> OptimizeResult:
            nonlocal polishing
            res = row.run(self._prepare(function, run, box, keywords), **keywords)
            callback.mark(res)
            if res.x is None:  # shgo, where no point that it sampled was feasible
                res.x, res.fun = objective.best_x.copy(), math.inf
            ended = None if search is None else search.best_at(res.x)
            if ended is not None and ended.gradient is not None:
                res.jac = ended.gradient
                polishing = polishing and not ended.success
            if polishing and box is not None:
                polish(self._polisher(polishing, function, run), function, res, box, keywords)
            return res

        res = until_stopped(function, watch, row.habits.result, sample)
        if box is not None and not is_inside(res.x, box):
            objective.look_in(Region())  # a local method without bounds has left it
        return res

    def _prepare(
        self, function: ScipyFunction, run: Run, box: Bounds | None, keywords: dict[str, Any]
    ) -> Callable[..., Any]:
        """What the algorithm samples; subclasses may change its keywords besides."""
        return function.fun

    def _search(
        self, function: ScipyFunction, arguments: Arguments, run: Run, box: Bounds | None
    ) -> LocalSearch:
        bounds = self._local_bounds(run.evaluator.bridge, arguments, box)
        call = prepare(arguments, function, run.bounds)
        return LocalSearch(function, arguments, call, bounds)

    def _polisher(
        self, polishing: bool | Search, function: ScipyFunction, run: Run
    ) -> Callable[[Bounds], Search]:
        if callable(polishing):
            return lambda box: polishing
        return lambda box: self._search(function, self._polish_arguments(), run, box)

    def _local_bounds(
        self, bridge: Bridge, arguments: Arguments, box: Bounds | None
    ) -> Bounds | None:
        """The box, or what the local minimiser's own bounds leave of it."""
        given = arguments.given.get("bounds")
        if box is None or given is None:
            return box
        unbounded = [dict(group, bounds=None) for group in self.param_groups]
        own = flat_bounds(given, unbounded, bridge.params)
        return box if own is None else within(own, box, layout(self.param_groups, bridge.params))

    def _put_box(self, keywords: dict[str, Any], bounds: Bounds | None) -> Bounds | None:
        """The box under scipy's name for it; None where scipy is given none, or brute's slices."""
        row = self.algorithm
        if not row.box:
            return None
        keywords.pop("bounds", None)
        if row.box in keywords:
            check_ranges(row.box, keywords[row.box], bounds, self.bridge.numel)
            return None
        where = layout(self.param_groups, self.bridge.params)
        box = check_box(bounds, where, open_box=row.open_box(keywords))
        box = rounded_inwards(box, keywords.get("integrality"), where)
        keywords[row.box] = list(zip(box.lb.tolist(), box.ub.tolist(), strict=True))
        return box

    def _given_bounds(self) -> Any:
        if self.algorithm.box:
            return self._keywords.get("bounds")
        # What a callable method makes of bounds is between it and the user.
        method = self._minimizer_args.get("method")
        return None if callable(method) else self._minimizer_args.get("bounds")

    def _record(self) -> dict[str, Any]:
        return super()._record() | {
            "keywords": plain_part(self._keywords),
            "minimizer_args": plain_part(self._minimizer_args),
        }

    def _method_name(self) -> str:
        row = self.algorithm
        return row.name if row.local is None else f"{row.name} with {self._local_arguments().name}"

    def __getstate__(self) -> dict[str, Any]:
        own = ("_keywords", "_minimizer_args")
        return super().__getstate__() | {name: self.__dict__[name] for name in own}

    def _given(self) -> Mapping[str, Any]:
        if self.algorithm.local is None:
            return self._keywords
        method = {"method": self._local_arguments().name}
        return self._minimizer_args | method | self._keywords
