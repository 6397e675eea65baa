"""Levenberg-Marquardt of our own: its steps, its ends, and hard problems."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from residual_cases import CASES, decay, rosenbrock, wide
from scipy.optimize import least_squares
from torch import nn

from pytorch_minimize.least_squares.damped import Damped
from pytorch_minimize.optim import LeastSquaresWrapper


def run(case: Any, **kwargs: Any) -> Any:
    optimizer = LeastSquaresWrapper(case.params, {"method": "torch-lm", **kwargs})
    optimizer.step(case)
    return optimizer.res


@pytest.mark.parametrize("geodesic", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_it_ends_where_scipys_do(name: str, geodesic: bool) -> None:
    res = run(CASES[name](), geodesic=geodesic, max_nfev=300)
    scipys = CASES[name]().scipys(method="lm", max_nfev=300)
    assert res.success is (name != "network")  # which goes on falling
    assert res.cost <= scipys.cost * (1 + 1e-4) + 1e-12
    if name == "decay":
        assert np.allclose(res.x, scipys.x, rtol=1e-5)


@pytest.mark.parametrize("shape", [(7, 4), (4, 7), (5, 5)])
@pytest.mark.parametrize("held", [False, True])
def test_a_step_solves_the_damped_problem(shape: tuple[int, int], held: bool) -> None:
    rng = np.random.default_rng(0)
    j, r = (
        torch.from_numpy(rng.standard_normal(shape)),
        torch.from_numpy(rng.standard_normal(shape[0])),
    )
    d = torch.from_numpy(rng.uniform(0.5, 2.0, shape[1]))
    mask = torch.arange(shape[1]) == 2 if held else None
    found = Damped(j, d, mask).step(r, 0.3).numpy()
    a, free = j.numpy(), np.arange(shape[1]) != (2 if held else -1)
    a = a[:, free]
    matrix = a.T @ a + 0.3 * np.diag(d.numpy()[free] ** 2)
    assert np.allclose(found[free], -np.linalg.solve(matrix, a.T @ r.numpy()))
    assert not held or found[2] == 0.0


@pytest.mark.parametrize("shape", [(9, 4), (4, 9)])
def test_ill_conditioned_steps_are_by_qr(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    u, _ = np.linalg.qr(rng.standard_normal((shape[0], 4)))
    v, _ = np.linalg.qr(rng.standard_normal((shape[1], 4)))
    j = torch.from_numpy((u * [1.0, 1e-2, 1e-4, 1e-7]) @ v.T)
    r = torch.from_numpy(u @ np.array([1.0, 1e-2, 1e-4, 1e-7]))
    model = Damped(j, torch.ones(shape[1], dtype=torch.float64))
    found = model.step(r, 1e-30)
    assert model.factorised == 1
    # By the normal equations the last direction, of cond^2 = 1e14, would have no digit left.
    assert np.allclose(v.T @ found.numpy(), -1.0, rtol=1e-6)


def test_a_wide_jacobian() -> None:
    res = run(wide())
    assert res.success
    assert res.cost < 1e-12
    assert res.jac.shape == (4, 9)


def test_a_matrix_of_rank_one() -> None:
    x = nn.Parameter(torch.tensor([5.0, -1.0], dtype=torch.float64))
    optimizer = LeastSquaresWrapper([x], {"method": "torch-lm"})
    optimizer.step(lambda: (x.sum() - 1.0) * torch.ones(3, dtype=torch.float64))
    assert optimizer.res.cost < 1e-15


@pytest.mark.parametrize("geodesic", [False, True])
def test_bounds_by_projection(geodesic: bool) -> None:
    bounds = ([0.0, 0.0, 0.0, 0.0], [2.5, 9.0, 5.0, 0.25])
    case = decay()
    lowest = [np.inf] * 4
    highest = [-np.inf] * 4

    def closure() -> Any:
        lowest[:] = np.minimum(lowest, case.x)
        highest[:] = np.maximum(highest, case.x)
        return case()

    kwargs = {"method": "torch-lm", "bounds": bounds, "geodesic": geodesic}
    optimizer = LeastSquaresWrapper(case.params, kwargs)
    optimizer.step(closure)
    assert (np.array(lowest) >= bounds[0]).all()
    assert (np.array(highest) <= bounds[1]).all()
    scipys = decay().scipys(bounds=bounds, xtol=1e-12, ftol=1e-12)
    assert np.allclose(optimizer.res.x, scipys.x, rtol=1e-4)
    assert optimizer.res.active_mask.tolist() == [1, 0, 0, 1]
    # Of what the bounds do not keep from leading on.
    assert optimizer.res.optimality < 1e-4 < np.abs(optimizer.res.grad).max()


def test_it_starts_on_a_bound_and_leaves_it() -> None:
    x = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    optimizer = LeastSquaresWrapper([x], {"method": "torch-lm", "bounds": ([0, 0], [9, 9])})
    optimizer.step(lambda: torch.stack([x[0] - 2.0, x[1] + 1.0, x.prod()]))
    assert np.allclose(optimizer.res.x, [2.0, 0.0])
    assert optimizer.res.active_mask.tolist() == [0, -1]


@pytest.mark.parametrize(
    ("kwargs", "status"),
    [
        ({"max_nfev": 3}, 0),
        ({"gtol": 1e9}, 1),
        ({"ftol": 0.5, "gtol": None, "xtol": None}, 2),
        ({"xtol": 0.5, "gtol": None, "ftol": None}, 3),
    ],
)
def test_statuses_are_scipys(kwargs: dict[str, Any], status: int) -> None:
    res = run(decay(), **kwargs)
    plain = least_squares(lambda x: x, np.ones(1), gtol=1e9, max_nfev=1)
    assert res.status == status
    assert res.success is (status > 0)
    if status == 1:
        assert res.message == plain.message
    if status == 0:
        assert res.nfev == 3


@pytest.mark.parametrize("x_scale", ["jac", 1.0, [1.0, 3.0, 1.0, 0.3], None])
def test_scales(x_scale: Any) -> None:
    kwargs = {} if x_scale is None else {"x_scale": x_scale}
    assert np.allclose(run(decay(), **kwargs).x, decay().scipys().x, rtol=1e-4)


def test_a_jacobian_that_is_not_finite_is_a_step_back() -> None:
    """The cost is fine there, but not the slope."""
    x = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))

    def closure() -> torch.Tensor:
        return 1 + 0.1 * x**2 if x.item() > 0.5 else (0.0 * x).sqrt()

    optimizer = LeastSquaresWrapper([x], {"method": "torch-lm", "damping": 1e-12})
    with pytest.warns(RuntimeWarning, match="a Jacobian with NaN or inf"):
        optimizer.step(closure)
    assert optimizer.res.nonfinite > 0
    assert np.isfinite(optimizer.res.jac).all()
    assert 0.5 < optimizer.res.x.item() < 1.0


def test_scipys_end_at_a_jacobian_that_is_not_finite() -> None:
    x = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = LeastSquaresWrapper([x])
    with pytest.warns(RuntimeWarning, match="a Jacobian with NaN or inf"):
        optimizer.step(lambda: torch.stack([x[0] - 1.0, (x[0] - 1.0).sqrt()]))
    assert (optimizer.res.status, optimizer.res.success) == (105, False)
    assert x.item() == 1.0


def test_geodesics_take_fewer_iterations_along_a_valley() -> None:
    straight, bent = (run(rosenbrock(), geodesic=g) for g in (False, True))
    assert bent.nit < straight.nit
    assert np.allclose(bent.x, 1.0)
