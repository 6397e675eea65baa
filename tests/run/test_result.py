"""What a step leaves behind: the loss, the result, parameters, gradients, the profile."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from instance import Instance
from methods import CAPPED, CURVATURE, GRADIENT, KINDS, arguments
from problems import himmelblau, rosenbrock
from scipy.optimize import OptimizeResult
from torch import Tensor

from pytorch_minimize.optim import MinimizeWrapper


def stepped(
    instance: Instance, method: str, form: int = 1, maxiter: int | None = None
) -> tuple[MinimizeWrapper, Tensor]:
    options = CAPPED.get(method, {}) if maxiter is None else {"maxiter": maxiter}
    optimizer = MinimizeWrapper(instance.params, arguments(method, options=options))
    return optimizer, optimizer.step(instance.closure(form))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("method", KINDS)
def test_step_returns_the_loss_and_parameters_hold_the_solution(
    method: str, dtype: torch.dtype
) -> None:
    instance = rosenbrock(dtype)
    optimizer, loss = stepped(instance, method)
    assert isinstance(loss, Tensor)
    assert loss.dim() == 0
    assert loss.dtype == dtype
    assert not loss.requires_grad
    assert loss.item() == optimizer.res.fun == instance.fun(instance.x)
    assert isinstance(optimizer.res, OptimizeResult)
    assert optimizer.res.x.dtype == np.float64
    rounded = torch.from_numpy(optimizer.res.x).to(dtype).double().numpy()
    assert np.array_equal(instance.x, rounded)


@pytest.mark.parametrize("method", [*GRADIENT, *CURVATURE])
def test_grad_is_the_gradient_where_a_run_is_cut_short(method: str) -> None:
    instance = rosenbrock()
    optimizer, _ = stepped(instance, method, form=2, maxiter=3)
    assert np.array_equal(instance.grad, instance.jac(optimizer.res.x))
    assert all(not p.grad.requires_grad for p in instance.params if p.grad is not None)


def test_res_is_scipys_own() -> None:
    optimizer, _ = stepped(rosenbrock(), "BFGS")
    assert optimizer.res.hess_inv.shape == (5, 5)
    assert optimizer.res.jac.shape == (5,)
    assert optimizer.res.nonfinite == 0
    assert "successfully" in optimizer.res.message


def test_a_failed_run_is_reported_as_scipy_does() -> None:
    optimizer, _ = stepped(rosenbrock(), "BFGS", maxiter=1)
    assert not optimizer.res.success
    assert optimizer.res.nit == 1


def test_results_are_kept_from_later_steps() -> None:
    instance = rosenbrock()
    optimizer, _ = stepped(instance, "BFGS", maxiter=2)
    first = optimizer.res
    kept = {key: np.copy(first[key]) for key in ("x", "jac", "hess_inv", "fun")}
    optimizer.step(instance.closure(1))
    assert optimizer.res is not first
    for key, value in kept.items():
        assert np.array_equal(first[key], value)


def test_gradients_are_fresh_arrays() -> None:
    """scipy keeps the gradients it is given: none may ever be written again."""
    instance = rosenbrock()
    held: list[tuple[np.ndarray, np.ndarray]] = []

    def method(fun, x0, args=(), jac=None, **unused):  # type: ignore[no-untyped-def]
        rng = np.random.default_rng(3)
        for x in x0 + rng.standard_normal((50, x0.size)):
            fun(x)
            gradient = jac(x)
            held.append((gradient, gradient.copy()))
        return OptimizeResult(x=x0, fun=fun(x0), jac=jac(x0), success=True, nfev=51)

    MinimizeWrapper(instance.params, {"method": method}).step(instance.closure(1))
    assert all(np.array_equal(gradient, copy) for gradient, copy in held)
    assert len({gradient.tobytes() for gradient, _ in held}) == 50


def test_grad_is_that_of_the_solution_and_not_of_the_last_evaluation() -> None:
    instance = himmelblau()

    def method(fun, x0, args=(), jac=None, **unused):  # type: ignore[no-untyped-def]
        best = OptimizeResult(x=x0, fun=fun(x0), jac=jac(x0), success=True, nfev=2)
        fun(x0 + 1)
        return best

    MinimizeWrapper(instance.params, {"method": method}).step(instance.closure(1))
    assert np.array_equal(instance.x, instance.x0)
    assert np.array_equal(instance.grad, instance.jac(instance.x0))


def test_memo_compares_by_value() -> None:
    """A solver may write into the x that it passes (Newton-CG does)."""
    instance = himmelblau()

    def method(fun, x0, args=(), jac=None, **unused):  # type: ignore[no-untyped-def]
        x = x0.copy()
        first = fun(x), jac(x)
        x += 1.0
        second = fun(x), jac(x)
        assert first[0] != second[0]
        assert second[0] == instance.fun(x)
        assert np.array_equal(second[1], instance.jac(x))
        return OptimizeResult(x=x, fun=second[0], jac=second[1], success=True, nfev=2)

    calls = []

    def closure() -> Tensor:
        calls.append(instance.x)
        return evaluate()

    evaluate = instance.closure(2)
    MinimizeWrapper(instance.params, {"method": method}).step(closure)
    assert len(calls) == 2
    assert np.array_equal(instance.x, instance.x0 + 1)


@pytest.mark.parametrize("method", ["L-BFGS-B", "BFGS", "Nelder-Mead"])
def test_profile_adds_up(method: str) -> None:
    instance = rosenbrock()
    evaluate, asleep = instance.closure(1), []

    def closure() -> Tensor:
        start = time.perf_counter()
        time.sleep(5e-4)
        asleep.append(time.perf_counter() - start)
        return evaluate()

    optimizer = MinimizeWrapper(instance.params, {"method": method, "options": {"maxiter": 30}})
    start = time.perf_counter()
    optimizer.step(closure)
    elapsed = time.perf_counter() - start
    profile = optimizer.profile
    parts = [profile.closure, profile.bridge, profile.curvature, profile.solver]
    assert min(parts) >= 0
    assert sum(parts) == pytest.approx(profile.total, rel=0.01)
    assert sum(asleep) <= profile.closure < profile.total <= elapsed
    assert profile.curvature == 0
    assert len(asleep) in profile.counts.values()


def test_profile_is_readable() -> None:
    optimizer, _ = stepped(rosenbrock(), "BFGS")
    record = optimizer.profile.as_dict()
    for part in ("closure", "bridge", "curvature", "solver", "total"):
        assert part in str(optimizer.profile)
        assert record[part] == getattr(optimizer.profile, part)
    assert record["counts"] == optimizer.profile.counts
