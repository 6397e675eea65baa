"""What least squares leave where a step is cut short, and where workers share the one model."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from plain import VERSION
from torch import Tensor, nn

from pytorch_minimize import LeastSquaresWrapper, MinimizeWrapper

METHODS = ["trf", "dogbox", "lm", "torch-lm", "torch-gauss-newton-cg"]


def rosenbrock(x: Tensor) -> Tensor:
    return torch.stack([10.0 * (x[1] - x[0] ** 2), 1.0 - x[0]])


def parameter() -> nn.Parameter:
    return nn.Parameter(torch.tensor([-1.2, 1.0], dtype=torch.float64))


@pytest.mark.parametrize("method", METHODS)
def test_after_an_interrupt_the_result_has_the_fields_of_any(method: str) -> None:
    x, calls = parameter(), []

    def closure() -> Tensor:
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return rosenbrock(x)

    optimizer = LeastSquaresWrapper([x], {"method": method})
    with pytest.raises(KeyboardInterrupt):
        optimizer.step(closure)
    assert optimizer.res.status == 108
    assert optimizer.res.cost == 0.5 * rosenbrock(x).square().sum().item()
    assert optimizer.res.fun is None  # residuals that nobody kept


@pytest.mark.parametrize("method", METHODS)
def test_after_a_limit_the_gradient_is_that_of_the_end(method: str) -> None:
    x = parameter()
    optimizer = LeastSquaresWrapper([x], {"method": method}, max_evaluations=4)
    optimizer.step(lambda: rosenbrock(x))
    end = x.detach().clone().requires_grad_()
    (0.5 * rosenbrock(end).square().sum()).backward()
    np.testing.assert_allclose(optimizer.res.grad, end.grad, rtol=1e-12)
    torch.testing.assert_close(x.grad, end.grad, rtol=1e-12, atol=0.0)


def test_the_hessian_has_the_second_derivative_of_a_users_loss() -> None:
    hessians = []
    for loss in ("cauchy", lambda z: np.stack([np.log1p(z), 1 / (1 + z), -1 / (1 + z) ** 2])):
        x = parameter()
        optimizer = LeastSquaresWrapper([x], {"loss": loss})
        hessians.append(optimizer.hessian(lambda x=x: rosenbrock(x)) @ np.eye(2))
    np.testing.assert_allclose(hessians[1], hessians[0], rtol=1e-12)


@pytest.mark.skipif(VERSION < (1, 16), reason="scipy has workers from 1.16 on")
def test_workers_wait_for_each_other() -> None:
    """There is one model to evaluate at all their points."""
    matrix = torch.arange(12, dtype=torch.float64).view(4, 3).sin()

    def residuals(x: Tensor) -> Tensor:
        time.sleep(0.0005)  # time for another worker to move the parameters
        return matrix @ x - 1.0 + x.sum().sin()

    def ends(by_workers: bool) -> list[float]:
        with ThreadPoolExecutor(3) as pool:
            given = {"workers": pool.map} if by_workers else {}
            x, y = (nn.Parameter(torch.zeros(3, dtype=torch.float64)) for _ in range(2))
            squares = LeastSquaresWrapper([x], {"jac": "2-point", "max_nfev": 4, **given})
            squares.step(lambda: residuals(x))
            options = {"maxiter": 3, **given}
            args = {"method": "BFGS", "jac": "2-point", "options": options}
            whole = MinimizeWrapper([y], args)
            whole.step(lambda: residuals(y).square().sum())
        return [squares.res.cost, whole.res.fun]

    assert ends(by_workers=True) == ends(by_workers=False)
