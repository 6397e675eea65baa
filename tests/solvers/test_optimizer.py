"""Our own methods as optimizers: what holds for scipy's methods holds for them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from problems import himmelblau, logistic, quadratic, rosenbrock
from scipy.optimize import OptimizeResult, minimize
from torch import Tensor, nn

import pytorch_minimize
from pytorch_minimize.bridge.space import TensorSpace
from pytorch_minimize.closure import runner
from pytorch_minimize.optim import DualAnnealingWrapper, MinimizeWrapper
from pytorch_minimize.scipy_minimize import optimizer as optimizer_module
from pytorch_minimize.solvers import conjugate_methods, memory
from pytorch_minimize.solvers import methods as methods_module
from pytorch_minimize.solvers.methods import ROWS

METHODS = tuple(row.name for row in ROWS.values())
WITH_H = tuple(row.name for row in ROWS.values() if "hess_inv0" in row.options)
PLAIN = {"SSBFGS": pytorch_minimize.ssbfgs, "SSBroyden": pytorch_minimize.ssbroyden}
each = pytest.mark.parametrize("method", METHODS)
each_with_h = pytest.mark.parametrize("method", WITH_H)


def made(method: str, instance: Any, **more: Any) -> MinimizeWrapper:
    options = more.pop("options", {})
    args = {"method": method, "options": options, "callback": more.pop("callback", None)}
    return MinimizeWrapper(instance.params, args, **more)


@pytest.mark.parametrize("make", [rosenbrock, himmelblau, logistic])
@pytest.mark.parametrize("method", PLAIN)
def test_it_is_plain_scipy_with_our_callable_bit_for_bit(method: str, make: Any) -> None:
    instance = make()
    converted = instance.converted
    plain = minimize(
        converted.fun, instance.x0, jac=converted.jac, method=PLAIN[method], options={"gtol": 1e-8}
    )
    optimizer = made(method, instance, options={"gtol": 1e-8})
    optimizer.step(instance.closure(1))
    res = optimizer.res
    assert np.array_equal(res.x, plain.x)
    assert np.array_equal(res.hess_inv, plain.hess_inv)
    assert (res.fun, res.nit, res.nfev) == (plain.fun, plain.nit, plain.nfev)
    assert (res.status, res.success, res.message) == (plain.status, plain.success, plain.message)
    assert res.keys() == plain.keys() | {"nonfinite", "recovered"}
    assert len(optimizer.history) == res.nit


def test_torch_bfgs_is_scipys_on_convex_problems() -> None:
    instance, twin = logistic(), logistic()
    optimizer, scipys = made("torch-BFGS", instance), made("BFGS", twin)
    optimizer.step(instance.closure(1))
    scipys.step(twin.closure(1))
    assert (optimizer.res.nit, optimizer.res.nfev) == (scipys.res.nit, scipys.res.nfev)
    assert np.allclose(optimizer.res.x, scipys.res.x, rtol=0, atol=1e-9)
    assert optimizer.res.message == scipys.res.message


@each
def test_the_callback_is_told_the_iterate_and_ends_the_run(method: str) -> None:
    instance, told = rosenbrock(), []

    def callback(intermediate_result: OptimizeResult) -> None:
        held = torch.cat([p.detach().reshape(-1) for p in instance.params]).numpy()
        assert np.array_equal(held, intermediate_result.x)
        assert instance.fun(held) == intermediate_result.fun
        told.append(intermediate_result.x)
        if len(told) == 4:
            raise StopIteration

    optimizer = made(method, instance, callback=callback)
    optimizer.step(instance.closure(1))
    assert (optimizer.res.status, optimizer.res.success) == (99, False)
    assert np.array_equal(optimizer.res.x, told[-1])
    assert ("hess_inv" in optimizer.res) == (method in WITH_H)


@each
@pytest.mark.parametrize(
    ("limit", "status"),
    [({"max_evaluations": 9}, 102), ({"timeout": 1e-9}, 101), ({"rtol": 1e3}, 103)],
)
def test_limits(method: str, limit: dict[str, Any], status: int) -> None:
    instance = rosenbrock()
    optimizer = made(method, instance, **limit)
    loss = optimizer.step(instance.closure(1))
    assert optimizer.res.status == status
    assert optimizer.res.fun == loss == instance.fun(optimizer.res.x)
    if "max_evaluations" in limit:
        assert optimizer.res.nfev == 9


@each
def test_nan_means_step_back(method: str) -> None:
    x = nn.Parameter(torch.tensor([1.0, 0.4], dtype=torch.float64))
    optimizer = MinimizeWrapper([x], {"method": method})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        loss = optimizer.step(lambda: (30 * x - x.log()).sum())
    assert optimizer.res.nonfinite > 0
    assert np.allclose(optimizer.res.x, 1 / 30, rtol=1e-4)
    assert loss == optimizer.res.fun


@each
@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_what_the_closure_raises_leaves_the_best_point(method: str, error: Any) -> None:
    instance, seen = rosenbrock(), []

    def closure() -> Tensor:
        if len(seen) == 7:
            raise error
        loss = instance.closure(1)()
        seen.append(loss.item())
        return loss

    optimizer = made(method, instance)
    with pytest.raises(error):
        optimizer.step(closure)
    held = torch.cat([p.detach().reshape(-1) for p in instance.params]).numpy()
    assert instance.fun(held) == min(seen)
    seen.clear()
    optimizer.step(instance.closure(1))  # can be stepped again
    assert optimizer.res.success


def test_recover_is_counted() -> None:
    x, calls = nn.Parameter(torch.tensor([3.0], dtype=torch.float64)), []

    def closure() -> Tensor:
        calls.append(1)
        if len(calls) == 2:
            raise torch.linalg.LinAlgError("not positive definite")
        return (x**4).sum()

    optimizer = MinimizeWrapper([x], {"method": "SSBroyden"}, recover=torch.linalg.LinAlgError)
    optimizer.step(closure)
    assert (optimizer.res.recovered, optimizer.res.nonfinite) == (1, 0)
    assert optimizer.res.success


@each_with_h
def test_warm_starts_go_on_with_h_also_through_a_file(method: str, tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    instance = rosenbrock()
    optimizer = made(method, instance, warm_start=True, options={"maxiter": 12})
    optimizer.step(instance.closure(1))
    matrix = optimizer.res.hess_inv.copy()
    torch.save(optimizer.state_dict(), path)
    twin = rosenbrock()
    other = made(method, twin, warm_start=True, options={"maxiter": 0})
    other.load_state_dict(torch.load(path, weights_only=True))
    other.load_best()
    other.step(twin.closure(1))
    assert np.allclose(other.res.hess_inv, (matrix + matrix.T) / 2, rtol=1e-14)


@each_with_h
def test_a_warm_start_knows_a_quadratic(method: str) -> None:
    nits = []
    for warm in (False, True):
        instance = quadratic()
        optimizer = made(method, instance, warm_start=warm)
        optimizer.step(instance.closure(1))
        with torch.no_grad():
            for param in instance.params:
                param.add_(1.0)
        optimizer.step(instance.closure(1))
        nits.append(optimizer.res.nit)
    assert nits[1] < nits[0] / 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex128])
@each
def test_other_dtypes(method: str, dtype: torch.dtype) -> None:
    x = nn.Parameter(torch.tensor([2.0, -1.0], dtype=dtype))
    optimizer = MinimizeWrapper([x], {"method": method})
    optimizer.step(lambda: ((x - 0.5).abs() ** 2).sum())
    assert torch.allclose(x.detach(), torch.full_like(x, 0.5), atol=1e-4)
    assert optimizer.res.x.dtype == np.float64


@each
def test_vectors_of_a_device(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same solver on tensors, where they stand for those of a device."""
    runs = []
    for device in (None, torch.device("cpu")):
        monkeypatch.setattr(optimizer_module, "_device", lambda bridge, device=device: device)
        instance = rosenbrock()
        warm = method in WITH_H
        optimizer = made(method, instance, options={"maxiter": 15}, warm_start=warm)
        optimizer.step(instance.closure(1))
        optimizer.step(instance.closure(1))
        assert isinstance(optimizer.res.x, np.ndarray)
        assert not any(isinstance(value, Tensor) for value in optimizer.res.values())
        runs.append(optimizer.res)
    arrays, tensors = runs
    assert (arrays.nit, arrays.nfev) == (tensors.nit, tensors.nfev)
    assert np.allclose(arrays.x, tensors.x, rtol=1e-6)


def test_the_profile_accounts_for_the_whole_step() -> None:
    instance = rosenbrock()
    optimizer = made("SSBroyden", instance)
    optimizer.step(instance.closure(1))
    counts = optimizer.profile.counts
    assert counts["closure"] == optimizer.res.nfev == optimizer.res.njev
    assert min(optimizer.profile.closure, optimizer.profile.bridge, optimizer.profile.solver) > 0


class TestRefusals:
    @pytest.mark.parametrize(
        ("args", "said"),
        [
            ({"options": {"gtoll": 1e-3}}, "did you mean gtol"),
            ({"options": {"method_bfgs": "SSBroyden1"}}, "method_bfgs is of a scipy whose files"),
            ({"options": {"variant": 4}}, "variant: expected one of 1, 2, 3"),
            ({"options": {"maxiter": "10"}}, "maxiter"),
            ({"options": {"hess_inv0": np.ones((2, 2))}}, "symmetric and positive definite"),
            ({"bounds": [(0, 1)] * 5}, "SSBroyden takes no bounds; methods that do: Nelder-Mead"),
            ({"jac": False}, "needs a gradient"),
            ({"jac": lambda x: x}, "takes no jac"),
            ({"hess": True}, "takes no hess"),
        ],
    )
    def test_before_anything_runs(self, args: dict[str, Any], said: str) -> None:
        with pytest.raises((ValueError, TypeError), match=said):
            MinimizeWrapper(rosenbrock().params, {"method": "SSBroyden", **args})

    @pytest.mark.parametrize("name", ["ssbroyden", "SSBROYDEN"])
    def test_names_in_any_case(self, name: str) -> None:
        instance = rosenbrock()
        assert "SSBroyden" in repr(made(name, instance))

    def test_a_near_miss(self) -> None:
        with pytest.raises(ValueError, match="did you mean SSBroyden"):
            made("SSBroyde", rosenbrock())

    def test_what_does_not_fit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(memory, "free_bytes", lambda device=None: 100)
        instance = rosenbrock()
        start = [param.detach().clone() for param in instance.params]
        with pytest.raises(MemoryError, match="SS-L-BFGS"):
            made("SSBFGS", instance).step(instance.closure(1))
        assert all(map(torch.equal, start, instance.params))


def test_tol_is_gtol() -> None:
    instance = rosenbrock()
    loose = MinimizeWrapper(instance.params, {"method": "SSBFGS", "tol": 1.0})
    loose.step(instance.closure(1))
    assert 1e-5 < np.abs(loose.res.jac).max() <= 1.0


def test_it_can_be_the_local_search_of_a_global_one() -> None:
    x = nn.Parameter(torch.tensor([3.0, -2.0], dtype=torch.float64))
    optimizer = DualAnnealingWrapper(
        [x], {"method": "SSBroyden"}, {"bounds": [(-5, 5)] * 2, "maxiter": 3, "rng": 0}
    )
    optimizer.step(lambda: ((x - 1) ** 2).sum() + (x[0] * x[1] - 1) ** 2)
    assert np.allclose(optimizer.res.x, 1.0, atol=1e-4)


@each
def test_a_device_is_waited_for_once_an_evaluation(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted where tensors of the host stand for those of a device that must be waited for."""
    waits: list[str] = []
    device = torch.device("cpu")

    class Waiting(TensorSpace):
        def __init__(self, device: torch.device) -> None:
            super().__init__(device)
            self.waits = True

    def noted(name: str) -> Any:
        original = getattr(Tensor, name)

        def reading(self: Tensor, *args: Any) -> Any:
            waits.append(name)
            return original(self, *args)

        return reading

    monkeypatch.setattr(optimizer_module, "_device", lambda bridge: device)
    for module in (optimizer_module, methods_module, conjugate_methods):
        monkeypatch.setattr(module, "TensorSpace", Waiting)
    monkeypatch.setattr(runner, "_is_on_host", lambda loss: False)
    instance, plain = rosenbrock(), rosenbrock()
    optimizer = made(method, instance)
    for name in ("item", "tolist", "__float__", "__bool__", "__int__", "numpy", "cpu"):
        monkeypatch.setattr(Tensor, name, noted(name))
    spent: list[int] = []

    def closure() -> Tensor:
        spent.append(len(waits))
        return instance.closure(1)()

    optimizer.step(closure)
    monkeypatch.undo()
    between, counts = np.diff(spent), optimizer.profile.counts
    assert optimizer.res.nfev + counts.get("reload", 0) == len(spent)
    if ROWS[method.lower()].curvature:
        # And once a product, up to the last evaluation.
        assert spent[-1] == optimizer.res.nfev - 1 + optimizer.res.nhev
    else:
        # Two at the start: H is the identity, and the first line begins.
        assert set(between[1:]) == {1}
    by_arrays = made(method, plain)
    by_arrays.step(plain.closure(1))
    assert optimizer.res.nit == by_arrays.res.nit
    for column in ("loss", "grad_norm", "step_length"):
        mine, its = getattr(optimizer.history, column), getattr(by_arrays.history, column)
        assert np.allclose(mine, its, rtol=2e-3)  # rounding parts the ways
