"""What the global optimisers share: from the table's row and the user's keywords to a result."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from scipy.optimize import Bounds, OptimizeResult

from ..bridge.interface import Bridge
from ..closure.runner import ClosureRunner
from ..problem.objective import Objective
from ..record.saved import plain_part
from ..region.bounds import flat_bounds
from ..region.constraint_checks import check_width
from ..region.constraints import as_list
from ..region.search_box import check_box, is_inside, layout, rounded_inwards, start_inside, within
from ..run.optimizer import ScipyOptimizer
from ..run.watch import Watch
from ..scipy_minimize.arguments import Arguments
from ..scipy_minimize.function import ScipyFunction
from ..scipy_minimize.objective import make_objective
from ..typing import Array
from ..wording import shown
from .algorithms import Algorithm
from .arguments import check_ranges, checked, copied, with_defaults
from .local_search import LocalSearch
from .polish import Search, polish
from .relay import Relay, adapt

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
        super().__init__(params, self._run_arguments(), run_keywords)
        if self._settings.rtol is not None and not row.iterates:
            raise ValueError(
                f"rtol: {row.name} has no iterations over which the loss falls; leave it out"
            )
        self._check_bounds(self.bridge)

    def _run_arguments(self) -> Arguments:
        """The run as the base class knows it: a method of its own, with the user's callback."""
        row = self.algorithm
        gradient = row.local is not None and Arguments.parse(self._minimizer_args).gradient
        callback = adapt(self._keywords.get("callback"), row.told)
        return Arguments.parse({"method": row.run, "jac": gradient, "callback": callback})

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

    def _check_sizes(self) -> None:
        n = self._current_bridge().numel
        self._local_arguments().check_sizes(n)
        for number, constraint in enumerate(as_list(self._keywords.get("constraints"))):
            check_width(constraint, f"constraint {number}", n)

    def _check_bounds(self, bridge: Bridge) -> None:
        """Refuse bounds that the algorithm cannot search; they may have changed in the groups."""
        self._local_bounds(bridge, self._local_arguments(), self._put_box(copied(self._keywords)))

    def _start_inside(self, bridge: Bridge) -> None:
        self._check_bounds(bridge)
        if self.algorithm.takes_x0:
            super()._start_inside(bridge)

    def _make_objective(self, runner: ClosureRunner) -> Objective:
        arguments = self._local_arguments()
        objective = make_objective(runner, arguments, self._settings, self.profile)
        objective.has_gradient = False  # local searches switch it on while they run
        runner.records_graph = False
        return objective

    def _solve(self, function: ScipyFunction, watch: Watch, x0: Array) -> OptimizeResult:
        row, search = self.algorithm, None
        objective = function.objective
        keywords = copied(self._keywords)
        polishing = keywords.pop("polish", row.polish and not keywords.get("no_local_search"))
        box = self._put_box(keywords)
        if box is not None:
            objective.box = box.lb, box.ub
        if row.constraints is not None and "constraints" in keywords:
            keywords["constraints"] = row.constraints(objective, keywords["constraints"])
        if row.takes_x0:
            x0 = x0 if box is None else start_inside(x0, box)
            keywords["x0"] = x0.copy()
        if row.local is not None:
            search = self._search(function, self._local_arguments(), watch, box)
            keywords["minimizer_kwargs"] = {"method": search}
        relay = Relay(row, watch)
        if row.told:
            keywords["callback"] = relay.tell_result if row.tells_result else relay.tell
        res = row.run(self._prepare(function, watch, box, keywords), **keywords)
        relay.mark(res)
        if res.x is None:  # shgo, where no point that it sampled was feasible
            res.x, res.fun = objective.best_x.copy(), math.inf
        ended = None if search is None else search.best_at(res.x)
        if ended is not None and ended.gradient is not None:
            res.jac = ended.gradient
            polishing = polishing and not ended.success
        if polishing and box is not None:
            polish(self._polisher(polishing, function, watch), function, res, box, keywords)
        if box is not None and not is_inside(res.x, box):
            objective.box = None  # a local method without bounds has left it
        return res

    def _prepare(
        self, function: ScipyFunction, watch: Watch, box: Bounds | None, keywords: dict[str, Any]
    ) -> Callable[..., Any]:
        """What the algorithm samples; subclasses may change its keywords besides."""
        return function.fun

    def _search(
        self, function: ScipyFunction, arguments: Arguments, watch: Watch, box: Bounds | None
    ) -> LocalSearch:
        bounds = self._local_bounds(function.objective.bridge, arguments, box)
        return LocalSearch(function, arguments, self._minimize_keywords, watch, bounds)

    def _polisher(
        self, polishing: bool | Search, function: ScipyFunction, watch: Watch
    ) -> Callable[[Bounds], Search]:
        if callable(polishing):
            return lambda box: polishing
        return lambda box: self._search(function, self._polish_arguments(), watch, box)

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

    def _put_box(self, keywords: dict[str, Any]) -> Bounds | None:
        """The box under scipy's name for it; None where scipy is given none, or brute's slices."""
        row = self.algorithm
        if not row.box:
            return None
        bounds = self._flat_bounds()
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

    def __repr__(self) -> str:
        given = [f"{name}={shown(value)}" for name, value in self._keywords.items()]
        if self.algorithm.local is not None:
            given.insert(0, f"method={self._local_arguments().name}")
        name = type(self).__name__
        return f"{name}({', '.join(given)})\n{super(ScipyOptimizer, self).__repr__()}"
