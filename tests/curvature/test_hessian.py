"""optimizer.hessian(closure) is a scipy operator of the exact Hessian."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from curvature_cases import in_micro_batches, mlp
from scipy.sparse.linalg import LinearOperator, cg, eigsh

from pytorch_minimize.optim import MinimizeWrapper

both = pytest.mark.parametrize("strategy", ["graph", "replay"])


@both
@pytest.mark.parametrize("method", ["L-BFGS-B", "trust-exact", "Nelder-Mead"])
def test_products(method: str, strategy: Any) -> None:
    instance = mlp()
    exact = instance.hess(instance.x0)
    optimizer = MinimizeWrapper(instance.params, {"method": method}, curvature=strategy)
    hessian = optimizer.hessian(in_micro_batches(instance))
    assert isinstance(hessian, LinearOperator)
    assert hessian.shape == exact.shape
    assert hessian.dtype == np.float64
    rng = np.random.default_rng(0)
    v, many = rng.standard_normal(len(exact)), rng.standard_normal((len(exact), 5))
    for got, expected in (
        (hessian @ v, exact @ v),
        (hessian @ v[:, None], exact @ v[:, None]),
        (hessian @ many, exact @ many),
        (hessian.T @ many, exact @ many),
        (hessian.H @ v, exact @ v),
        (hessian @ np.ones(len(exact), dtype=np.int8), exact.sum(1)),
        (hessian @ np.eye(len(exact)), exact),
    ):
        np.testing.assert_allclose(got, expected, atol=1e-13)
    whole = hessian @ np.eye(len(exact))
    assert np.array_equal(whole, whole.T)
    np.testing.assert_allclose(instance.grad, instance.jac(instance.x0), atol=1e-14)


@both
def test_extreme_eigenvalues(strategy: Any) -> None:
    instance = mlp()
    hessian = MinimizeWrapper(instance.params, {}, curvature=strategy).hessian(instance.closure(2))
    found = eigsh(hessian, k=4, which="BE", v0=np.ones(len(instance.x0)))[0]
    eigenvalues = np.linalg.eigvalsh(instance.hess(instance.x0))
    np.testing.assert_allclose(found, eigenvalues[[0, 1, -2, -1]], atol=1e-10)


def test_a_newton_step_by_hand() -> None:
    x = torch.nn.Parameter(torch.tensor([3.0, -1.0], dtype=torch.float64))
    scale = torch.tensor([1.0, 10.0], dtype=torch.float64)
    optimizer = MinimizeWrapper([x], {})
    hessian = optimizer.hessian(lambda: (scale * (x - 1) ** 2).sum())
    assert x.grad is not None
    step, _ = cg(hessian, -x.grad.numpy(), rtol=1e-12)
    np.testing.assert_allclose(x.detach().numpy() + step, [1.0, 1.0])


@both
def test_parameters_written_to_are_noticed(strategy: Any) -> None:
    instance = mlp()
    optimizer = MinimizeWrapper(instance.params, {}, curvature=strategy)
    hessian = optimizer.hessian(instance.closure(1))
    optimizer.bridge.load_params(instance.x0)
    with pytest.raises(RuntimeError, match=r"written to since hessian\(closure\) was called"):
        hessian @ np.ones(len(instance.x0))


def test_parameters_without_grad_are_refused() -> None:
    x = torch.nn.Parameter(torch.ones(2), requires_grad=False)
    optimizer = MinimizeWrapper([x], {"method": "Powell"})
    with pytest.raises(ValueError, match=r"those at positions \[0\] do not"):
        optimizer.hessian(lambda: (x**2).sum())


@both
def test_inside_inference_mode(strategy: Any) -> None:
    instance = mlp()
    optimizer = MinimizeWrapper(instance.params, {}, curvature=strategy)
    with torch.inference_mode():
        hessian = optimizer.hessian(instance.closure(2))
        product = hessian @ np.ones(len(instance.x0))
    np.testing.assert_allclose(product, instance.hess(instance.x0).sum(1), atol=1e-13)
