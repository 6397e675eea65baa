"""Limited memory within bounds: minima, what is never left, and paths where they play no part."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.optimize
import torch
from limited import digits, run_limited, run_on_tensors, two_loops
from problems import himmelblau, logistic, quadratic, rosenbrock
from rings import emulated_ring
from runs import Array, Function, Trial, rosen
from runs import logistic as logistic_function
from runs import quadratic as quadratic_function
from scipy.optimize import Bounds
from torch import Tensor, nn

from pytorch_minimize.bridge.space import TensorSpace
from pytorch_minimize.optim import DualAnnealingWrapper, MinimizeWrapper
from pytorch_minimize.run.protocol import Answer, drive
from pytorch_minimize.scipy_minimize import optimizer as optimizer_module
from pytorch_minimize.solvers.bounded_memory import BoundedMemory
from pytorch_minimize.solvers.limited_methods import LIMITED
from pytorch_minimize.solvers.ring import TorchRing

each = pytest.mark.parametrize("method", LIMITED)
FUNCTIONS = {
    "logistic": logistic_function(25, 300),
    "quadratic": quadratic_function(50, 1e3, seed=2),
    "quadratic, 200": quadratic_function(200, 1e3, seed=4),
    "rosen": rosen(30, seed=2),
}
KINDS = {
    "positive": lambda n: (np.zeros(n), np.full(n, np.inf)),
    "box": lambda n: (np.full(n, -0.1), np.full(n, 0.2)),
    "uneven": lambda n: tuple(np.random.default_rng(7).uniform(-0.05, 0.05, (2, n)).cumsum(0)),
    "some": lambda n: (np.where(np.arange(n) % 3, -np.inf, 0.05), np.full(n, np.inf)),
    "fixed": lambda n: (
        np.where(np.arange(n) % 2, -np.inf, 0.1),
        np.where(np.arange(n) % 2, np.inf, 0.1),
    ),
}
TIGHT = {"ftol": 0.0, "gtol": 1e-10, "maxiter": 5000}


def bounds_of(kind: str, n: int) -> Bounds:
    low, high = KINDS[kind](n)
    return Bounds(np.minimum(low, high), np.maximum(low, high))


def inside(function: Function, bounds: Bounds) -> Function:
    return function._replace(start=np.clip(function.start, bounds.lb, bounds.ub))


@each
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_minimum_and_nowhere_outside(name: str, kind: str, method: str) -> None:
    bounds = bounds_of(kind, FUNCTIONS[name].start.size)
    function = inside(FUNCTIONS[name], bounds)
    expected = scipy.optimize.minimize(
        function.fun, function.start, jac=function.jac, bounds=bounds, options=TIGHT
    )
    solver, asked, _ = run_limited(function, method, bounds, **TIGHT)
    points = np.array(asked.points)
    assert (bounds.lb <= points).all()
    assert (points <= bounds.ub).all()
    assert solver.done() in (0, 2)  # 2 where the loss has no digits left for gtol
    assert solver.value - expected.fun <= 1e-9 * max(1.0, abs(expected.fun))
    np.testing.assert_allclose(solver.x, expected.x, rtol=0, atol=1e-6)
    # On a bound it is there to the last bit.
    held = (expected.x == bounds.lb) | (expected.x == bounds.ub)
    assert held.sum() - (held & ((solver.x == bounds.lb) | (solver.x == bounds.ub))).sum() <= 2
    assert solver.nit <= 1.5 * expected.nit + 20


@each
@pytest.mark.parametrize("name", [*FUNCTIONS, "digits"])
def test_where_no_bound_plays_a_part_nothing_changes(name: str, method: str) -> None:
    function = FUNCTIONS[name] if name in FUNCTIONS else digits()
    n = function.start.size
    free, asked, path = run_limited(function, method, maxiter=120)
    for far in (Bounds(np.full(n, -1e6), np.full(n, 1e6)), Bounds(np.full(n, -1e6), np.inf)):
        far = Bounds(*np.broadcast_arrays(far.lb, far.ub))
        solver, also, same = run_limited(function, method, far, maxiter=120)
        assert (solver.nit, also.nfev, solver.done()) == (free.nit, asked.nfev, free.done())
        assert all(np.array_equal(a, b) for a, b in zip(path, same, strict=True))


@each
def test_all_variables_fixed(method: str) -> None:
    function = FUNCTIONS["logistic"]
    bounds = Bounds(function.start, function.start)
    solver, asked, _ = run_limited(function, method, bounds)
    assert (solver.done(), solver.nit, asked.nfev) == (0, 0, 1)


def test_a_direction_is_that_of_the_free_variables() -> None:
    """Where some are held it is the minimum of the quadratic model over the others."""
    bounds = bounds_of("positive", 50)
    function = inside(FUNCTIONS["quadratic"], bounds)
    solver: Any
    solver, _, _ = run_limited(function, bounds=bounds, maxiter=8, maxcor=20)
    # Ended: the pair of the last step is not there. Make the line again, as it would be.
    rows = solver._ring.rows(2 * len(solver._compact)).numpy()
    pairs = [(rows[2 * i], rows[2 * i + 1], 1.0) for i in solver._compact.order]
    h = np.array([two_loops(pairs, e) for e in np.eye(50)])
    held = ((solver.x == 0.0) & (solver.gradient > 0.0)).nonzero()[0]
    free = np.setdiff1d(np.arange(50), held)
    assert 0 < held.size < 50
    expected = np.zeros(50)
    b = np.linalg.inv(h)[np.ix_(free, free)]
    expected[free] = -np.linalg.solve(b, solver.gradient[free])
    np.testing.assert_allclose(solver._reduced_direction(), expected, rtol=0, atol=1e-9)


class _Waiting(TensorSpace):
    def __init__(self) -> None:
        super().__init__("cpu")
        self.waits = True


@each
@pytest.mark.parametrize("kernels", [False, True])
def test_tensors_walk_the_path_of_arrays(method: str, kernels: bool) -> None:
    bounds = Bounds(np.full(10, -0.5), np.full(10, 0.6))
    function = inside(rosen(10), bounds)
    options = {"maxcor": 3, "maxiter": 20}
    expected, _, _ = run_limited(function, method, bounds, **options)
    ring = emulated_ring(10) if kernels else TorchRing(3, 10, torch.float64, torch.device("cpu"))
    solver: BoundedMemory[Tensor]
    solver = BoundedMemory(_Waiting(), ring, LIMITED[method].rules(options), bounds)
    run_on_tensors(solver, function)
    assert solver.nit == expected.nit
    np.testing.assert_allclose(solver.x.numpy(), expected.x, rtol=0, atol=1e-8)


class TestAsOptimizers:
    @each
    @pytest.mark.parametrize("make", [rosenbrock, himmelblau, logistic, quadratic])
    @pytest.mark.parametrize("device", [None, torch.device("cpu")])
    def test_in_groups_and_flat(
        self, method: str, make: Any, device: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The same run, at scipy's minimum; on tensors that stand for a device's as well."""
        monkeypatch.setattr(optimizer_module, "_device", lambda bridge: device)
        low, high, ends = -0.4, 0.9, []
        options = {"gtol": 1e-9, "ftol": 0.0}
        for in_groups in (True, False):
            instance = make()
            n = instance.x0.size
            start = np.clip(instance.x0, low, high)
            within = Bounds(np.full(n, low), np.full(n, high))
            args: dict[str, Any] = {"method": method, "options": options}
            params: Any = instance.params
            if in_groups:
                params = [{"params": instance.params, "bounds": (low, high)}]
            else:
                args["bounds"] = [(low, high)] * n
            optimizer = MinimizeWrapper(params, args)
            with torch.no_grad():
                for param in instance.params:
                    param.clamp_(low, high)
            loss = optimizer.step(instance.closure(1))
            assert loss.item() == optimizer.res.fun == instance.fun(optimizer.res.x)
            ends.append(optimizer.res)
        expected = scipy.optimize.minimize(
            instance.fun, start, jac=instance.jac, bounds=within, options=options
        )
        assert np.array_equal(ends[0].x, ends[1].x)
        np.testing.assert_allclose(ends[0].x, expected.x, rtol=0, atol=1e-6)
        assert isinstance(ends[0].x, np.ndarray)

    @each
    def test_float32_parameters_stay_inside(self, method: str) -> None:
        x = nn.Parameter(torch.full((4,), 0.5))
        optimizer = MinimizeWrapper([{"params": [x], "bounds": (0.1, 0.7)}], {"method": method})
        seen = []

        def closure() -> Tensor:
            seen.append((x.min().item(), x.max().item()))
            return ((x - torch.tensor([0.0, 0.3, 0.6, 1.0])) ** 2).sum()

        optimizer.step(closure)
        assert min(low for low, _ in seen) >= 0.1
        assert max(high for _, high in seen) <= 0.7
        assert torch.allclose(x.detach(), torch.tensor([0.1, 0.3, 0.6, 0.7]), atol=1e-4)
        assert optimizer.res.success

    @each
    def test_a_local_search_in_a_box(self, method: str) -> None:
        x = nn.Parameter(torch.tensor([1.5, -2.0], dtype=torch.float64))
        optimizer = DualAnnealingWrapper(
            [x], {"method": method}, {"bounds": [(1.25, 5), (-5, 5)], "maxiter": 3, "rng": 0}
        )
        optimizer.step(lambda: ((x - 1) ** 2).sum())
        assert np.allclose(optimizer.res.x, [1.25, 1.0], atol=1e-5)

    @each
    def test_no_warm_start(self, method: str) -> None:
        with pytest.raises(ValueError, match=f"can be warm started, not {method}"):
            MinimizeWrapper(rosenbrock().params, {"method": method}, warm_start=True)

    @each
    def test_tol_is_both_tolerances_as_for_scipys(self, method: str) -> None:
        instance = rosenbrock()
        loose = MinimizeWrapper(instance.params, {"method": method, "tol": 0.5})
        loose.step(instance.closure(1))
        assert loose.res.success
        assert loose.res.nit < 12

    def test_the_path_is_scipys(self) -> None:
        ends = []
        for method in ("L-BFGS-B", "torch-L-BFGS"):
            instance = logistic()
            optimizer = MinimizeWrapper(instance.params, {"method": method})
            optimizer.step(instance.closure(1))
            ends.append(optimizer)
        scipys, ours = ends
        for name in ("nit", "nfev", "njev", "status", "message"):
            assert ours.res[name] == scipys.res[name], name
        np.testing.assert_allclose(ours.res.x, scipys.res.x, rtol=0, atol=1e-10)
        np.testing.assert_allclose(ours.history.loss, scipys.history.loss, rtol=1e-12)


def test_arrays_are_never_handed_out_to_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Note [points stay]: what a trial was at stays what it was."""
    function = FUNCTIONS["logistic"]
    kept: list[tuple[Array, Array]] = []
    solver = LIMITED["torch-L-BFGS"].make_within({}, 25, None, bounds_of("box", 25))
    start = np.clip(function.start, -0.1, 0.2)

    def evaluate(trial: Trial[Array]) -> Answer[Array]:
        gradient = function.jac(trial.x)
        kept.append((trial.x, trial.x.copy()))
        kept.append((gradient, gradient.copy()))
        assert trial.measure is not None
        return Answer(function.fun(trial.x), gradient, True, trial.measure(gradient).tolist())

    drive(solver.start(start), evaluate)
    while solver.done() is None:
        drive(solver.step(), evaluate)
    assert all(np.array_equal(now, then) for now, then in kept)
