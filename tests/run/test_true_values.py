"""Note [true values]: what leaves a run is what the closure gave at that very point."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from plain import VERSION
from scipy.optimize import Bounds, NonlinearConstraint, OptimizeResult
from torch import Tensor, nn

from pytorch_minimize.optim import (
    BasinHoppingWrapper,
    BruteWrapper,
    DifferentialEvolutionWrapper,
    MinimizeWrapper,
    SHGOWrapper,
)

FIRST_ORDER = ("CG", "BFGS", "L-BFGS-B", "TNC", "SLSQP")
SECOND_ORDER = ("Newton-CG", "dogleg", "trust-ncg", "trust-krylov", "trust-exact", "trust-constr")
NAN_FOR_EVER = ("L-BFGS-B", "SLSQP", "Newton-CG", "trust-constr", "Powell", "COBYQA", "Nelder-Mead")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


def point(*values: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values, dtype=torch.float64))


def edge(x: Tensor) -> Tensor:
    """Least where its gradient is infinite, and NaN beyond."""
    return (100 * x.sqrt() + x**2).sum()


def overflowing(x: Tensor) -> Tensor:
    return ((x.exp() - 2).exp() - 40 * x).sum()


def logarithm(x: Tensor) -> Tensor:
    return (30 * x - x.log()).sum()


@pytest.mark.parametrize("loss", [edge, logarithm, overflowing])
@pytest.mark.parametrize("method", [*FIRST_ORDER, *SECOND_ORDER])
def test_what_a_run_tells_is_the_loss_at_its_end(
    method: str, loss: Callable[[Tensor], Tensor]
) -> None:
    if (method, loss) == ("trust-exact", edge) and VERSION < (1, 17):
        pytest.skip("its subproblem loops for ever where the curvature is -1e25; 1.17 limits it")
    x, told = point(1.0, 0.4), []

    def callback(intermediate_result: OptimizeResult) -> None:
        told.append((loss(x.detach()).item(), intermediate_result.fun))

    optimizer = MinimizeWrapper([x], {"method": method, "callback": callback})
    returned = optimizer.step(lambda: loss(x)).item()
    x_end, res = x.detach().clone().requires_grad_(), optimizer.res
    true = loss(x_end)
    true.backward()
    assert math.isfinite(true.item())
    assert returned == res.fun == true.item()
    assert np.array_equal(res.x, x.detach().numpy())
    gradient = res.get("grad", res.get("jac"))
    if method != "Newton-CG":  # scipy's own is that of the iterate before
        assert np.array_equal(gradient, x_end.grad.numpy())
    if x.grad is not None:
        assert torch.equal(x.grad, x_end.grad)
    if method not in ("TNC", "SLSQP"):  # whose callbacks are told points but no loss
        assert all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in told)
    finite = optimizer.history.loss[np.isfinite(optimizer.history.loss)]
    assert (finite >= true.item() - 1e-12 * abs(true.item())).all()


@pytest.mark.parametrize("method", NAN_FOR_EVER)
def test_a_loss_that_is_nan_for_ever_is_not_minimised(method: str) -> None:
    x, calls = point(-1.2, 1.0), 0

    def closure() -> Tensor:
        nonlocal calls
        calls += 1
        loss = 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2
        return loss if calls < 5 else loss * math.nan

    options = {"maxfun": 200} if method == "L-BFGS-B" else {"maxiter": 50}
    optimizer = MinimizeWrapper([x], {"method": method, "options": options})
    optimizer.step(closure)
    assert not optimizer.res.success
    assert math.isfinite(optimizer.res.fun)


def lands_outside(fun: Any, x0: Any, **_: Any) -> OptimizeResult:
    """A solver that is content with a point where the loss is not finite."""
    fun(x0), fun(x0 / 2)
    return OptimizeResult(x=-x0, fun=fun(-x0), success=True, status=0, message="", nit=1, nfev=3)


def test_a_run_that_ends_outside_is_set_to_the_best_point() -> None:
    x = point(4.0)
    optimizer = MinimizeWrapper([x], {"method": lands_outside})
    assert optimizer.step(lambda: x.sqrt().sum()) == x.sqrt().sum()
    assert (optimizer.res.status, optimizer.res.success) == (105, False)
    assert "not finite" in optimizer.res.message
    assert x.item() == optimizer.res.x == 2.0


def misremembers(fun: Any, x0: Any, **_: Any) -> OptimizeResult:
    """A solver that returns one point with the loss of another."""
    x = x0 / 2
    return OptimizeResult(
        x=x0, fun=min(fun(x0), fun(x)), success=True, status=0, message="", nit=1, nfev=2
    )


def test_the_loss_of_another_point_is_not_told() -> None:
    x = point(4.0)
    optimizer = MinimizeWrapper([x], {"method": misremembers})
    assert optimizer.step(lambda: (x**2).sum()) == optimizer.res.fun == 16.0


def test_an_abnormal_end_tells_the_loss_of_the_point_that_scipy_restores() -> None:
    x = point(2.0, -1.5)

    def closure() -> Tensor:
        x.grad = -2 * x.detach()  # of the wrong sign, so that no line search succeeds
        return (x**2).sum().detach()

    optimizer = MinimizeWrapper([x], {"method": "L-BFGS-B", "options": {"maxls": 1}})
    assert optimizer.step(closure).item() == (x**2).sum().item()
    assert not optimizer.res.success


def test_an_abnormal_end_at_the_start_tells_the_loss_there() -> None:
    """The trial that failed is lower than the start, but not by as much as the gradient says."""
    x = point(2.0)

    def closure() -> Tensor:
        x.grad = 2000 * x.detach()
        return (x**2).sum().detach()

    optimizer = MinimizeWrapper([x], {"method": "L-BFGS-B", "options": {"maxls": 1}})
    assert optimizer.step(closure).item() == optimizer.res.fun == 4.0
    assert x.item() == 2.0
    assert not optimizer.res.success


def test_a_finite_loss_is_true_where_its_gradient_is_not() -> None:
    x = point(0.0)
    optimizer = MinimizeWrapper([x], {"method": "BFGS"})
    assert optimizer.step(lambda: x.sqrt().sum() + 3) == 3.0
    assert optimizer.res.fun == 3.0
    assert not optimizer.res.success


def test_a_success_after_a_bad_last_iteration_is_doubted() -> None:
    """L-BFGS-B's steps end at the edge, where they are as small as ``ftol`` asks for."""
    x = point(1.0)
    optimizer = MinimizeWrapper([x], {"method": "L-BFGS-B", "options": {"ftol": 1e-2}})
    optimizer.step(lambda: torch.where(x > 0.5, x, math.nan).sum())
    assert (optimizer.res.status, optimizer.res.success) == (106, False)
    assert 0.5 < optimizer.res.fun < 0.6


def test_a_gradient_that_vanishes_is_a_success_whatever_else_was_met() -> None:
    """The second evaluation, in the last iteration, is NaN; the third has no gradient left."""
    x, calls = point(3.0), 0

    def closure() -> Tensor:
        nonlocal calls
        calls += 1
        return ((x - 1) ** 2).sum() * (math.nan if calls == 2 else 1.0)

    optimizer = MinimizeWrapper([x], {"method": "L-BFGS-B"})
    optimizer.step(closure)
    assert optimizer.res.success
    assert optimizer.res.nonfinite == 1


@pytest.mark.parametrize("method", ["Nelder-Mead", "L-BFGS-B"])
def test_a_loss_that_is_nan_for_ever_has_not_stalled(method: str) -> None:
    x, calls = point(-1.2, 1.0), 0

    def closure() -> Tensor:
        nonlocal calls
        calls += 1
        return ((x - 1) ** 4).sum() * (1.0 if calls < 5 else math.nan)

    optimizer = MinimizeWrapper([x], {"method": method}, rtol=1e-3, max_evaluations=100)
    optimizer.step(closure)
    assert not optimizer.res.success
    assert optimizer.res.fun == ((x - 1) ** 4).sum().item()


class TestGlobal:
    def test_a_grid_has_nan_where_the_loss_is(self) -> None:
        x = point(0.0)
        optimizer = BruteWrapper([x], {"ranges": [slice(-2.0, 3.0, 1.0)], "finish": None})
        optimizer.step(lambda: x.sqrt().sum())
        expected = torch.tensor([math.nan, math.nan, 0.0, 1.0, 2.0]).double().sqrt().numpy()
        assert np.array_equal(optimizer.res.grid_values, expected, equal_nan=True)
        assert optimizer.res.success

    def test_minima_that_shgo_lists_are_true(self) -> None:
        x = point(0.0)
        optimizer = SHGOWrapper([x], {}, {"bounds": [(-2.0, 3.0)], "n": 16})
        optimizer.step(lambda: (x.sqrt() + (x - 2) ** 2).sum())
        at = torch.from_numpy(optimizer.res.xl)
        true = (at.sqrt() + (at - 2) ** 2).sum(-1).numpy()
        finite = np.isfinite(optimizer.res.funl)
        assert finite.any()
        assert np.array_equal(optimizer.res.funl[finite], true[finite])

    def test_populations_have_nan_where_the_loss_is(self) -> None:
        x, seen = point(0.5, 0.5), []

        def callback(intermediate_result: OptimizeResult) -> None:
            seen.append(intermediate_result.population_energies)

        kwargs = {"bounds": [(-2, 2)] * 2, "rng": 0, "maxiter": 1, "polish": False}
        optimizer = DifferentialEvolutionWrapper([x], {**kwargs, "callback": callback})
        optimizer.step(lambda: x.sqrt().sum())
        energies = np.concatenate([*seen, optimizer.res.population_energies])
        assert np.isnan(energies).any()
        assert np.nanmax(energies) < 2 * math.sqrt(2)

    def test_a_local_search_that_ends_outside_is_one_that_failed(self) -> None:
        x = point(4.0)
        optimizer = BasinHoppingWrapper([x], {"method": lands_outside}, {"niter": 2, "rng": 0})
        loss = optimizer.step(lambda: x.sqrt().sum())
        assert optimizer.res.minimization_failures > 0
        assert loss == x.sqrt().sum()

    def test_limits_outlast_a_local_search_that_we_ended(self) -> None:
        x, count = point(3.0, -2.0), 0

        def closure() -> Tensor:
            nonlocal count
            count += 1
            return ((x - 1) ** 4).sum() + x.sin().sum()

        args = {"method": "TNC", "options": {"maxiter": 2}}  # whose iterations are counted by us
        optimizer = BasinHoppingWrapper([x], args, {"niter": 20, "rng": 0}, max_evaluations=30)
        optimizer.step(closure)
        assert optimizer.res.status == 102
        assert count == 30

    def test_integers_stay_inside_bounds_that_are_none(self) -> None:
        x = point(0.2, 0.3)
        kwargs = {"bounds": [(-0.9, 1.9), (-2, 2)], "integrality": [True, False], "polish": False}
        optimizer = DifferentialEvolutionWrapper([x], {**kwargs, "rng": 1, "maxiter": 60})

        def loss() -> Tensor:
            return ((x[0] - 1.8) * 4) ** 2 + (x[1] - 0.3) ** 2

        assert optimizer.step(loss).item() == loss().item()
        assert x[0].item() == 1.0

    def test_bounds_without_an_integer_between_them_are_refused(self) -> None:
        kwargs = {"bounds": [(0.2, 0.8), (-2, 2)], "integrality": [True, False]}
        with pytest.raises(ValueError, match=r"an integer between.*element 0, has 0\.2 and 0\.8"):
            DifferentialEvolutionWrapper([point(0.0, 0.0)], kwargs)


class TestOurOwnEnds:
    """They give the fields that scipy's result of that method has."""

    @pytest.mark.parametrize("method", ["SLSQP", "COBYLA", "COBYQA", "trust-constr"])
    def test_with_constraints(self, method: str) -> None:
        if method == "COBYLA" and VERSION < (1, 16):
            pytest.skip("it takes no equalities before 1.16")
        constraint = NonlinearConstraint(lambda x: [x @ x, x[0]], [-np.inf, 0.25], [1.0, 0.25])
        ended, whole = (self.run(method, [constraint], **more) for more in (self.soon, {}))
        # What only scipy's own ending knows: where a run is not ended by us.
        assert set(whole) - set(ended) <= {"execution_time"}
        assert np.ndim(ended.get("multipliers", 0)) == np.ndim(whole.get("multipliers", 0))
        assert np.shape(ended.get("multipliers")) == np.shape(whole.get("multipliers"))
        if method == "trust-constr":
            assert ended.grad.shape == (2,)
            assert [np.shape(j) for j in ended.jac] == [np.shape(j) for j in whole.jac]

    @pytest.mark.parametrize("method", [*FIRST_ORDER, *SECOND_ORDER])
    def test_without(self, method: str) -> None:
        ended, whole = (self.run(method, [], **more) for more in (self.soon, {}))
        # H^-1 and the last Hessian are in scipy's hands alone.
        assert set(whole) - set(ended) <= {"hess_inv", "hess", "execution_time"}
        assert ended.nfev == 6

    def test_calls_of_a_jac_of_the_users_are_counted(self) -> None:
        calls = []

        def jac(x: np.ndarray) -> np.ndarray:
            calls.append(x)
            return 4 * (x - 1) ** 3

        x = point(3.0, -2.0)
        optimizer = MinimizeWrapper([x], {"method": "CG", "jac": jac}, max_evaluations=4)
        optimizer.step(lambda: ((x - 1) ** 4).sum())
        assert optimizer.res.njev == len(calls) > 0
        assert optimizer.res.jac.shape == (2,)

    soon: dict[str, Any] = {"max_evaluations": 6}  # noqa: RUF012

    @staticmethod
    def run(method: str, constraints: list[Any], **more: Any) -> OptimizeResult:
        x = point(-1.2, 1.0)
        args = {"method": method} | ({"constraints": constraints} if constraints else {})
        optimizer = MinimizeWrapper([x], args, **more)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            optimizer.step(lambda: 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2)
        assert optimizer.res.x.shape == (2,)
        return optimizer.res


class TestBounds:
    @pytest.mark.parametrize("start", [(3.0, -1.0), (2.0, 0.0)])
    def test_a_start_on_or_outside_bounds_to_keep_goes_strictly_inside(
        self, start: tuple[float, float]
    ) -> None:
        x = point(*start)
        bounds = Bounds([0, 0], [2, 2], keep_feasible=True)
        optimizer = MinimizeWrapper([x], {"method": "trust-constr", "bounds": bounds})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            optimizer.step(lambda: 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2)
        assert optimizer.res.success
        assert optimizer.res.fun < 1e-8

    # scipy 1.15 beside a numpy of after it.
    @pytest.mark.filterwarnings("ignore:'where' used without 'out':UserWarning")
    def test_success_at_the_start_is_doubted_under_bounds_too(self) -> None:
        x = point(0.5)
        bounds = Bounds([-1e3], [1e3])
        args = {"method": "trust-constr", "bounds": bounds, "options": {"gtol": 1e3}}
        with pytest.warns(RuntimeWarning, match="success at its start"):
            MinimizeWrapper([x], args).step(lambda: ((x - 3) ** 2).sum())

    @pytest.mark.parametrize(
        "method", ["Nelder-Mead", "Powell", "COBYLA", "COBYQA", "L-BFGS-B", "TNC", "SLSQP"]
    )
    def test_variables_that_are_all_fixed_are_the_result(self, method: str) -> None:
        x = point(0.5, 0.5)
        args = {"method": method, "bounds": [(0.25, 0.25), (0.5, 0.5)]}
        optimizer = MinimizeWrapper([x], args)
        with pytest.warns(UserWarning, match="outside the bounds"):
            assert optimizer.step(lambda: (x**2).sum()) == 0.3125
        assert x.tolist() == [0.25, 0.5]
        assert optimizer.res.success
        assert optimizer.res.nfev == 1
