"""What the optimizers have in common that hand the model to a solver of scipy's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import scipy.optimize
import torch
from scipy.optimize import OptimizeResult

from ..bridge.interface import Bridge
from ..bridge.make import tensor_bridge
from ..bridge.space import ARRAYS, TensorSpace
from ..closure.runner import ClosureRunner
from ..problem.evaluator import Evaluator
from ..problem.guard import make_guard
from ..problem.make import make_evaluator
from ..region.group_keys import split
from ..region.region import Region
from ..row import Asks, BoundedNative, Habits, Native
from ..run.argued import ArguedOptimizer
from ..run.loop import solve
from ..run.optimizer import FullBatchOptimizer, Run
from ..settings import Settings
from ..solvers.methods import ROWS
from ..typing import Array
from .arguments import Arguments
from .blas_threads import blas_threads
from .function import ScipyFunction, one_at_a_time
from .keywords import ARGUMENTS
from .methods import METHODS
from .minimize import all_fixed, callback_of, prepare, until_stopped

__all__ = ["MinimizeOptimizer", "ScipyOptimizer"]

_WARM = ", ".join(
    row.name for row in (METHODS | ROWS).values() if "hess_inv0" in (row.options or ())
)


class ScipyOptimizer(FullBatchOptimizer):
    """For scipy's solvers flat vectors are arrays, and its BLAS threads are held while they run.

    Args:
        params: see :class:`FullBatchOptimizer`.
        run_keywords: see :class:`~pytorch_minimize.settings.Settings`; and ``lr``.
        warm: the solver can be started from an inverse Hessian.
        name: of the solver, for messages.
    """

    def __init__(
        self, params: Iterable[Any], run_keywords: Mapping[str, Any], *, warm: bool, name: str
    ) -> None:
        lr, run_keywords = split(run_keywords)
        settings = Settings.parse(run_keywords, ARGUMENTS)
        if settings.warm_start and not warm:
            raise ValueError(f"warm_start: only {_WARM} can be warm started, not {name}")
        super().__init__(params, settings, lr)

    def _evaluator(
        self, runner: ClosureRunner, asks: Asks, habits: Habits, **keywords: Any
    ) -> Evaluator[Array]:
        threads = self._settings.blas_threads
        if threads == "auto":
            threads = 1 if runner.bridge.numel < habits.threads_from else None
        guard = make_guard(self.profile, blas_threads(threads))
        of_run = self.profile, asks, self._settings, self._join
        return make_evaluator(runner, runner.bridge, ARRAYS, guard, *of_run, **keywords)


class MinimizeOptimizer(ArguedOptimizer, ScipyOptimizer):
    """``scipy.optimize.minimize`` over the parameters of a model.

    Args:
        params, run_keywords: see :class:`ScipyOptimizer`.
        arguments: how ``scipy.optimize.minimize`` is called, checked.
    """

    _arguments: Arguments

    def __init__(
        self, params: Iterable[Any], arguments: Arguments, run_keywords: Mapping[str, Any]
    ) -> None:
        self._arguments = arguments
        warm = "hess_inv0" in arguments.known_options
        super().__init__(params, run_keywords, warm=warm, name=arguments.name)

    def _given_bounds(self) -> Any:
        given = self._arguments.keywords.get("bounds")
        return None if self._arguments.row.habits.as_given else given

    def _make_evaluator(self, runner: ClosureRunner) -> Evaluator[Any]:
        if self._arguments.row.native is not None:
            return self._evaluator_of_our_own(runner)
        row = self._arguments.row  # scipy's methods that use gradients hand over copies of x
        keeps_points = row.gradient and not row.habits.as_given
        asks, habits = self._arguments.asks, row.habits
        return self._evaluator(runner, asks, habits, keeps_points=keeps_points)

    def _evaluator_of_our_own(self, runner: ClosureRunner) -> Evaluator[Any]:
        """On tensors where all parameters are on one device that is not the host."""
        device = _device(runner.bridge)
        bridge: Any = runner.bridge if device is None else tensor_bridge(runner.bridge)
        space: Any = ARRAYS if device is None else TensorSpace(device)
        return make_evaluator(
            runner,
            bridge,
            space,
            make_guard(self.profile),
            self.profile,
            self._arguments.asks,
            self._settings,
            self._join,
            keeps_points=True,
        )

    def _solve(self, run: Run) -> OptimizeResult:
        if self._arguments.row.native is not None:
            return self._solve_by_our_own(self._arguments.row.native, run)
        arguments, habits = self._arguments, self._arguments.row.habits
        function = ScipyFunction(run.objective, run.watch)
        call = prepare(arguments, function, run.bounds, self._hess_inv(run))
        run.objective.look_in(call.region)
        callback = callback_of(arguments, function, run.watch, call.region)
        usual_callback = callback.usual()
        keywords = call.keywords | {"callback": usual_callback or callback}
        # A method of the user's own may write into the start, which no scipy method does.
        start = run.x0.copy() if habits.as_given else run.x0

        by_workers = callable(keywords.get("options", {}).get("workers"))
        fun = one_at_a_time(function.fun) if by_workers else function.fun
        # scipy hands on whatever is no tuple as the only argument, None and 0 too.
        args = keywords.get("args", ())
        alone = isinstance(args, tuple) and not args
        usual = function.usual() if alone and not by_workers else None
        if usual is not None:
            fun, keywords["jac"] = usual.fun, usual.jac

        def minimize() -> OptimizeResult:
            try:
                if call.region.is_fixed and not habits.as_given:
                    return all_fixed(function, run.x0, habits.result)
                return scipy.optimize.minimize(fun, start, **keywords)
            finally:
                for each in (usual, usual_callback):
                    if each is not None:
                        each.forget()

        return until_stopped(function, run.watch, habits.result, minimize)

    def _solve_by_our_own(self, native: Native, run: Run) -> OptimizeResult:
        bridge, options = run.evaluator.bridge, self._arguments.keywords["options"]
        device = _device(bridge)
        if run.bounds is None:
            solver = native.make(options, bridge.numel, device, self._hess_inv(run))
        else:
            # The solver keeps them itself, to the last bit.
            run.objective.look_in(Region(run.bounds))
            bounded = cast(BoundedNative, native)
            solver = bounded.make_within(options, bridge.numel, device, run.bounds)
        return solve(solver, run, self._plan, _users_product(self._arguments.keywords))

    def _hess_inv(self, run: Run) -> Array | None:
        if not self._settings.warm_start or self._inverse is None:
            return None
        return self._inverse.usable(run.evaluator.bridge.params)


def _users_product(keywords: Mapping[str, Any]) -> Callable[[Any, Any], Any] | None:
    """The user's own Hessian product of (x, v), if there is one."""
    hessp, args = keywords.get("hessp"), keywords.get("args", ())
    args = args if isinstance(args, tuple) else (args,)
    return (lambda x, v: hessp(x, v, *args)) if callable(hessp) else None


def _device(bridge: Bridge[Any]) -> torch.device | None:
    """The device that all parameters are on, if it is one and not the host."""
    devices = {param.device for param in bridge.params}
    device = devices.pop()
    return None if devices or device.type == "cpu" else device
