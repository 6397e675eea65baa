"""A loss that stays on its device until the gradient is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from emulated import emulated
from problems import rosenbrock
from torch import Tensor
from traced_operators import Calls

from pytorch_minimize.bridge.make import make_bridge
from pytorch_minimize.closure import runner
from pytorch_minimize.optim import MinimizeWrapper
from pytorch_minimize.problem import evaluator
from pytorch_minimize.record import clock
from pytorch_minimize.record.profile import Profile
from pytorch_minimize.run import bridged

LOSSES: dict[str, Callable[[], Tensor]] = {
    "float64": lambda: torch.tensor(0.1, dtype=torch.float64),
    "float32": lambda: torch.tensor(0.1),
    "bfloat16": lambda: torch.tensor(0.1, dtype=torch.bfloat16),
    "one element": lambda: torch.tensor([[0.25]]),
    "a view": lambda: torch.arange(4.0)[2],
    "negative": lambda: torch._neg_view(torch.tensor(0.1)),
    "with a graph": lambda: torch.ones(2, requires_grad=True).sum(),
    "integer": lambda: torch.tensor(3),
    "infinite": lambda: torch.tensor(float("-inf")),
}


@pytest.mark.parametrize("kind", LOSSES)
def test_evaluation_is_loss_and_gradient(bridge_class: type, kind: str) -> None:
    params = [torch.ones(3, requires_grad=True), torch.ones(5001, requires_grad=True)]
    for param in params:
        param.grad = torch.randn_like(param)
    bridge = bridge_class(params)
    loss = LOSSES[kind]()
    value, gradient, finite, waited = bridge.evaluation(loss)
    assert waited >= 0.0
    assert value == loss.item()
    assert finite is True  # the gradient is, whatever the loss
    assert np.array_equal(gradient, bridge.flatten_grads())
    assert params[1].grad is not None
    params[1].grad[4999] = torch.nan
    assert bridge.evaluation(loss)[2] is False
    params[1].grad[4999] = 0.0
    assert bridge.evaluation(loss)[2] is True


@pytest.mark.parametrize("kind", LOSSES)
def test_no_loss_has_a_wait_of_its_own(kind: str) -> None:
    """To read one alone is ``_local_scalar_dense``, which waits for the device."""
    params = [torch.ones(5, requires_grad=True)]
    params[0].grad = torch.ones(5)
    bridge, loss = emulated(0)(params), LOSSES[kind]()
    with Calls() as calls:
        value = bridge.evaluation(loss)[0]
    assert calls.counts["_local_scalar_dense"] == 0
    assert value == loss.item()
    with Calls() as calls:
        emulated(-1)(params).evaluation(loss)
    assert calls.counts["_local_scalar_dense"] == 1


@pytest.mark.parametrize("loss", [torch.ones(2), torch.tensor(1j)])
def test_a_loss_that_is_no_real_scalar_is_refused(bridge_class: type, loss: Tensor) -> None:
    bridge = bridge_class([torch.ones(5, requires_grad=True)])
    with pytest.raises((RuntimeError, TypeError)):
        bridge.evaluation(loss)


def test_evaluation_of_nothing_but_zeros() -> None:
    params = [torch.zeros(0), torch.zeros(2), torch.zeros(0, 3)]
    value, gradient, finite, _ = emulated(0)(params).evaluation(torch.tensor(2.0))
    assert (value, gradient.tolist(), finite) == (2.0, [0.0, 0.0], True)


@pytest.fixture
def losses_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a device: no loss is read when the closure returns, and tensors cross together."""
    monkeypatch.setattr(runner, "_is_on_host", lambda loss: False)
    monkeypatch.setattr(bridged, "make_bridge", emulated(0))


@pytest.mark.parametrize("method", ["L-BFGS-B", "SLSQP", "trust-ncg", "trust-exact"])
def test_the_path_is_the_same(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for stays in (False, True):
        with monkeypatch.context() as patch:
            if stays:
                patch.setattr(runner, "_is_on_host", lambda loss: False)
                patch.setattr(bridged, "make_bridge", emulated(0))
            instance = rosenbrock()
            optimizer = MinimizeWrapper(instance.params, {"method": method})
            loss = optimizer.step(lambda instance=instance: instance.loss(instance.params))
            results.append((optimizer.res, loss))
    (here, here_loss), (there, there_loss) = results
    assert np.array_equal(here.x, there.x)
    assert (here.nfev, here.nit, here.fun) == (there.nfev, there.nit, there.fun)
    assert here_loss == there_loss


def test_the_wait_for_a_device_is_the_closures(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(clock, "native", None)
    monkeypatch.setattr(clock, "perf_counter", lambda: now[0])
    profile = Profile()
    profile.begin("closure")
    now[0] = 1.0
    profile.begin("bridge")
    now[0] = 6.0
    profile.attribute("closure", 3.0)
    profile.stop()
    assert (profile.closure, profile.bridge, profile.total) == (4.0, 2.0, 6.0)


def test_an_error_of_the_kernels_leaves_step_as_it_is(
    losses_stay: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes out where the device is waited for, also where the solver swallows errors."""
    lost = RuntimeError("device-side assert triggered")
    param = torch.full((2,), 3.0, dtype=torch.float64, requires_grad=True)
    optimizer = MinimizeWrapper([param], {"method": "TNC"})
    calls = 0
    monkeypatch.setattr(evaluator, "make_closure_call", lambda *given: None)

    def closure() -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 3:
            monkeypatch.setattr(evaluator.Evaluator, "_read", fail)
        return (param**4).sum()

    def fail(self: evaluator.Evaluator[Any], loss: object) -> None:
        self.guard.remember(lost)
        raise lost

    with pytest.raises(RuntimeError) as caught:
        optimizer.step(closure)
    assert caught.value is lost
    assert calls == 3


def test_a_device_that_takes_no_more_work_does_not_hide_the_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    param = torch.ones(2, requires_grad=True)
    optimizer = MinimizeWrapper([param], {"method": "BFGS"})

    def refuse(self: object, x: object) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(evaluator.Evaluator, "load_point", refuse)
    lost = RuntimeError("the first error")

    def closure() -> Tensor:
        raise lost

    with pytest.raises(RuntimeError) as caught:
        optimizer.step(closure)
    assert caught.value is lost
    notes = getattr(lost, "__notes__", ["could not be set to the best point seen: CUDA error"])
    assert "could not be set to the best point seen: CUDA error" in notes[0]


def test_running_out_of_memory_leaves_the_best_point(losses_stay: None) -> None:
    param = torch.full((2,), 3.0, dtype=torch.float64, requires_grad=True)
    optimizer = MinimizeWrapper([param], {"method": "BFGS"})
    seen: list[tuple[float, list[float]]] = []

    def closure() -> Tensor:
        if len(seen) == 6:
            raise torch.OutOfMemoryError("out of memory")
        loss = (param**4).sum()
        seen.append((loss.item(), param.tolist()))
        return loss

    with pytest.raises(torch.OutOfMemoryError):
        optimizer.step(closure)
    assert param.tolist() == min(seen)[1]
    assert make_bridge([param]).flatten_params().tolist() == min(seen)[1]
