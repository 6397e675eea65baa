"""The networks that solvers are compared on: their derivatives, and what they are to find."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.networks import PROBLEMS, REDRAWN, Network
from bench.pinn import SOLVERS, measured, redrawn

ALL = {**PROBLEMS, **REDRAWN}


@pytest.mark.parametrize("d", [1, 2])
def test_derivatives_carried_forward_are_those_of_autograd(d: int) -> None:
    network = Network((d, 5, 4, 1))
    x = torch.tensor(network.start(0))
    points = torch.rand(d, 7, dtype=torch.float64, requires_grad=True)
    values = network.values(x, points)
    (slopes,) = torch.autograd.grad(values.sum(), points, create_graph=True)
    laplacian: Tensor = torch.zeros_like(values)
    for i in range(d):
        (second,) = torch.autograd.grad(slopes[i].sum(), points, retain_graph=True)
        laplacian = laplacian + second[i]
    jet = network.jet(x, points)
    torch.testing.assert_close(jet.value, values)
    torch.testing.assert_close(jet.slopes, slopes)
    torch.testing.assert_close(jet.laplacian, laplacian)


@pytest.mark.parametrize(("name", "n"), [("sine", 193), ("poisson1", 481), ("poisson2", 501)])
def test_the_sizes(name: str, n: int) -> None:
    network = PROBLEMS[name](0).network
    assert network.n == network.start(0).size == n


@pytest.mark.parametrize("name", ALL)
def test_gradients(name: str) -> None:
    problem = ALL[name](0)
    x = problem.network.start(1)
    value, gradient = problem.evaluate(x)
    direction = np.random.default_rng(0).standard_normal(x.size)
    step = 1e-6
    above, below = (problem.evaluate(x + sign * step * direction)[0] for sign in (1, -1))
    assert value > 0
    assert gradient @ direction == pytest.approx((above - below) / (2 * step), rel=1e-5)


@pytest.mark.parametrize("name", ["poisson1", "poisson2"])
def test_a_low_loss_is_a_small_error(name: str) -> None:
    # The source must belong to the solution that errors are measured against.
    few = measured(name, "SSBroyden", 0, 40)
    more = measured(name, "SSBroyden", 0, 400)
    assert more["loss"] < 1e-2 * few["loss"]
    assert more["relative L2"] < min(0.02, 0.1 * few["relative L2"])


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_gets_the_same_evaluations(solver: str) -> None:
    row = measured("runge", solver, 0, 30)
    assert row["evaluations"] == 30
    assert 1.0 <= row["evaluations an iteration"] < 4.0
    start = PROBLEMS["runge"](0)
    first, _ = start.evaluate(start.network.start(0))
    (begun, highest), *_, (ended, lowest) = row["course"]
    assert (begun, ended) == (1, 30)
    assert (highest, lowest) == (
        pytest.approx(first, rel=1e-3),
        pytest.approx(row["loss"], rel=1e-3),
    )
    assert row["loss"] < first


def test_warm_and_cold_differ_from_the_second_batch_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.pinn.A_BATCH", 25)
    found: dict[Any, float] = {}
    for batches in (1, 2):
        monkeypatch.setattr("bench.pinn.BATCHES", batches)
        for warm in (True, False):
            found[batches, warm] = redrawn("poisson2", "SSBFGS", 0, warm=warm)["relative L2"]
    assert found[1, True] == found[1, False]
    assert found[2, True] != found[2, False]
    assert all(map(math.isfinite, found.values()))
