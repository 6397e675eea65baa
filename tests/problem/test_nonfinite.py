"""One bad evaluation does not lose a fit."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from instance import Instance
from methods import ALL, CAPPED, GRADIENT, GRADIENT_FREE, KINDS, arguments
from problems import rosenbrock
from scipy.optimize import OptimizeResult
from torch import Tensor, nn

from pytorch_minimize.optim import BasinHoppingWrapper, MinimizeWrapper

BAD = [math.nan, math.inf, -math.inf]
# These are among the eight methods that recovery by a large loss was found to save.
WITH_CURVATURE = ("Newton-CG", "trust-ncg", "trust-constr")
RAISED = (ArithmeticError, RuntimeError, ValueError)


def spoilt(
    instance: Instance, bad: float, calls: tuple[int, ...], form: int
) -> Callable[[], Tensor]:
    """A closure whose loss, and hence gradient, is not finite in the calls given (from 1)."""
    count = 0

    def closure() -> Tensor:
        nonlocal count
        count += 1
        loss = instance.loss(instance.params)
        if count in calls:
            loss = loss * bad
        if form == 1:
            loss.backward()
        return loss

    return closure


def step(closure: Callable[[], Any], instance: Instance, method: str, **more: Any) -> Any:
    optimizer = MinimizeWrapper(
        instance.params, arguments(method, options=CAPPED.get(method, {})), **more
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        optimizer.step(closure)
    messages = [str(w.message) for w in caught]
    assert np.array_equal(instance.x, optimizer.res.x)
    return optimizer.res, messages


@pytest.mark.parametrize(("bad", "form"), [(math.nan, 1), (math.inf, 2), (-math.inf, 1)])
@pytest.mark.parametrize("method", [*GRADIENT, *WITH_CURVATURE])
def test_gradient_methods_recover(method: str, bad: float, form: int) -> None:
    instance = rosenbrock()
    res, messages = step(spoilt(instance, bad, (4,), form), instance, method)
    assert res.success
    assert res.fun == instance.fun(res.x) < 1e-4
    assert res.nonfinite == 1
    assert sum("finite" in message for message in messages) == len(messages) == 1


@pytest.mark.parametrize("bad", [math.nan, -math.inf])
@pytest.mark.parametrize("method", GRADIENT_FREE)
def test_gradient_free_methods_recover(method: str, bad: float) -> None:
    instance = rosenbrock()
    res, messages = step(spoilt(instance, bad, (4,), 2), instance, method)
    assert math.isfinite(res.fun)
    assert res.fun == instance.fun(res.x) < instance.fun(instance.x0)
    assert res.nonfinite == 1
    assert sum("finite" in message for message in messages) == 1


@pytest.mark.parametrize(("bad", "form"), [(math.nan, 1), (math.inf, 2)])
@pytest.mark.parametrize("method", ["BFGS", "L-BFGS-B", "TNC", "trust-ncg"])
def test_a_gradient_alone_may_be_bad(method: str, bad: float, form: int) -> None:
    instance, count = rosenbrock(), 0

    def closure() -> Tensor:
        nonlocal count
        count += 1
        first, *others = (1 * p for p in instance.params)
        if count == 4:
            first.register_hook(lambda grad: grad * bad)
        loss = instance.loss([first, *others])
        if form == 1:
            loss.backward()
        return loss

    res, messages = step(closure, instance, method)
    assert res.success
    assert res.fun < 1e-4
    assert res.nonfinite == 1
    assert len(messages) == 1


@pytest.mark.parametrize("method", KINDS)
def test_many_bad_evaluations_are_counted_and_warned_of_once(method: str) -> None:
    instance = rosenbrock()
    res, messages = step(spoilt(instance, math.nan, (3, 5, 8), 1), instance, method)
    assert res.nonfinite == 3
    assert sum("finite" in message for message in messages) == 1
    assert res.fun < instance.fun(instance.x0)


@pytest.mark.parametrize("method", GRADIENT)
def test_the_first_evaluation_may_be_bad(method: str) -> None:
    """Then there is no finite loss to scale by; the run ends, truthfully, without a crash."""
    instance = rosenbrock()
    res, _ = step(spoilt(instance, math.nan, (1,), 1), instance, method)
    assert res.nonfinite == 1
    assert not res.success or res.fun == instance.fun(res.x)


@pytest.mark.parametrize(
    ("method", "bad"), [*((m, math.nan) for m in ALL), ("BFGS", math.inf), ("COBYLA", -math.inf)]
)
def test_a_run_without_a_finite_value_fails(method: str, bad: float) -> None:
    instance = rosenbrock()

    def closure() -> Tensor:
        return instance.loss(instance.params).mul(bad)

    optimizer = MinimizeWrapper(instance.params, arguments(method, options=CAPPED.get(method, {})))
    with pytest.warns(Warning, match="finite"):
        loss = optimizer.step(closure)
    assert not optimizer.res.success
    assert optimizer.res.nonfinite > 0
    assert not math.isfinite(loss.item())
    assert not math.isfinite(optimizer.res.fun)
    assert np.array_equal(instance.x, optimizer.res.x)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("method", KINDS)
def test_raise_stops_at_the_first(method: str, bad: float) -> None:
    instance, seen = rosenbrock(), []
    inner = spoilt(instance, bad, (4,), 2)

    def closure() -> Tensor:
        loss = inner()
        seen.append((loss.item(), instance.x))
        return loss

    optimizer = MinimizeWrapper(instance.params, {"method": method}, nonfinite="raise")
    with pytest.raises(RAISED, match="finite"):
        optimizer.step(closure)
    assert len(seen) == 4
    best = min(seen[:3], key=lambda pair: pair[0])[1]
    assert np.array_equal(instance.x, best)


def gives_up(fun: Any, x0: Any, **_: Any) -> OptimizeResult:
    """A solver that descends once, and whose arithmetic then breaks down for good."""
    fun(x0 * 0.5)
    while True:
        fun(x0 * math.nan)


def test_a_solver_that_breaks_down_ends_at_the_best_point() -> None:
    x, calls = nn.Parameter(torch.tensor([3.0, -2.0], dtype=torch.float64)), 0

    def closure() -> Tensor:
        nonlocal calls
        calls += 1
        return x.square().sum()

    optimizer = MinimizeWrapper([x], {"method": gives_up})
    loss = optimizer.step(closure)
    assert calls == 2
    assert (optimizer.res.status, optimizer.res.success) == (104, False)
    assert "NaN" in optimizer.res.message
    assert x.tolist() == [1.5, -1.0]
    assert loss == optimizer.res.fun == 3.25


def test_a_local_search_that_breaks_down_is_one_that_failed() -> None:
    x = nn.Parameter(torch.tensor([3.0, -2.0], dtype=torch.float64))
    optimizer = BasinHoppingWrapper([x], {"method": gives_up}, {"niter": 3, "rng": 0})
    optimizer.step(lambda: x.square().sum())
    assert optimizer.res.nit == 3
    assert optimizer.res.minimization_failures == 4
    assert np.array_equal(x.detach().numpy(), optimizer.res.x)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("method", ["L-BFGS-B", "trust-exact", gives_up])
def test_a_start_that_is_not_finite_is_refused(method: Any, bad: float) -> None:
    fine = nn.Parameter(torch.ones(2))
    spoiled = nn.Parameter(torch.tensor([[1.0, bad]]))
    optimizer = MinimizeWrapper([fine, spoiled], {"method": method})
    with pytest.raises(ValueError, match=r"1 of 2, the first of them number 1 of shape \(1, 2\)"):
        optimizer.step(lambda: fine.sum() + spoiled.sum())


def test_the_next_step_starts_its_own_count() -> None:
    instance = rosenbrock()
    optimizer = MinimizeWrapper(instance.params, {"method": "BFGS"})
    with pytest.warns(Warning, match="finite"):
        optimizer.step(spoilt(instance, math.nan, (2,), 1))
    optimizer.step(instance.closure(1))
    assert optimizer.res.nonfinite == 0
