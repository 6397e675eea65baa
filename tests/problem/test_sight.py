"""A user's callback: what it does is undone, and on a device nothing large crosses for that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
import pytest
import torch
from emulated import Asked, emulated
from problems import rosenbrock

from pytorch_minimize.bridge.python import PythonBridge
from pytorch_minimize.optim import MinimizeWrapper
from pytorch_minimize.problem import sight
from pytorch_minimize.run import bridged


@pytest.fixture
def on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parameters cross as a device's do, and are taken to be there."""
    monkeypatch.setattr(bridged, "make_bridge", emulated(0))
    monkeypatch.setattr(sight, "is_on_a_device", lambda params: True)


def copies_down(callback: object) -> tuple[int, int]:
    """In a whole run, and how many iterations that had."""
    instance = rosenbrock()
    args = {"method": "L-BFGS-B", "callback": callback}
    optimizer = MinimizeWrapper(instance.params, args)
    with Asked() as asked:
        optimizer.step(lambda: instance.loss(instance.params))
    return asked.counts["copies down"], int(optimizer.res.nit)


def test_a_callback_costs_no_transfer(on_a_device: None) -> None:
    without, iterations = copies_down(None)
    seen: list[float] = []
    with_one, _ = copies_down(lambda x: seen.append(float(x[0])))
    assert len(seen) == iterations > 5
    assert with_one == without


def test_on_the_host_it_is_the_bridge_that_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridged, "make_bridge", emulated(0))
    without, iterations = copies_down(None)
    with_one, _ = copies_down(lambda x: None)
    assert with_one == without + 2 * iterations


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.complex128])
def test_a_callback_costs_no_load_where_the_parameters_are_there(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One look at the parameters and one at the gradients; at values that were rounded, two."""
    monkeypatch.setattr(bridged, "make_bridge", Counting)
    counts = []
    for callback in (None, lambda x: None):
        x = torch.nn.Parameter(torch.full((4,), 3.0, dtype=dtype))
        args = {"method": "L-BFGS-B", "callback": callback}
        optimizer = MinimizeWrapper([x], args)
        optimizer.step(lambda x=x: (x - 1).abs().pow(4).sum())
        counts.append(optimizer.bridge.calls)
    looks = int(optimizer.res.nit) * (2 if dtype == torch.float32 else 1)
    assert looks > 5
    assert counts[1]["load_params"] == counts[0]["load_params"]
    assert counts[1]["flatten_params"] == counts[0]["flatten_params"] + looks
    assert counts[1]["flatten_grads"] == counts[0]["flatten_grads"] + int(optimizer.res.nit)


class Counting(PythonBridge):
    """How often the parameters and gradients crossed."""

    def __init__(self, params: Iterable[torch.Tensor]) -> None:
        super().__init__(params)
        self.calls: Counter[str] = Counter()

    def load_params(self, x: np.ndarray) -> None:
        self.calls["load_params"] += 1
        super().load_params(x)

    def flatten_params(self) -> np.ndarray:
        self.calls["flatten_params"] += 1
        return super().flatten_params()

    def flatten_grads(self) -> np.ndarray:
        self.calls["flatten_grads"] += 1
        return super().flatten_grads()


@pytest.mark.parametrize("spoils", ["values", "a view of them", "gradients", "no gradients"])
@pytest.mark.parametrize("device", [False, True], ids=["host", "device"])
def test_what_a_callback_does_is_undone(
    request: pytest.FixtureRequest, device: bool, spoils: str
) -> None:
    if device:
        request.getfixturevalue("on_a_device")
    ends = []
    for does in (False, True):
        instance = rosenbrock()

        def callback(x: np.ndarray, does: bool = does, params: list = instance.params) -> None:
            if not does:
                return
            for param in params:
                if spoils == "values":
                    param.data.fill_(7.0)
                elif spoils == "a view of them":
                    param.data.view(-1)[0] += 1.0
                elif spoils == "gradients":
                    assert param.grad is not None
                    param.grad.mul_(-3.0)
                else:
                    param.grad = None

        args = {"method": "L-BFGS-B", "callback": callback}
        optimizer = MinimizeWrapper(instance.params, args)
        optimizer.step(lambda instance=instance: instance.loss(instance.params))
        ends.append((optimizer.res.x, [param.grad for param in instance.params]))
    assert np.array_equal(ends[0][0], ends[1][0])
    assert all(torch.equal(a, b) for a, b in zip(ends[0][1], ends[1][1], strict=True))
