"""Whole fits on a card: every method, curvature, captured graphs, errors, memory."""

from __future__ import annotations

import copy
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from methods import ALL, CAPPED, GRADIENT, arguments
from torch import Tensor, nn

from pytorch_minimize.bridge.make import make_bridge
from pytorch_minimize.bridge.python import PythonBridge
from pytorch_minimize.optim import MinimizeWrapper

pytestmark = pytest.mark.gpu

CARD = torch.device("cuda")


class Fit:
    """A small regression, convex in float64: the same data and start on any device."""

    def __init__(self, device: torch.device | str, dtype: torch.dtype = torch.float64) -> None:
        rng = np.random.default_rng(0)
        inputs, self.weights = rng.standard_normal((40, 3)), np.array([1.0, -2.0, 0.5])
        targets = inputs @ self.weights + 0.3
        self.inputs = torch.tensor(inputs, dtype=dtype, device=device)
        self.targets = torch.tensor(targets, dtype=dtype, device=device)
        torch.manual_seed(0)
        self.model = nn.Linear(3, 1).to(dtype).to(device)

    def loss(self) -> Tensor:
        return (self.model(self.inputs).squeeze(1) - self.targets).square().mean()

    def closure(self) -> Tensor:
        loss = self.loss()
        loss.backward()
        return loss

    def optimizer(self, method: str, **more: Any) -> MinimizeWrapper:
        options = {"options": dict(CAPPED[method])} if method in CAPPED else {}
        return MinimizeWrapper(self.model.parameters(), arguments(method, **options), **more)


@pytest.mark.parametrize("backward", [True, False])
@pytest.mark.parametrize("method", ALL)
def test_every_method_finds_the_minimum(method: str, backward: bool) -> None:
    here, there = Fit("cpu"), Fit(CARD)
    for fit in (here, there):
        optimizer = fit.optimizer(method)
        loss = optimizer.step(fit.closure if backward else fit.loss)
        assert loss.device == fit.inputs.device
        fit.res = optimizer.res  # type: ignore[attr-defined]
        assert np.array_equal(make_bridge(fit.model.parameters()).flatten_params(), fit.res.x)
    assert there.res.fun == pytest.approx(here.res.fun, abs=1e-6)  # type: ignore[attr-defined]
    np.testing.assert_allclose(there.res.x, here.res.x, atol=1e-3)  # type: ignore[attr-defined]


@pytest.mark.parametrize("method", GRADIENT)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_narrow_models(method: str, dtype: torch.dtype) -> None:
    fit = Fit(CARD, dtype)
    before = fit.loss().item()
    fit.optimizer(method).step(fit.closure)
    assert fit.loss().item() < 0.1 * before


@pytest.mark.parametrize("strategy", ["graph", "replay"])
def test_products_are_those_of_the_host(strategy: str) -> None:
    products = []
    for device in ("cpu", CARD):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)).double().to(device)
        fit = Fit(device)
        optimizer = MinimizeWrapper(model.parameters(), {"method": "Newton-CG"}, curvature=strategy)
        hessian = optimizer.hessian(
            lambda model=model, fit=fit: (
                (model(fit.inputs).squeeze(1) - fit.targets).square().mean()
            )
        )
        vectors = np.random.default_rng(2).standard_normal((hessian.shape[0], 4))
        products.append(
            np.column_stack([*(hessian @ v for v in vectors.T), *(hessian @ vectors).T])
        )
    np.testing.assert_allclose(products[0], products[1], atol=1e-12)


def test_both_bridges_take_the_same_path(monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for choice in ("native", "python"):
        monkeypatch.setenv("PYTORCH_MINIMIZE_BRIDGE", choice)
        fit = Fit(CARD)
        optimizer = fit.optimizer("L-BFGS-B")
        optimizer.step(fit.closure)
        results.append(optimizer.res)
    assert isinstance(make_bridge([torch.ones(1)]), PythonBridge)
    assert np.array_equal(results[0].x, results[1].x)
    assert results[0].nfev == results[1].nfev


@pytest.mark.parametrize("attaches", [False, True])
def test_a_captured_graph_is_a_closure(attaches: bool) -> None:
    """Addresses stay: the graph reads the parameters and writes the gradients where they are."""
    plain, fit = Fit(CARD), Fit(CARD)
    params = list(fit.model.parameters())
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            fit.model.zero_grad()
            fit.closure()
    torch.cuda.current_stream().wait_stream(stream)
    fit.model.zero_grad()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = fit.closure()
    grads = [param.grad for param in params]
    places = [param.data_ptr() for param in params]

    def closure() -> Tensor:
        graph.replay()
        if attaches:
            for param, grad in zip(params, grads, strict=True):
                param.grad = grad
        return loss

    optimizer = fit.optimizer("BFGS", captured_graph=not attaches)
    expected = plain.optimizer("BFGS")
    optimizer.step(closure)
    expected.step(plain.closure)
    assert optimizer.res.success
    np.testing.assert_allclose(optimizer.res.x, expected.res.x, atol=1e-8)
    assert [param.data_ptr() for param in params] == places
    if not attaches:
        assert all(param.grad is grad for param, grad in zip(params, grads, strict=True))
        optimizer.step(closure)
        np.testing.assert_allclose(optimizer.res.x, expected.res.x, atol=1e-8)


def test_a_compiled_closure() -> None:
    fit = Fit(CARD)
    compiled = torch.compile(fit.model)

    def closure() -> Tensor:
        return (compiled(fit.inputs).squeeze(1) - fit.targets).square().mean()

    optimizer = fit.optimizer("L-BFGS-B")
    optimizer.step(closure)
    np.testing.assert_allclose(optimizer.res.x[:3], fit.weights, atol=1e-3)


def test_memory_is_flat_over_200_steps() -> None:
    fit = Fit(CARD, torch.float32)
    optimizer = MinimizeWrapper(
        fit.model.parameters(), {"method": "L-BFGS-B", "options": {"maxiter": 2}}
    )
    used = []
    for _ in range(200):
        with torch.no_grad():
            for param in fit.model.parameters():
                param.add_(0.1)
        optimizer.step(fit.closure)
        pinned = torch.cuda.host_memory_stats()["allocated_bytes.current"]
        used.append((torch.cuda.memory_allocated(), pinned))
    assert np.all(np.max(used[100:], axis=0) <= np.max(used[:100], axis=0))


def test_memory_is_flat_over_200_products() -> None:
    fit = Fit(CARD)
    hessian = fit.optimizer("Newton-CG").hessian(fit.loss)
    v = np.ones(hessian.shape[0])
    used = []
    for _ in range(200):
        hessian @ v
        used.append(torch.cuda.memory_allocated())
    assert max(used[100:]) <= max(used[:100])


def test_running_out_of_memory_leaves_the_best_point() -> None:
    fit = Fit(CARD)
    optimizer = fit.optimizer("BFGS")
    best = (np.inf, np.empty(0))
    calls = 0

    def closure() -> Tensor:
        nonlocal best, calls
        calls += 1
        if calls == 5:
            hog = [torch.empty(1 << 40, dtype=torch.uint8, device=CARD) for _ in range(99)]
            raise AssertionError(len(hog))
        loss = fit.closure()
        x = make_bridge(fit.model.parameters()).flatten_params()
        best = min(best, (loss.item(), x), key=lambda found: found[0])
        return loss

    with pytest.raises(torch.OutOfMemoryError):
        optimizer.step(closure)
    assert np.array_equal(make_bridge(fit.model.parameters()).flatten_params(), best[1])
    optimizer.step(fit.closure)
    assert optimizer.res.fun < 1e-8


def test_an_error_of_a_kernel_leaves_step() -> None:
    """In a process of its own: a card takes no more work from one whose kernel has failed."""
    code = """
import torch
from pytorch_minimize.optim import MinimizeWrapper
param = torch.ones(4, device="cuda", requires_grad=True)
def closure():
    index = torch.full((1,), 7, device="cuda")
    return param[index].sum() + param.square().sum()
optimizer = MinimizeWrapper([param], dict(method="L-BFGS-B"))
try:
    optimizer.step(closure)
except RuntimeError as error:
    print("left with:", str(error).splitlines()[0])
"""
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "left with: CUDA error: device-side assert triggered" in result.stdout, result.stderr


def test_state_moves_between_devices() -> None:
    fit = Fit(CARD)
    optimizer = fit.optimizer("L-BFGS-B")
    optimizer.step(fit.closure)
    saved = copy.deepcopy(optimizer.state_dict())
    other = Fit("cpu")
    resumed = other.optimizer("L-BFGS-B")
    resumed.load_state_dict(saved)
    resumed.load_best()
    np.testing.assert_array_equal(resumed.bridge.flatten_params(), optimizer.res.x)
    resumed.step(other.closure)
    np.testing.assert_allclose(resumed.res.x, optimizer.res.x, atol=1e-6)


def test_a_model_moves_between_steps() -> None:
    """The best point goes with it."""
    fit, there = Fit("cpu"), Fit(CARD)
    optimizer = fit.optimizer("L-BFGS-B")
    optimizer.step(fit.closure)
    found = optimizer.res.x
    fit.inputs, fit.targets = there.inputs, there.targets
    fit.model.to(CARD)
    nn.init.zeros_(fit.model.weight)
    loss = optimizer.step(fit.closure)
    assert loss.device.type == "cuda"
    np.testing.assert_allclose(optimizer.res.x, found, atol=1e-5)
    nn.init.zeros_(fit.model.weight)
    fit.model.to("cpu")
    optimizer.load_best()
    np.testing.assert_array_equal(optimizer.bridge.flatten_params(), optimizer.res.x)
