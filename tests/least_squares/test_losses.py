"""Robust losses: scipy's values, on arrays and on tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from residual_cases import decay

from pytorch_minimize.least_squares.losses import LOSSES, RobustLoss
from pytorch_minimize.optim import LeastSquaresWrapper

ROBUST = [name for name, loss in LOSSES.items() if loss is not None]


def users(z: Any) -> Any:
    """rho = z / (1 + z), which is 1 at infinity."""
    return np.stack([1 - 1 / (1 + z), (1 + z) ** -2.0, -2 * (1 + z) ** -3.0])


@pytest.mark.parametrize("f_scale", [1.0, 0.3])
@pytest.mark.parametrize("given", [*ROBUST, users])
def test_weights_are_derivatives_of_the_cost(given: Any, f_scale: float) -> None:
    r = torch.tensor([0.0, 0.1, -0.9, 2.0, -50.0], dtype=torch.float64, requires_grad=True)
    loss = RobustLoss(given, f_scale)
    cost = loss.cost(r)
    on_arrays = loss.weighted(r.detach().numpy())
    on_tensors = loss.weighted(r.detach())
    assert on_arrays is not None
    assert on_tensors is not None
    (gradient,) = torch.autograd.grad(cost, r)
    assert np.allclose(on_arrays.slopes * r.detach().numpy(), gradient)
    assert np.allclose(on_arrays.scale * on_arrays.residuals, gradient)
    assert loss.cost(r.detach().numpy()) == pytest.approx(cost.item(), rel=1e-14)
    for name in ("slopes", "scale", "residuals"):
        assert np.allclose(getattr(on_tensors, name), getattr(on_arrays, name), rtol=1e-14)


def test_the_plain_sum_of_squares_has_no_weights() -> None:
    loss = RobustLoss()
    assert loss.weighted(np.ones(3)) is None
    assert loss.cost(np.array([1.0, 2.0])) == loss.cost(torch.tensor([1.0, 2.0])).item() == 2.5


def test_a_callable_of_another_shape_is_refused() -> None:
    case = decay()
    optimizer = LeastSquaresWrapper(case.params, {"loss": lambda z: z})
    with pytest.raises(ValueError, match=r"array of shape \(3, 30\)"):
        optimizer.step(case)


@pytest.mark.filterwarnings("ignore:the closure gave a loss of nan")  # a far step overflows
@pytest.mark.parametrize("loss", [*ROBUST, users])
@pytest.mark.parametrize("method", ["torch-lm", "torch-gauss-newton-cg"])
def test_our_methods_come_to_scipys_end(method: str, loss: Any) -> None:
    case = decay()
    tight = {"gtol": 1e-9} if method == "torch-lm" else {"gtol": 1e-6, "maxiter": 500}
    optimizer = LeastSquaresWrapper(
        case.params, {"method": method, "loss": loss, "f_scale": 0.05, **tight}
    )
    optimizer.step(case)
    scipys = decay().scipys(loss=loss, f_scale=0.05, xtol=1e-12, ftol=1e-12)
    assert optimizer.res.cost == pytest.approx(scipys.cost, rel=1e-5)
    # The two exponentials may change places.
    assert np.allclose(np.sort(optimizer.res.x), np.sort(scipys.x), rtol=1e-2)
