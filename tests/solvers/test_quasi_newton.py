"""Runs on plain functions: scipy's path, ends, and what happens where something is wrong."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from inverses import emulated_inverse
from runs import Asked, Function, logistic, quadratic, rosen, run, scipys, tanh_fit
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pytorch_minimize.bridge.space import ARRAYS, TensorSpace
from pytorch_minimize.run.protocol import Answer, Trial, drive
from pytorch_minimize.solvers.inverse import ArrayInverse, TensorInverse
from pytorch_minimize.solvers.quasi_newton import QuasiNewton, Rules

CONVEX = {
    "quadratic, 1": quadratic(8, 1.0),
    "quadratic, 1e2": quadratic(20, 1e2),
    "quadratic, 1e4": quadratic(30, 1e4, seed=1),
    "logistic": logistic(25, 300),
}
OTHERS = {"rosen": rosen(10), "rosen, 30": rosen(30, seed=2), "tanh": tanh_fit(12)}
UPDATES = ("BFGS", "SSBFGS", "SSBroyden-1", "SSBroyden-2", "SSBroyden-3")


@pytest.mark.parametrize("name", CONVEX)
def test_scipys_iterations_and_evaluations_on_convex_problems(name: str) -> None:
    expected, path = scipys("BFGS", CONVEX[name])
    solver, asked = run(CONVEX[name], Rules(return_all=True))
    assert (solver.nit, asked.nfev) == (expected.nit, expected.nfev)
    assert solver.done() == expected.status == 0
    assert solver.message(0) == expected.message
    for ours, theirs in zip(solver.allvecs[1:], path, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)
    np.testing.assert_allclose(solver.fields()["hess_inv"], expected.hess_inv, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", OTHERS)
def test_scipys_first_iterations_elsewhere(name: str) -> None:
    _, path = scipys("BFGS", OTHERS[name], maxiter=20)
    solver, _ = run(OTHERS[name], Rules(maxiter=20, return_all=True))
    assert len(path) == 20
    for ours, theirs in zip(solver.allvecs[1:], path, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("line_search", ["more-thuente", "hager-zhang"])
def test_every_update_finds_the_minimum(update: str, line_search: str) -> None:
    for function in (CONVEX["quadratic, 1e4"], OTHERS["rosen"]):
        rules = Rules(update=update, line_search=line_search, gtol=1e-5, resets=True)
        solver, _ = run(function, rules)
        assert solver.done() == 0
        assert abs(function.jac(solver.x)).max() <= 1e-5
        assert np.linalg.eigvalsh(solver.fields()["hess_inv"]).min() > 0.0


@pytest.mark.parametrize(
    "change", [{"norm": 2.0}, {"norm": -math.inf}, {"xrtol": 1e-3}, {"c2": 0.1}]
)
def test_options_are_those_of_scipys_bfgs(change: dict[str, float]) -> None:
    for function in CONVEX.values():
        expected, _ = scipys("BFGS", function, **change)
        solver, asked = run(function, dataclasses.replace(Rules(), **change))
        assert (solver.nit, asked.nfev) == (expected.nit, expected.nfev)
        assert solver.done() == expected.status


@pytest.mark.parametrize("maxiter", [0, 1, 5])
def test_maxiter(maxiter: int) -> None:
    expected, _ = scipys("BFGS", OTHERS["rosen"], maxiter=maxiter)
    solver, _ = run(OTHERS["rosen"], Rules(maxiter=maxiter))
    assert (solver.nit, solver.done()) == (expected.nit, expected.status) == (maxiter, 1)
    assert solver.message(1) == expected.message


def test_hess_inv0() -> None:
    function = CONVEX["quadratic, 1e2"]
    first = np.diag(np.linspace(0.1, 1.0, 20))
    expected, _ = scipys("BFGS", function, hess_inv0=first)
    solver, asked = run(function, Rules(), first)
    assert (solver.nit, asked.nfev) == (expected.nit, expected.nfev)


def test_one_product_an_iteration() -> None:
    class Counted(ArrayInverse):
        products = 0

        def product(self, v: np.ndarray) -> np.ndarray:
            self.products += 1
            return super().product(v)

    function = OTHERS["rosen"]
    inverse = Counted(10)
    solver = QuasiNewton(ARRAYS, inverse, Rules(maxiter=30))
    drive(solver.start(function.start), Asked(function))
    while solver.done() is None:
        drive(solver.step(), Asked(function))
    assert inverse.products == solver.nit == 30


def test_initial_scale_multiplies_the_first_matrix() -> None:
    # After one step on c |x|^2 / 2, s'y / y'y is 1 / c: the minimum is one more step away.
    function = Function(lambda x: 50.0 * float(x @ x), lambda x: 100.0 * x, np.array([3.0, 4.0]))
    solver, _ = run(function, Rules(initial_scale=True, maxiter=1))
    np.testing.assert_allclose(solver.fields()["hess_inv"], np.eye(2) / 100.0, atol=1e-14)
    for update in UPDATES:
        scaled, _ = run(tanh_fit(4), Rules(initial_scale=True, update=update, gtol=1e-4))
        assert scaled.done() == 0
        assert scaled.skipped == 0


class TestWhereThingsAreWrong:
    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
    def test_a_start_that_is_not_finite_ends_the_run(self, bad: float) -> None:
        function = Function(lambda x: bad, lambda x: x, np.ones(3))
        solver, asked = run(function, Rules())
        assert (solver.done(), solver.nit, len(asked.points)) == (3, 0, 1)
        assert np.array_equal(solver.x, function.start)

    @pytest.mark.parametrize("update", UPDATES)
    def test_points_that_are_not_finite_mean_step_back(self, update: str) -> None:
        # sum of 30 x - log x, whose logarithm is NaN for x <= 0; the first step goes there.
        def fun(x: np.ndarray) -> float:
            with np.errstate(invalid="ignore"):
                return float((30.0 * x - np.log(x)).sum())

        function = Function(fun, lambda x: 30.0 - 1.0 / x, np.array([0.2, 0.5, 0.04]))
        solver, asked = run(function, Rules(update=update, resets=True))
        assert any(not math.isfinite(fun(x)) for x in asked.points)
        assert solver.done() == 0
        np.testing.assert_allclose(solver.x, 1 / 30, rtol=1e-5)
        assert np.isfinite(solver.fields()["hess_inv"]).all()

    def test_a_gradient_that_is_nowhere_true_ends_as_scipy_ends(self) -> None:
        function = Function(lambda x: float(x @ x), lambda x: -2.0 * x, np.ones(4))
        expected, _ = scipys("BFGS", function)
        solver, _ = run(function, Rules())
        assert solver.done() == expected.status == 2
        assert solver.message(2) == expected.message
        assert np.array_equal(solver.x, function.start)

    def test_a_search_that_fails_resets_once_and_goes_on(self) -> None:
        rosenbrock = rosen(6)

        class Broken(ArrayInverse):
            """Forgets at the eighth update that it is to be positive definite."""

            updates = 0

            def update(self, *change: Any) -> None:
                super().update(*change)
                self.updates += 1
                if self.updates == 8:
                    self._h *= -1.0

        solver = QuasiNewton(ARRAYS, Broken(6), Rules(update="SSBFGS", resets=True))
        asked = Asked(rosenbrock)
        drive(solver.start(rosenbrock.start), asked)
        while solver.done() is None:
            drive(solver.step(), asked)
        assert solver.done() == 0
        assert solver.resets >= 1
        assert np.linalg.eigvalsh(solver.fields()["hess_inv"]).min() > 0.0

    def test_a_second_failure_at_the_same_point_ends_the_run(self) -> None:
        # A gradient that is off, so that it leads away from the minimum once that is near.
        plain = rosen(4)
        function = plain._replace(jac=lambda x: plain.jac(x) + 0.1)
        solver, _ = run(function, Rules(update="SSBroyden-2", resets=True, gtol=0.0))
        assert solver.done() == 2
        assert solver.resets >= 1

    def test_a_pair_without_curvature_is_skipped(self) -> None:
        # Beyond a cliff nothing but a decrease is asked for, and the slope there is steeper.
        def fun(x: np.ndarray) -> float:
            return float(-(x[0] ** 2)) if x[0] < 3.0 else math.nan

        function = Function(fun, lambda x: -2.0 * x, np.array([1.0]))
        solver, _ = run(function, Rules(maxiter=1, resets=True))
        assert solver.nit == solver.skipped == 1
        np.testing.assert_array_equal(solver.fields()["hess_inv"], np.eye(1))


class _Reads(TorchDispatchMode):
    """Counts what would wait for a device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


class Waiting(TensorSpace):
    """Tensors of the host, treated as if to read one were to wait."""

    def __init__(self) -> None:
        super().__init__("cpu")
        self.waits = True


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("xrtol", [0.0, 1e-9])
@pytest.mark.parametrize("kernels", [False, True])
def test_one_wait_for_the_device_an_evaluation(update: str, xrtol: float, kernels: bool) -> None:
    function, rules = rosen(10), Rules(update=update, xrtol=xrtol, gtol=1e-6, initial_scale=True)
    waited = [0]

    def evaluate(trial: Trial[Tensor]) -> Answer[Tensor]:
        value = function.fun(trial.x.numpy())
        gradient = torch.from_numpy(function.jac(trial.x.numpy()))
        assert trial.measure is not None
        waited[0] += 1
        return Answer(value, gradient, True, trial.measure(gradient).tolist())

    inverse = emulated_inverse(10) if kernels else TensorInverse(10, torch.device("cpu"))
    solver = QuasiNewton(Waiting(), inverse, rules)
    with _Reads() as reads:
        drive(solver.start(torch.from_numpy(function.start)), evaluate)
        while solver.done() is None:
            drive(solver.step(), evaluate)
    assert reads.count == 0, "nothing is read but what measure gives"
    assert solver.done() == 0
    expected, _ = run(function, rules)
    np.testing.assert_allclose(solver.x.numpy(), expected.x, rtol=1e-5)
    assert abs(solver.nit - expected.nit) <= 3
