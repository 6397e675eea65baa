"""On float32 parameters every method reaches a minimum within float32's accuracy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from instance import Array, Instance
from methods import GRADIENT, LOCAL, arguments
from problems import PROBLEMS, Problem, himmelblau, quadratic, rosenbrock
from scipy.optimize import OptimizeResult

from pytorch_minimize.optim import MinimizeWrapper

# A minimum's place is known to the square root of the rounding, and the loss about it to as
# much as the method is content with there.
ACCURACY = float(np.sqrt(np.finfo(np.float32).eps))

# Two variables, with which every method has room to spare; and each problem by two methods.
PAIRS = [
    pytest.param(method, problem, id=f"{method}-{problem}")
    for method in LOCAL
    for problem in PROBLEMS
    if problem.name == "himmelblau" or method in ("BFGS", "L-BFGS-B")
]


def excess(instance: Instance, problem: Problem) -> float:
    """The loss at the parameters above the minimum, in float64."""
    assert instance.minimum is not None
    exact = problem.make(torch.float64).fun(instance.x)
    return (exact - instance.minimum) / max(1.0, instance.minimum)


@pytest.mark.parametrize(("method", "problem"), PAIRS)
def test_reaches_the_minimum(method: str, problem: Problem) -> None:
    instance = problem.make(torch.float32)
    optimizer = MinimizeWrapper(instance.params, arguments(method))
    loss = optimizer.step(instance.closure(1 if method in GRADIENT else 2))
    assert excess(instance, problem) < ACCURACY
    assert loss.item() == np.float32(optimizer.res.fun)
    assert np.array_equal(instance.x, optimizer.res.x.astype(np.float32).astype(np.float64))


def test_scipy_sees_float64_alone() -> None:
    instance = himmelblau(torch.float32)
    seen: list[Any] = []

    def method(fun: Any, x0: Array, args: Any = (), jac: Any = None, **unused: Any) -> Any:
        seen.extend([x0.dtype, type(fun(x0)), jac(x0).dtype])
        return OptimizeResult(x=x0, fun=fun(x0), success=True, nfev=1)

    MinimizeWrapper(instance.params, {"method": method}).step(instance.closure(1))
    assert seen == [np.float64, float, np.float64]


@pytest.mark.parametrize("method", GRADIENT)
def test_finite_differences_are_not_lost_in_rounding(method: str) -> None:
    """scipy's own step of 1.5e-8 vanishes in float32: each gradient would be zero."""
    instance = quadratic(torch.float32)
    start = instance.fun(instance.x0)
    optimizer = MinimizeWrapper(instance.params, arguments(method, jac=False))
    optimizer.step(instance.closure(2))
    assert optimizer.res.fun < 1e-2 * start


def test_mixed_dtypes_in_one_list() -> None:
    a = torch.nn.Parameter(torch.tensor([3.0, -2.0], dtype=torch.float32))
    b = torch.nn.Parameter(torch.tensor(4.0, dtype=torch.float64))
    optimizer = MinimizeWrapper([a, b], {"method": "BFGS"})
    optimizer.step(lambda: ((a - 1) ** 2).sum() + (a[0] * b - 2) ** 2)
    assert a.dtype == torch.float32
    assert b.dtype == torch.float64
    torch.testing.assert_close(a.detach(), torch.ones(2), rtol=0, atol=1e-3)
    torch.testing.assert_close(b.item(), 2.0, rtol=0, atol=1e-3)
    assert b.item() == optimizer.res.x[2]


def test_half_precision_moves() -> None:
    instance = rosenbrock(torch.bfloat16)
    optimizer = MinimizeWrapper(instance.params, {"method": "BFGS"})
    loss = optimizer.step(instance.closure(1))
    assert loss.item() <= instance.fun(instance.x0)
    assert np.isfinite(optimizer.res.x).all()
