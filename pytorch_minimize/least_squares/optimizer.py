"""Least squares over the parameters of a model: scipy's methods and ours."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
import scipy.optimize
import torch
from scipy.optimize import Bounds, OptimizeResult
from scipy.sparse.linalg import LinearOperator
from torch import Tensor

from ..bridge.interface import Bridge
from ..bridge.layout import coarsest_eps
from ..bridge.make import tensor_bridge
from ..bridge.space import ARRAYS, TensorSpace
from ..closure.runner import ClosureRunner
from ..problem.curved import CurvedEvaluator
from ..problem.evaluator import Evaluator
from ..problem.guard import make_guard
from ..region.group_keys import split
from ..region.region import Region
from ..run.endings import Ending, ended
from ..run.finish import true_end
from ..run.loop import solve
from ..run.optimizer import FullBatchOptimizer, Run
from ..run.plan import Plan
from ..run.together import Prepared
from ..scipy_minimize.blas_threads import BlasThreads
from ..scipy_minimize.function import Stopped
from ..settings import Settings
from ..typing import Array, UserClosure
from .arguments import BELONG_IN_KWARGS, SCIPYS, LeastSquaresArguments
from .covariance import Covariance, covariance_of
from .evaluator import ResidualEvaluator
from .function import ResidualFunction
from .gauss_newton import GaussNewton
from .jacobian import ResidualJacobian
from .requests import answered
from .residuals import ResidualClosure, ResidualRunner

__all__ = ["LeastSquaresOptimizer"]

_OWN_ENDINGS = 99  # from which status on an ending is ours, and says itself whether it is a success


class LeastSquaresOptimizer(FullBatchOptimizer):
    """Least squares over the parameters of a model.

    Args:
        params, run_keywords: see :class:`FullBatchOptimizer`.
        arguments: how the solver is called, checked.
        block_bytes: about how much memory rows or columns of a Jacobian may take at a time.
    """

    def __init__(
        self,
        params: Iterable[Any],
        arguments: LeastSquaresArguments,
        block_bytes: int,
        run_keywords: Mapping[str, Any],
    ) -> None:
        self._arguments, self._block_bytes = arguments, block_bytes
        lr, run_keywords = split(run_keywords)
        settings = Settings.parse(run_keywords, BELONG_IN_KWARGS)
        _refuse_unfit(settings)
        super().__init__(params, settings, lr)

    def covariance(
        self, closure: UserClosure | None = None, *, absolute: bool = False
    ) -> Covariance:
        r"""How well the parameters are known: :math:`s^2 (J^T J)^{-1}` and standard errors.

        J is that of the residuals at the solution, with the weights of a robust loss in it, and
        s^2 their sum of squares over m - n, so that errors of measurement are taken to be equal,
        independent and as large as the residuals are. Bounds are not thought of.

        Args:
            closure: take the Jacobian anew, at the parameters' values; None takes ``res.jac`` of
                the last step. Needed after a step whose method made no matrix, or that ended
                where it had taken none.
            absolute: residuals were divided by their known errors, and s^2 is 1; what
                ``absolute_sigma`` is for :func:`scipy.optimize.curve_fit`.

        Raises:
            RuntimeError: there is no Jacobian, and no closure to take one of.

        Example:
            >>> from pytorch_minimize.optim import LeastSquaresWrapper
            >>> x, y = torch.arange(5.0).double(), torch.tensor([1.0, 3, 5, 7, 10]).double()
            >>> line = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
            >>> optimizer = LeastSquaresWrapper([line])
            >>> loss = optimizer.step(lambda: line[0] + line[1] * x - y)
            >>> optimizer.covariance().errors.round(4)
            array([0.2828, 0.1155])
        """
        self._refuse_inside_a_run("covariance")
        bridge = self._current_bridge()
        if closure is not None:
            taken, cost = self._weighted_jacobian(closure)
            return covariance_of(taken, cost, bridge, absolute=absolute)
        jacobian: Any = None if self.res is None else self.res.get("jac")
        if jacobian is None or isinstance(jacobian, LinearOperator):
            raise RuntimeError(
                "covariance: the last step left no Jacobian as a matrix; pass the closure, of "
                "which one is taken at the parameters' values: optimizer.covariance(closure)"
            )
        dense = jacobian.toarray() if hasattr(jacobian, "toarray") else np.asarray(jacobian)
        return covariance_of(dense, float(self.res.cost), bridge, absolute=absolute)

    def jacobian(self, closure: UserClosure) -> Array:
        """The Jacobian of the closure's residuals at the parameters' values, of shape (m, n).

        Args:
            closure: as for :meth:`step`; runs once now.

        Raises:
            RuntimeError: the residuals carry no graph, or one that reaches none of the parameters.
        """
        return self._residuals_and_jacobian(closure)[1]

    @property
    def _plan(self) -> Plan:
        return self._arguments.plan

    def _groups_changed(self) -> None:
        self._arguments = self._arguments.for_groups(bounded=self._has_group_bounds)

    def _check_sizes(self, n: int) -> None:
        self._arguments.check_sizes(n)

    def _given_bounds(self) -> Any:
        return self._arguments.bounds

    def _start_inside(self, bridge: Bridge, bounds: Bounds | None, plan: Plan) -> None:
        if bounds is not None and (bounds.lb >= bounds.ub).any():
            raise ValueError(
                f"bounds: expected each lower one below the upper one, as least squares need "
                f"room, got {int((bounds.lb >= bounds.ub).sum())} of {bounds.lb.size} variables "
                f"with equal ones; keep a parameter fixed by requires_grad=False"
            )
        super()._start_inside(bridge, bounds, plan)

    def _make_runner(self, closure: UserClosure, bridge: Bridge) -> ClosureRunner:
        residuals = ResidualClosure(closure, self._arguments.loss.cost)
        recover = self._settings.recovered
        return ResidualRunner(residuals, bridge, recover, residuals=residuals)

    def _make_evaluator(self, runner: ClosureRunner) -> Evaluator[Any]:
        assert isinstance(runner, ResidualRunner)
        row = self._arguments.row
        if row.curvature:
            return self._matrix_free(runner)
        if row.native is None:
            guard = make_guard(self.profile, BlasThreads(self._settings.blas_threads))
            return self._evaluator(runner, runner.bridge, ARRAYS, guard)
        device = runner.bridge.params[0].device
        bridge = tensor_bridge(runner.bridge)
        guard = make_guard(self.profile)
        return self._evaluator(runner, bridge, TensorSpace(device), guard, keeps_points=True)

    def _evaluator(
        self, runner: ResidualRunner, bridge: Bridge[Any], space: Any, guard: Any, **more: Any
    ) -> ResidualEvaluator[Any]:
        return ResidualEvaluator(
            runner,
            bridge,
            space,
            guard,
            self.profile,
            loss=self._arguments.loss,
            jacobian=self._make_jacobian(bridge, space),
            **more,
        )

    def _make_jacobian(self, bridge: Bridge[Any], space: Any) -> ResidualJacobian[Any]:
        empty: Any = np.empty
        if isinstance(space, TensorSpace):
            empty = partial(torch.empty, dtype=torch.float64, device=space.device)
        return ResidualJacobian(bridge, empty, self._block_bytes, self._arguments.way)

    def _matrix_free(self, runner: ResidualRunner) -> Evaluator[Any]:
        device = _device(runner.bridge)
        bridge: Any = runner.bridge if device is None else tensor_bridge(runner.bridge)
        space: Any = ARRAYS if device is None else TensorSpace(device)
        products = self._make_jacobian(bridge, space)
        curvature: GaussNewton[Any] = GaussNewton(
            runner, bridge, products, self._arguments.loss, self.profile
        )
        guard = make_guard(self.profile)
        return CurvedEvaluator(
            runner,
            bridge,
            space,
            guard,
            self.profile,
            gradient=True,
            keeps_points=True,
            curvature=curvature,
        )

    def _solve(self, run: Run) -> OptimizeResult:
        row = self._arguments.row
        run.objective.look_in(Region(run.bounds, keeps_bounds=run.bounds is not None))
        if row.native is None:
            return self._by_scipy(run)
        bridge, device = run.evaluator.bridge, run.evaluator.bridge.params[0].device
        options = dict(self._arguments.keywords)
        if row.curvature:
            solver = row.native.make(options, bridge.numel, _device(bridge), None)
            return self._with_residuals(_renamed(solve(solver, run, self._plan)), run)
        native: Any = row.native
        options["loss"] = self._arguments.loss
        solver = native.make_within(options, bridge.numel, device, run.bounds)
        evaluator = run.evaluator
        assert isinstance(evaluator, ResidualEvaluator)
        more = partial(answered, objective=run.objective, evaluator=evaluator)
        res = _renamed(solve(solver, run, self._plan, more=more))
        if res.status < _OWN_ENDINGS:
            res.success = res.status > 0
        return self._completed(res, run, evaluator)

    def _with_residuals(self, res: OptimizeResult, run: Run) -> OptimizeResult:
        """A result of the method without matrices, with the residuals where the run ends."""
        evaluator = run.evaluator
        assert isinstance(evaluator, CurvedEvaluator)
        true_end(run.objective, res, run.objective.best, self._plan.habits)
        evaluator.load(evaluator.space.as_vector(res.x))
        curvature: Any = evaluator.curvature
        res.residuals = evaluator.guard.run("curvature", None, curvature.residuals)
        res.jac = None
        res.optimality = _optimality(run, res)
        res.active_mask = _active(None, res.x)
        return res

    def _by_scipy(self, run: Run) -> OptimizeResult:
        arguments, evaluator = self._arguments, run.evaluator
        assert isinstance(evaluator, ResidualEvaluator)
        function = ResidualFunction(
            run.objective,
            run.watch,
            evaluator,
            as_operator=arguments.as_operator,
            answers=arguments.row.name == "lm",
            users=arguments.users,
        )
        found = run.objective.evaluate(run.x0)
        if not found.finite:
            res = ended(Ending.NONFINITE, run.objective, ("grad", "njev"), x=run.x0, nit=0)
            return self._completed(res, run, evaluator)
        keywords = self._scipys_keywords(run, function)
        try:
            res = scipy.optimize.least_squares(function.fun, run.x0.copy(), **keywords)
            res = OptimizeResult(res, fun=float(res.cost), residuals=res.fun, nit=run.watch.nit)
        except Stopped as stop:
            fields = ("grad", "njev")
            res = ended(stop.ending, run.objective, fields, x=stop.x, nit=run.watch.nit)
        finally:
            function.close()
        return self._completed(res, run, evaluator)

    def _scipys_keywords(self, run: Run, function: ResidualFunction) -> dict[str, Any]:
        arguments = self._arguments
        keywords = dict(arguments.keywords) | {"method": arguments.row.name}
        keywords["jac"] = arguments.differences or function.jac
        if not arguments.loss.is_linear:
            keywords |= {"loss": arguments.loss.given, "f_scale": arguments.loss.f_scale}
        if run.bounds is not None:
            keywords["bounds"] = (run.bounds.lb, run.bounds.ub)
        if arguments.differences:
            eps = coarsest_eps(run.evaluator.bridge)
            if keywords.get("diff_step") is None and eps > np.finfo(np.float64).eps:
                # scipy's own vanishes in float32.
                keywords["diff_step"] = eps ** (
                    0.5 if arguments.differences == "2-point" else 1 / 3
                )
            if "callback" in SCIPYS and arguments.row.name != "lm":
                keywords["callback"] = function.callback
        return keywords

    def _completed(
        self, res: OptimizeResult, run: Run, evaluator: ResidualEvaluator[Any]
    ) -> OptimizeResult:
        """A result with residuals, gradient and Jacobian of the point where the run ends."""
        ended_at = res.x
        true_end(run.objective, res, run.objective.best, self._plan.habits)
        objective, same = run.objective, evaluator.space.same
        x = objective.point(evaluator.space.as_vector(res.x))
        if not same(x, evaluator.space.as_vector(ended_at)) or "residuals" not in res:
            # Not what the solver told of.
            res.residuals, res.jac = None, None
        known = evaluator.linearised
        if known is not None and same(x, known.x) and res.get("jac") is None:
            res.jac = self._scaled(known.jacobian, known.residuals)
        if res.get("residuals") is None:
            is_known = known is not None and same(x, known.x)
            evaluator.graph_at(x) if not is_known else None
            res.residuals = known.residuals if is_known and known else evaluator.values
        if self._arguments.by_autograd and math.isfinite(res.fun):
            res.grad = evaluator.linearise(x, matrix=False).gradient
        res.njev = evaluator.profile.counts.get("jac", 0) if "njev" not in res else res.njev
        res.setdefault("optimality", _optimality(run, res))
        res.setdefault("active_mask", _active(run.bounds, res.x))
        return res

    def _scaled(self, jacobian: Any, residuals: Any) -> Any:
        """J with the rows' weights in it, as scipy returns it."""
        weighted = None if jacobian is None else self._arguments.loss.weighted(residuals)
        return jacobian if weighted is None else jacobian * weighted.scale[:, None]

    def _run_here(self, prepared: Prepared) -> Tensor:
        loss = super()._run_here(prepared)
        res = self.res
        # As scipy's least_squares names them; until here the solver's loss was ``fun``.
        res.cost = res.fun
        if "residuals" in res:
            res.fun = res.pop("residuals")
        return loss

    def _residuals_and_jacobian(self, closure: UserClosure) -> tuple[Array, Array]:
        bridge = self._current_bridge()
        grads = [param.grad for param in bridge.params]
        runner = self._make_runner(closure, bridge)
        assert isinstance(runner, ResidualRunner)
        assert runner.residuals is not None
        try:
            with torch.enable_grad():
                runner.value()
                flat = runner.residuals.flat
                if flat is None:
                    raise RuntimeError("the closure gave no residuals at the parameters' values")
                jacobian: Array = self._make_jacobian(bridge, ARRAYS).matrix(flat)
        finally:
            for param, grad in zip(bridge.params, grads, strict=True):
                param.grad = grad
        return flat.detach().cpu().double().numpy(), jacobian

    def _weighted_jacobian(self, closure: UserClosure) -> tuple[Array, float]:
        residuals, jacobian = self._residuals_and_jacobian(closure)
        return self._scaled(jacobian, residuals), float(self._arguments.loss.cost(residuals))

    def _record(self) -> dict[str, Any]:
        return super()._record() | {"arguments": self._arguments.as_saved()}

    def _method_name(self) -> str:
        return self._arguments.row.name

    def __getstate__(self) -> dict[str, Any]:
        own = {"_arguments": self._arguments, "_block_bytes": self._block_bytes}
        return super().__getstate__() | own


def _refuse_unfit(settings: Settings) -> None:
    """Keywords that least squares cannot heed.

    Raises:
        ValueError: one is set.
    """
    if settings.distributed is not False:
        raise ValueError(
            "distributed: least squares run in one process, since their Jacobian would have to be "
            "put together from all of them; minimise the sum of squares with MinimizeWrapper, "
            "which can be distributed, or gather the residuals in the closure"
        )
    if settings.warm_start:
        raise ValueError("warm_start: least squares keep no inverse Hessian; leave it out")
    if settings.captured_graph:
        raise ValueError(
            "captured_graph: a captured graph has no graph of autograd's that a Jacobian could be "
            "taken of; leave it out"
        )


def _device(bridge: Bridge[Any]) -> torch.device | None:
    """The device that all parameters are on, if it is one and not the host."""
    devices = {param.device for param in bridge.params}
    device = devices.pop()
    return None if devices or device.type == "cpu" else device


def _renamed(res: OptimizeResult) -> OptimizeResult:
    """The gradient under the name that it has here, where ``jac`` is a matrix."""
    if "jac" in res:
        res.grad = res.pop("jac")
    return res


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
