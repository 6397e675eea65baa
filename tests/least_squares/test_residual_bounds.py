"""Bounds of least squares: kept to the last bit, and no end on them that is none."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import Bounds, least_squares
from torch import Tensor, nn

from pytorch_minimize import LeastSquaresWrapper
from pytorch_minimize.region.region import Region

LOWER = np.array([-0.2, 0.1])  # where x + (bound - x) often rounds to another number
METHODS = ["trf", "dogbox", "torch-lm"]


def fitted(a: Any, b: Any, **kwargs: Any) -> tuple[Any, list[Any]]:
    """The result, and the points at which the closure ran."""
    x = nn.Parameter(torch.tensor([0.1, 2.0], dtype=torch.float64))
    matrix, target = (torch.tensor(v, dtype=torch.float64) for v in (a, b))
    seen: list[Any] = []

    def closure() -> Tensor:
        seen.append(x.detach().numpy().copy())
        return matrix @ x - target

    optimizer = LeastSquaresWrapper([x], {"bounds": (LOWER, np.inf), **kwargs})
    optimizer.step(closure)
    return optimizer.res, seen


@pytest.mark.parametrize("geodesic", [False, True])
def test_a_success_within_bounds_is_the_minimum(geodesic: bool) -> None:
    """A variable that came to rest beside its bound by a rounding was not held there."""
    draws = np.random.default_rng(0)
    for _ in range(60):
        a, b = draws.normal(size=(2, 2)), 2.0 * draws.normal(size=2)
        res, seen = fitted(a, b, method="torch-lm", geodesic=geodesic)
        tight = {"xtol": 1e-12, "ftol": 1e-12, "gtol": 1e-12}
        scipys = least_squares(
            lambda x, a=a, b=b: a @ x - b, [0.1, 2.0], bounds=(LOWER, np.inf), **tight
        )
        assert not res.success or res.cost <= scipys.cost * (1 + 1e-4) + 1e-8
        assert all((point >= LOWER).all() for point in seen)


@pytest.mark.parametrize("method", METHODS)
def test_the_closure_runs_nowhere_outside(method: str) -> None:
    res, seen = fitted([[-0.8, 1.7], [-0.3, 1.6]], [-1.3, -2.2], method=method)
    assert res.cost == pytest.approx(1.4341, rel=1e-3)
    assert all((point >= LOWER).all() for point in seen)


def test_a_gradient_shows_where_x_is_large() -> None:
    x = np.array([1.5e16])
    region = Region(Bounds([0.0], [math.inf]))
    assert region.inwards(np.array([0.5]), x) == 0.5
    assert region.inwards(torch.tensor([0.5]), torch.from_numpy(x)).item() == 0.5
    assert region.inwards(np.array([2e16]), x) == 1.5e16


def test_the_damping_never_becomes_zero() -> None:
    x = nn.Parameter(torch.tensor([3.0], dtype=torch.float64))
    optimizer = LeastSquaresWrapper([x], {"method": "torch-lm", "damping": 1e-300})
    optimizer.step(lambda: x - 1.0)
    assert optimizer.res.damping >= 1e-300
    assert optimizer.res.cost < 1e-20
