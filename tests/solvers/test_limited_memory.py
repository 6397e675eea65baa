"""Runs of limited memory: scipy's path, ends, memory, and what happens where something is wrong."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from limited import digits, run_limited, run_on_tensors
from rings import emulated_ring
from runs import Array, Asked, Function, logistic, quadratic, rosen, scipys, tanh_fit
from torch import Tensor

from pytorch_minimize.bridge.space import ARRAYS, ArraySpace, TensorSpace
from pytorch_minimize.run.protocol import Answer, Trial, drive
from pytorch_minimize.solvers import memory
from pytorch_minimize.solvers.limited_memory import LimitedMemory, LimitedRules
from pytorch_minimize.solvers.limited_methods import LIMITED
from pytorch_minimize.solvers.ring import SCALARS, Change, TorchRing, array_ring

CONVEX = {
    "digits": digits(),
    "logistic, 60": logistic(60, 200, seed=3),
    "logistic, 120": logistic(120, 500, seed=5),
    "quadratic, 20": quadratic(20, 1e2),
    "quadratic, 50": quadratic(50, 1e2, seed=2),
}
OTHERS = {"rosen": rosen(10), "rosen, 30": rosen(30, seed=2), "tanh": tanh_fit(12)}
METHODS = tuple(LIMITED)


@pytest.mark.parametrize("name", CONVEX)
def test_scipys_iterations_and_evaluations_on_convex_problems(name: str) -> None:
    expected, path = scipys("L-BFGS-B", CONVEX[name])
    solver, asked, iterates = run_limited(CONVEX[name])
    assert (solver.nit, asked.nfev) == (expected.nit, expected.nfev)
    assert solver.done() == expected.status == 0
    for ours, theirs in zip(iterates, path, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", OTHERS)
def test_scipys_first_iterations_elsewhere(name: str) -> None:
    _, path = scipys("L-BFGS-B", OTHERS[name], maxiter=20)
    _, _, iterates = run_limited(OTHERS[name], maxiter=20)
    assert len(path) == 20
    for ours, theirs in zip(iterates, path, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    "options",
    [
        {"maxcor": 1},
        {"maxcor": 3},
        {"maxcor": 40},
        {"ftol": 1e-4},
        {"gtol": 1e-2},
        {"maxiter": 0},
        {"maxiter": 7},
        {"maxfun": 1},
        {"maxfun": 9},
        {"maxls": 1},
    ],
)
def test_options_are_those_of_scipys(options: dict[str, Any]) -> None:
    # Of few pairs a long path does not hold the digits of the other.
    functions = CONVEX["quadratic, 20"], CONVEX["digits"]
    for function in functions[: 1 if "maxcor" in options else 2]:
        expected, _ = scipys("L-BFGS-B", function, **options)
        solver, asked, _ = run_limited(function, **options)
        assert (solver.nit, asked.nfev) == (expected.nit, expected.nfev)
        assert solver.done() == expected.status
        np.testing.assert_allclose(solver.x, expected.x, rtol=0, atol=1e-8)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["float64", torch.float32])
@pytest.mark.parametrize("first", ["one", "guess"])
def test_every_way_finds_the_minimum(method: str, dtype: Any, first: str) -> None:
    for function in (CONVEX["quadratic, 20"], OTHERS["rosen"]):
        solver, _, _ = run_limited(
            function, method, history_dtype=dtype, first_step=first, ftol=0.0, gtol=1e-6
        )
        assert solver.done() == 0
        assert abs(function.jac(solver.x)).max() <= 1e-6


def test_the_start_may_be_the_minimum() -> None:
    function = Function(lambda x: float(x @ x), lambda x: 2.0 * x, np.zeros(3))
    solver, asked, _ = run_limited(function)
    assert (solver.done(), solver.nit, asked.nfev) == (0, 0, 1)
    assert solver.message(0) == "CONVERGENCE: NORM OF PROJECTED GRADIENT <= PGTOL"


def test_messages() -> None:
    function = CONVEX["quadratic, 20"]
    for options, status, said in (
        ({"ftol": 1e-3, "gtol": 0.0}, 0, "REDUCTION OF F"),
        ({"maxiter": 3}, 1, "ITERATIONS REACHED LIMIT"),
        ({"maxfun": 3}, 1, "EVALUATIONS EXCEEDS LIMIT"),
    ):
        solver, _, _ = run_limited(function, **options)
        assert solver.done() == status
        assert said in solver.message(status)


class TestWhereThingsAreWrong:
    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
    def test_a_start_that_is_not_finite_ends_the_run(self, bad: float) -> None:
        solver, asked, _ = run_limited(Function(lambda x: bad, lambda x: x, np.ones(3)))
        assert (solver.done(), solver.nit, len(asked.points)) == (3, 0, 1)
        assert "NaN" in solver.message(3)

    @pytest.mark.parametrize("method", METHODS)
    def test_it_steps_back_where_there_is_no_loss(self, method: str) -> None:
        def fun(x: Array) -> float:
            return float((30.0 * x - np.log(x)).sum()) if (x > 0.0).all() else math.nan

        function = Function(fun, lambda x: 30.0 - 1.0 / x, np.array([0.2, 0.5, 0.04]))
        solver, asked, _ = run_limited(function, method)
        assert any(not math.isfinite(fun(x)) for x in asked.points)
        assert solver.done() == 0
        np.testing.assert_allclose(solver.x, 1 / 30, rtol=1e-4)

    def test_a_gradient_that_is_nowhere_true_ends_as_scipy_ends(self) -> None:
        function = Function(lambda x: float(x @ x), lambda x: -2.0 * x, np.ones(4))
        expected, _ = scipys("L-BFGS-B", function)
        solver, _, _ = run_limited(function)
        assert solver.done() == expected.status == 2
        assert solver.message(2).strip() == expected.message.strip()
        assert np.array_equal(solver.x, function.start)

    def test_a_search_that_fails_forgets_all_pairs_and_goes_on(self) -> None:
        # One evaluation a search, which is too few now and then.
        expected, _ = scipys("L-BFGS-B", CONVEX["digits"], maxls=1)
        solver, asked, _ = run_limited(CONVEX["digits"], maxls=1)
        assert solver.resets > 1
        assert (solver.nit, asked.nfev) == (expected.nit, expected.nfev)
        assert solver.done() == expected.status == 0

    @pytest.mark.parametrize(("scaling", "status"), [("none", 0), ("self", 2)])
    def test_a_step_of_no_length(self, scaling: str, status: int) -> None:
        """It passes for success, as in scipy, but not where pairs are scaled."""

        def fun(x: Array) -> float:
            return 1.0 if x[0] == 1.0 else 2.0  # higher wherever it is looked for

        function = Function(fun, lambda x: np.ones(1), np.ones(1))
        expected, _ = scipys("L-BFGS-B", function, ftol=0.0, maxls=1000)
        solver, _, _ = run_limited(function, scaling=scaling, ftol=0.0, maxls=1000)
        assert (expected.status, solver.done()) == (0, status)
        assert np.array_equal(solver.x, function.start)

    def test_a_pair_without_curvature_is_skipped(self) -> None:
        # Beyond a cliff nothing but a decrease is asked for, and the slope there is steeper.
        def fun(x: Array) -> float:
            return float(-(x[0] ** 2)) if x[0] < 3.0 else math.nan

        function = Function(fun, lambda x: -2.0 * x, np.array([2.5]))
        solver, _, _ = run_limited(function, maxiter=2)
        assert solver.skipped >= 1

    def test_pairs_that_overflow_are_forgotten(self) -> None:
        solver = LIMITED["SS-L-BFGS"].make({}, 10, None, None)
        function = OTHERS["rosen"]
        asked = Asked(function)
        drive(solver.start(function.start), asked)
        for _ in range(4):
            drive(solver.step(), asked)
        solver._compact._tau[:] = 1e-200
        drive(solver.step(), asked)
        assert len(solver._compact) == 0
        while solver.done() is None:
            drive(solver.step(), asked)
        assert solver.done() == 0


class _Waiting(TensorSpace):
    """Tensors of the host, treated as if to read one were to wait."""

    def __init__(self) -> None:
        super().__init__("cpu")
        self.waits = True


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kernels", [False, True])
def test_tensors_walk_the_path_of_arrays(method: str, kernels: bool) -> None:
    function = rosen(10)
    rules = LIMITED[method].rules({"maxcor": 3, "maxiter": 25})
    expected, _, _ = run_limited(function, method, maxcor=3, maxiter=25)
    ring = emulated_ring(10) if kernels else TorchRing(3, 10, torch.float64, torch.device("cpu"))
    solver: LimitedMemory[Tensor] = LimitedMemory(_Waiting(), ring, rules)
    run_on_tensors(solver, function)
    assert solver.nit == expected.nit
    np.testing.assert_allclose(solver.x.numpy(), expected.x, rtol=0, atol=1e-8)


def bowl(n: int) -> Function:
    scale = np.geomspace(1e-2, 1e2, n)
    return Function(lambda x: 0.5 * float(x @ (scale * x)), lambda x: scale * x, np.ones(n))


@pytest.mark.parametrize(
    ("dtype", "most"), [("float64", lambda m: 2 * m + 6), ("float32", lambda m: m + 6)]
)
def test_the_memory_that_it_takes(dtype: str, most: Any) -> None:
    """With two points and two gradients, those of the iterate and of the trial."""
    n, m = 50_000, 8
    function = bowl(n)

    def evaluate(trial: Trial[Array]) -> Answer[Array]:
        assert trial.measure is not None
        gradient = function.jac(trial.x)
        value = 0.5 * float(trial.x @ gradient)
        return Answer(value, gradient, True, trial.measure(gradient).tolist())

    tracemalloc.start()
    try:
        rules = LimitedRules(maxcor=m, history_dtype=getattr(torch, dtype), gtol=0.0, ftol=0.0)
        solver = LimitedMemory(ARRAYS, array_ring(m, n, rules.history_dtype), rules)
        drive(solver.start(function.start), evaluate)
        for _ in range(3 * m):
            drive(solver.step(), evaluate)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert solver.nit == 3 * m
    small = 10_000  # what is not of length n
    assert 8 * n * (most(m) - 6) < peak <= 8 * n * most(m) + small


class _Moved(ArraySpace):
    """Counts vectors that are read or written."""

    vectors = 0.0

    def stepped(self, x: Array, step: float, p: Array) -> Array:
        self.vectors += 3
        return super().stepped(x, step, p)


class _Ring:
    """Counts what the two passes over a ring read and write, at the size of its elements."""

    def __init__(self, ring: Any, moved: _Moved, size: float) -> None:
        self._ring, self._moved, self._size = ring, moved, size

    def sums(self, rows: int, *vectors: Array) -> Array:
        self._moved.vectors += self._size * rows + len(vectors)
        found: Array = self._ring.sums(rows, *vectors)
        assert len(found) == 2 * rows + SCALARS
        return found

    def turn(self, change: Change, *vectors: Array) -> float:
        # The pair is written where its rows would be read, and the direction where it was.
        self._moved.vectors += self._size * len(change.weights) + len(vectors) + 1
        slope: float = self._ring.turn(change, *vectors)
        return slope


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_passes_that_it_makes(dtype: torch.dtype) -> None:
    n, m, moved = 300, 10, _Moved()
    function = bowl(n)
    rules = LimitedRules(maxcor=m, history_dtype=dtype, gtol=0.0, ftol=0.0)
    ring: Any = _Ring(array_ring(m, n, dtype), moved, dtype.itemsize / 8)
    solver = LimitedMemory(moved, ring, rules)
    asked = Asked(function)
    drive(solver.start(function.start), asked)
    counted = []
    for _ in range(3 * m):
        before = len(asked.points)
        moved.vectors = 0.0
        drive(solver.step(), asked)
        if solver.nit > m and len(asked.points) == before + 1:
            counted.append(moved.vectors)
    assert len(counted) > m
    assert max(counted) == (4 * m if dtype == torch.float64 else 2 * m) + 10


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"maxcorr": 3}, "did you mean maxcor"),
            ({"maxcor": 0}, "maxcor: expected a whole number of at least 1"),
            ({"maxcor": math.inf}, "maxcor: expected a whole number of at least 1"),
            ({"maxls": 2.5}, "maxls: expected a whole number"),
            ({"maxfun": -1}, "maxfun: expected a whole number of at least 0"),
            ({"ftol": math.nan}, "ftol: expected a number"),
            ({"history_dtype": "half"}, "history_dtype: expected one of float64, float32"),
            ({"history_dtype": torch.float16}, "history_dtype: expected one of"),
            ({"first_step": "two"}, "first_step: expected one of one, guess"),
            ({"scaling": True}, "scaling: expected one of none, self"),
            ({"hess_inv0": np.eye(3)}, "no option hess_inv0"),
        ],
    )
    def test_what_is_not_understood_is_refused(self, options: Any, said: str) -> None:
        for method in LIMITED.values():
            with pytest.raises(ValueError, match=said):
                method.make(options, 4, None, None)

    def test_what_becomes_of_them(self) -> None:
        rules = LIMITED["SS-L-BFGS"].rules({"maxcor": 7.0, "maxiter": None, "maxfun": math.inf})
        assert rules == LimitedRules(maxcor=7, maxfun=math.inf, first_step="guess", scaling="self")
        for dtype in ("float32", torch.float32):
            rules = LIMITED["SS-L-BFGS"].rules({"history_dtype": dtype})
            assert rules.history_dtype == torch.float32

    @pytest.mark.parametrize("device", [None, torch.device("cpu")])
    def test_what_does_not_fit_is_refused(
        self, device: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(memory, "free_bytes", lambda device: 8 * 26 * 1000)
        LIMITED["torch-L-BFGS"].make({}, 1000, device, None)
        with pytest.raises(MemoryError, match=r"10 pairs .* for 1001 variables take 0\.000208 GB"):
            LIMITED["torch-L-BFGS"].make({}, 1001, device, None)
        with pytest.raises(MemoryError, match="history_dtype='float32', takes less"):
            LIMITED["SS-L-BFGS"].make({"maxcor": 11}, 1000, device, None)
        LIMITED["SS-L-BFGS"].make({"maxcor": 20, "history_dtype": "float32"}, 1000, device, None)
