"""Limits of our own: time, evaluations, relative progress; and what a start point is worth."""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from instance import Instance
from methods import EQUALITIES
from problems import quadratic, rosenbrock
from torch import Tensor

from pytorch_minimize.optim import ClosureConstraint, MinimizeWrapper


class Recorder:
    """A closure that remembers each loss and where it was."""

    def __init__(self, instance: Instance, seconds: float = 0.0) -> None:
        self._instance, self._seconds = instance, seconds
        self._closure = instance.closure(1)
        self.seen: list[tuple[float, Any]] = []

    def __call__(self) -> Tensor:
        time.sleep(self._seconds)
        loss = self._closure()
        self.seen.append((loss.item(), self._instance.x))
        return loss

    @property
    def best(self) -> tuple[float, Any]:
        return min(self.seen, key=lambda pair: pair[0])


def test_timeout_by_the_clock_on_the_wall() -> None:
    instance = rosenbrock()
    recorder = Recorder(instance, seconds=0.004)
    optimizer = MinimizeWrapper(instance.params, {"method": "BFGS"}, timeout=0.01)
    optimizer.step(recorder)
    assert 1 <= len(recorder.seen) <= 3
    assert (optimizer.res.status, optimizer.res.success) == (101, False)
    loss, x = recorder.best
    assert optimizer.res.fun == loss
    assert np.array_equal(optimizer.res.x, x)
    assert np.array_equal(instance.x, x)


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_rtol_stops_a_stalled_run_at_any_scale(scale: float) -> None:
    instance = quadratic()
    closure = instance.closure(2)
    tight = {"method": "Nelder-Mead", "options": {"xatol": 0.0, "fatol": 0.0}}
    optimizer = MinimizeWrapper(instance.params, tight, rtol=1e-3)

    def scaled() -> Tensor:
        return scale * (1.0 + closure())

    optimizer.step(scaled)
    assert (optimizer.res.status, optimizer.res.success) == (103, True)
    losses = optimizer.history.loss
    assert losses[-11] - losses[-1] < 1e-3 * losses[-11]
    assert losses[-12] - losses[-2] >= 1e-3 * losses[-12]


def test_a_small_loss_that_converges_at_its_start_is_told() -> None:
    instance = quadratic()
    closure = instance.closure(2)
    optimizer = MinimizeWrapper(instance.params, {"method": "L-BFGS-B"})
    with pytest.warns(RuntimeWarning, match=r"ftol=.*gtol="):
        optimizer.step(lambda: 1e-9 * closure())
    optimizer = MinimizeWrapper(
        instance.params, {"method": "L-BFGS-B", "options": {"ftol": 0.0, "gtol": 0.0}}
    )
    optimizer.step(lambda: 1e-9 * closure())
    assert optimizer.res.fun < 1e-20


@pytest.mark.parametrize("make", [rosenbrock, quadratic])
def test_a_second_step_at_the_solution_is_silent(make: Any) -> None:
    instance = make()
    optimizer = MinimizeWrapper(instance.params, {"method": "BFGS"})
    optimizer.step(instance.closure(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.step(instance.closure(1))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("timeout", 0),
        ("timeout", "1"),
        ("max_evaluations", 0),
        ("max_evaluations", 1.5),
        ("rtol", -1.0),
        ("progress", 1),
        ("checkpoint", "file"),
        ("checkpoint", ("file", float("nan"))),
        ("max_evaluations", True),
        ("timeout", float("nan")),
        ("warm_start", 1),
        ("nonfinite", "ignore"),
        ("blas_threads", 0),
    ],
)
def test_settings_that_are_not_understood(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"{name}: expected .*got"):
        MinimizeWrapper([torch.zeros(2, requires_grad=True)], {}, **{name: value})


def test_unknown_settings_are_refused_by_name() -> None:
    with pytest.raises(TypeError, match=r"timeout.*\['time_out'\]"):
        MinimizeWrapper([torch.zeros(2, requires_grad=True)], {}, time_out=1)  # type: ignore[call-arg]


@pytest.mark.parametrize("method", sorted({"COBYLA", "COBYQA", "trust-constr"} & {*EQUALITIES}))
def test_rtol_takes_no_infeasible_point_for_success(method: str) -> None:
    """From the unconstrained minimum the loss has to rise."""
    w = torch.nn.Parameter(torch.full((6,), 0.1, dtype=torch.float64))
    shell = ClosureConstraint(lambda: w.square().sum(), 40.0, 40.0)
    optimizer = MinimizeWrapper([w], {"method": method, "constraints": shell}, rtol=1e-2)
    optimizer.step(lambda: 1 + (w - 0.1).square().sum())
    assert optimizer.res.success
    assert w.square().sum().item() == pytest.approx(40.0, abs=1e-4)


@pytest.mark.parametrize("name", ["timeout", "rtol"])
def test_numbers_of_numpy_are_numbers(name: str) -> None:
    instance = quadratic()
    keywords: dict[str, Any] = {name: np.float32(100.0), "max_evaluations": np.int64(3)}
    optimizer = MinimizeWrapper(instance.params, {}, **keywords)
    optimizer.step(instance.closure(2))
    assert optimizer.res.status == 102


@pytest.mark.parametrize("method", ["Nelder-Mead", "COBYLA", "L-BFGS-B", "trust-krylov"])
def test_one_evaluation_at_least(method: str) -> None:
    instance = rosenbrock()
    optimizer = MinimizeWrapper(instance.params, {"method": method}, timeout=1e-9)
    loss = optimizer.step(instance.closure(1))
    assert loss.item() == instance.fun(instance.x0)
    assert (optimizer.res.status, optimizer.res.nfev) == (101, 1)
