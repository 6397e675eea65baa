"""Covariance and standard errors, as scipy's curve_fit gives them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from residual_cases import decay, wide
from scipy.optimize import curve_fit
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import aslinearoperator
from torch import nn

from pytorch_minimize.least_squares.methods import METHODS
from pytorch_minimize.optim import LeastSquaresWrapper

T = np.linspace(0, 2, 15)
Y = 3 * np.exp(-1.5 * T) + 0.05 * np.random.default_rng(0).standard_normal(15)


def fitted(**kwargs: Any) -> tuple[LeastSquaresWrapper, Any]:
    a, k = (nn.Parameter(torch.ones((), dtype=torch.float64)) for _ in range(2))
    t, y = torch.from_numpy(T), torch.from_numpy(Y)

    def closure() -> torch.Tensor:
        return a * torch.exp(-k * t) - y

    optimizer = LeastSquaresWrapper([a, k], kwargs)
    optimizer.step(closure)
    return optimizer, closure


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("method", [name for name, row in METHODS.items() if not row.curvature])
def test_it_is_that_of_curve_fit(method: str, absolute: bool) -> None:
    optimizer, _ = fitted(method=method)
    found = optimizer.covariance(absolute=absolute)
    _, expected = curve_fit(
        lambda t, a, k: a * np.exp(-k * t), T, Y, p0=[1, 1], absolute_sigma=absolute
    )
    assert np.allclose(found.matrix, expected, rtol=1e-4)
    assert np.allclose(found.errors, np.sqrt(np.diag(expected)), rtol=1e-4)
    assert [error.shape for error in found.standard_errors] == [(), ()]
    assert [error.item() for error in found.standard_errors] == found.errors.tolist()
    assert [block.item() for block in found.blocks] == np.diag(found.matrix).tolist()
    assert found.rank == 2


def test_of_a_closure_for_methods_without_a_matrix() -> None:
    optimizer, closure = fitted(method="torch-gauss-newton-cg")
    with pytest.raises(RuntimeError, match=r"optimizer.covariance\(closure\)"):
        optimizer.covariance()
    dense, _ = fitted()
    held = [param.grad for param in optimizer.bridge.params]
    assert np.allclose(optimizer.covariance(closure).matrix, dense.covariance().matrix, rtol=1e-4)
    assert all(p.grad is g for p, g in zip(optimizer.bridge.params, held, strict=True))
    products, again = fitted(tr_solver="lsmr")
    with pytest.raises(RuntimeError, match="no Jacobian as a matrix"):
        products.covariance()
    assert np.allclose(products.covariance(again).matrix, dense.covariance().matrix, rtol=1e-4)


def test_of_a_robust_loss_it_has_the_weights_in_it() -> None:
    optimizer, closure = fitted(loss="soft_l1", f_scale=0.05)
    assert np.allclose(
        optimizer.covariance().matrix, optimizer.covariance(closure).matrix, rtol=1e-12
    )
    lm, _ = fitted(method="torch-lm", loss="soft_l1", f_scale=0.05)
    assert np.allclose(optimizer.covariance().matrix, lm.covariance().matrix, rtol=1e-3)


def test_before_a_step_there_is_none() -> None:
    x = nn.Parameter(torch.ones(2, dtype=torch.float64))
    with pytest.raises(RuntimeError, match="left no Jacobian"):
        LeastSquaresWrapper([x]).covariance()


def test_singular_values_are_cut_off() -> None:
    x = nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))
    t = torch.arange(4.0, dtype=torch.float64)
    optimizer = LeastSquaresWrapper([x])
    optimizer.step(lambda: (x[0] + x[1]) * t - torch.tensor([0.0, 1, 2, 4], dtype=torch.float64))
    found = optimizer.covariance()
    assert found.rank == 1
    # The sum is known, the difference is left out.
    assert np.isfinite(found.matrix).all()
    assert np.allclose(found.matrix @ [1.0, -1.0], 0.0)


def test_with_no_more_residuals_than_variables_it_is_infinite() -> None:
    case = wide()
    optimizer = LeastSquaresWrapper(case.params, {"method": "torch-lm"})
    optimizer.step(case)
    with pytest.warns(RuntimeWarning, match="4 residuals and 9 variables"):
        assert np.isinf(optimizer.covariance().matrix).all()
    assert np.isfinite(optimizer.covariance(absolute=True).matrix).all()


def test_blocks_of_parameters_of_any_shape_and_of_complex_ones() -> None:
    w = nn.Parameter(torch.ones(2, 3, dtype=torch.float32))
    z = nn.Parameter(torch.ones(2, dtype=torch.complex128))
    target = torch.linspace(-1, 1, 20, dtype=torch.float64)
    mix = torch.from_numpy(np.random.default_rng(0).standard_normal((20, 10)))
    optimizer = LeastSquaresWrapper([w, z])

    def closure() -> torch.Tensor:
        return mix @ torch.cat([w.reshape(-1).double(), torch.view_as_real(z).reshape(-1)]) - target

    optimizer.step(closure)
    found = optimizer.covariance()
    assert [block.shape for block in found.blocks] == [(6, 6), (4, 4)]
    assert found.standard_errors[0].shape == (2, 3)
    assert found.standard_errors[1].dtype == torch.complex128
    assert np.allclose(found.standard_errors[1].imag, found.errors[[7, 9]])
    expected = np.linalg.inv(mix.numpy().T @ mix.numpy()) * found.variance
    assert np.allclose(found.matrix, expected, rtol=1e-5)


@pytest.mark.parametrize("form", [csr_matrix, aslinearoperator])
def test_of_a_jacobian_of_the_users_own(form: Any) -> None:
    case, twin = decay(), decay()
    optimizer = LeastSquaresWrapper(case.params, {"jac": lambda x: form(twin.jacobian(x))})
    optimizer.step(case)
    expected = optimizer.covariance(case).matrix
    assert np.allclose(optimizer.covariance().matrix, expected, rtol=1e-6)


def test_neither_is_taken_inside_a_run() -> None:
    case = decay()
    optimizer = LeastSquaresWrapper(case.params)
    for ask in (optimizer.covariance, lambda: optimizer.jacobian(case)):
        with pytest.raises(RuntimeError, match="step"):
            optimizer.step(lambda ask=ask: ask())


def test_the_jacobian_at_the_parameters() -> None:
    case = decay()
    optimizer = LeastSquaresWrapper(case.params)
    assert np.allclose(optimizer.jacobian(case), case.jacobian(case.x0), rtol=1e-12)
    hessian = optimizer.hessian(case) @ np.eye(4)  # that of the cost
    assert np.allclose(hessian, hessian.T)
