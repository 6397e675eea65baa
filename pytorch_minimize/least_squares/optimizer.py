"""Least squares over the parameters of a model: scipy's methods and ours."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from scipy.optimize import Bounds, OptimizeResult
from scipy.sparse import issparse
from scipy.sparse.linalg import LinearOperator
from torch import Tensor

from ..bridge.interface import Bridge
from ..bridge.make import tensor_bridge
from ..closure.runner import ClosureRunner
from ..distributed.follower import Told
from ..distributed.group import Group
from ..distributed.partners import Part, Partners
from ..problem.evaluator import Evaluator
from ..region.group_keys import split
from ..region.region import Region
from ..row import BoundedNative, Native
from ..run.argued import ArguedOptimizer
from ..run.loop import solve
from ..run.optimizer import Run
from ..run.plan import Plan
from ..run.together import Prepared
from ..typing import Array, UserClosure
from .arguments import LeastSquaresArguments
from .covariance import Covariance, covariance_of
from .evaluator import ResidualEvaluator
from .fit_settings import parse_settings
from .make import Maker, device_of
from .requests import answered
from .residuals import ResidualClosure, ResidualRunner
from .results import completed, completed_without_matrix, named_as_scipys, weighted_rows
from .scipys import call

__all__ = ["LeastSquaresOptimizer"]

_OWN_ENDINGS = 99  # from which status on an ending is ours, and says itself whether it is a success


class LeastSquaresOptimizer(ArguedOptimizer):
    """Least squares over the parameters of a model.

    Args:
        params, run_keywords: see :class:`~pytorch_minimize.run.optimizer.FullBatchOptimizer`.
        arguments: how the solver is called, checked.
        block_bytes: about how much memory rows or columns of a Jacobian may take at a time.
    """

    _arguments: LeastSquaresArguments
    _takes_jacobians = True

    def __init__(
        self,
        params: Iterable[Any],
        arguments: LeastSquaresArguments,
        block_bytes: int,
        run_keywords: Mapping[str, Any],
    ) -> None:
        self._arguments, self._block_bytes = arguments, block_bytes
        lr, run_keywords = split(run_keywords)
        super().__init__(params, parse_settings(run_keywords), lr)

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
        is_shared = self._settings.distributed is not False
        if closure is not None and is_shared:
            raise ValueError(
                "covariance: with distributed the closure has the rows of this process alone. "
                "Leave it out in process 0, which has the Jacobian of all, or ask an optimizer "
                "without distributed, with a closure of all rows"
            )
        if closure is not None:
            taken, cost = self._weighted_jacobian(closure)
            return covariance_of(taken, cost, bridge, absolute=absolute)
        jacobian: Any = None if self.res is None else self.res.get("jac")
        if jacobian is None and is_shared:
            raise RuntimeError(
                "covariance: no Jacobian of all rows is here. With distributed process 0 has it, "
                "after a step of a method that makes a matrix; ask there"
            )
        if jacobian is None:
            raise RuntimeError(
                "covariance: the last step left no Jacobian as a matrix; pass the closure, of "
                "which one is taken at the parameters' values: optimizer.covariance(closure)"
            )
        if isinstance(jacobian, LinearOperator):  # the user's own
            jacobian = jacobian @ np.eye(bridge.numel)
        dense = jacobian.toarray() if issparse(jacobian) else np.asarray(jacobian)
        return covariance_of(dense, float(self.res.cost), bridge, absolute=absolute)

    def jacobian(self, closure: UserClosure) -> Array:
        """The Jacobian of the closure's residuals at the parameters' values, of shape (m, n).

        With ``distributed`` it has the rows of this process alone.

        Args:
            closure: as for :meth:`step`; runs once now.

        Raises:
            RuntimeError: the residuals carry no graph, or one that reaches none of the parameters;
                or a step is running.
        """
        self._refuse_inside_a_run("jacobian")
        return self._residuals_and_jacobian(closure)[1]

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
        return self._maker.evaluator(runner, self._leader)

    def _part_of(self, prepared: Prepared, group: Group) -> Part:
        runner, on_host = prepared.runner, group.device.type == "cpu"
        assert isinstance(runner, ResidualRunner)
        bridge: Any = runner.bridge if on_host else tensor_bridge(runner.bridge)
        device = None if on_host else group.device
        return self._maker.part(runner, bridge, device, shared=True)

    @property
    def _rule_of_parts(self) -> object:
        """Of products: the leader of other methods has all residuals, and weighs them itself."""
        loss, row = self._arguments.loss, self._arguments.row
        given = loss.given if isinstance(loss.given, str) else "a callable"
        return (row.name, given, loss.f_scale) if row.curvature else None

    @property
    def _maker(self) -> Maker:
        threads = self._settings.blas_threads
        threads = 1 if threads == "auto" else threads
        return Maker(self._arguments, self._block_bytes, threads, self.profile)

    def _solve(self, run: Run) -> OptimizeResult:
        row = self._arguments.row
        run.objective.look_in(Region(run.bounds, keeps_bounds=run.bounds is not None))
        if row.native is None:
            res = call(self._arguments, run)
        elif row.curvature:
            return self._by_products(row.native, run)
        else:
            res = self._by_our_own(row.native, run)
        by_autograd = self._arguments.by_autograd
        return completed(res, run, self._plan, self._arguments.loss, by_autograd=by_autograd)

    def _by_products(self, native: Native, run: Run) -> OptimizeResult:
        bridge, options = run.evaluator.bridge, self._arguments.keywords
        solver = native.make(options, bridge.numel, device_of(bridge), None)
        res = _renamed(solve(solver, run, self._plan))
        return completed_without_matrix(res, run, self._plan)

    def _by_our_own(self, native: Native, run: Run) -> OptimizeResult:
        evaluator, bridge = run.evaluator, run.evaluator.bridge
        assert isinstance(evaluator, ResidualEvaluator)
        options = {**self._arguments.keywords, "loss": self._arguments.loss}
        bounded = cast(BoundedNative, native)
        device = bridge.params[0].device
        solver = bounded.make_within(options, bridge.numel, device, run.bounds)
        more = partial(answered, objective=run.objective, evaluator=evaluator)
        res = _renamed(solve(solver, run, self._plan, more=more))
        if res.status < _OWN_ENDINGS:
            res.success = res.status > 0
        return res

    def _run_here(self, prepared: Prepared) -> Tensor:
        with self._named_as_scipys():
            return super()._run_here(prepared)

    def _follow(self, run: Partners, prepared: Prepared) -> Tensor:
        with self._named_as_scipys():
            return super()._follow(run, prepared)

    @contextlib.contextmanager
    def _named_as_scipys(self) -> Iterator[None]:
        before = self.res
        try:
            yield
        finally:
            if self.res is not None and self.res is not before:
                named_as_scipys(self.res)

    def _take(self, told: Told, prepared: Prepared) -> None:
        super()._take(told, prepared)
        # Those of all rows are in the leader alone, however few they are.
        self.res.residuals = self.res.jac = None

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
                jacobian: Array = self._maker.jacobian(bridge, None).matrix(flat)
        finally:
            for param, grad in zip(bridge.params, grads, strict=True):
                param.grad = grad
        return flat.detach().cpu().double().numpy(), jacobian

    def _weighted_jacobian(self, closure: UserClosure) -> tuple[Array, float]:
        residuals, jacobian = self._residuals_and_jacobian(closure)
        loss = self._arguments.loss
        return weighted_rows(jacobian, residuals, loss), float(loss.cost(residuals))

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_block_bytes": self._block_bytes}


def _renamed(res: OptimizeResult) -> OptimizeResult:
    """The gradient under the name that it has here, where ``jac`` is a matrix."""
    if "jac" in res:
        res.grad = res.pop("jac")
    return res
