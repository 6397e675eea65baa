"""Closures that fill fixed gradient tensors and a fixed loss, as captured CUDA graphs do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from emulated import emulated
from instance import Instance
from methods import GRADIENT_FREE, arguments
from problems import himmelblau, rosenbrock
from replayed import Replayed
from torch import Tensor, nn

from pytorch_minimize.bridge.make import make_bridge
from pytorch_minimize.optim import MinimizeWrapper
from pytorch_minimize.run import optimizer as optimizer_module


@pytest.mark.parametrize("spent", [False, True])
@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize("method", ["BFGS", "SLSQP"])
def test_the_path_is_that_of_a_plain_closure(method: str, adds: bool, spent: bool) -> None:
    ours, plain = rosenbrock(), rosenbrock()
    replayed = Replayed(ours, adds=adds, spent=spent)
    optimizer = MinimizeWrapper(ours.params, arguments(method))
    expected = MinimizeWrapper(plain.params, arguments(method))
    for _ in range(2):
        optimizer.step(replayed)
        expected.step(plain.closure(1))
        assert np.array_equal(optimizer.res.x, expected.res.x)
        assert optimizer.res.nfev == expected.res.nfev
        assert np.array_equal(ours.grad, plain.grad)
        replayed.assert_in_place()


def test_one_run_more_shows_it() -> None:
    replayed = Replayed(himmelblau())
    optimizer = MinimizeWrapper(replayed.instance.params, {"method": "BFGS"})
    optimizer.step(replayed)
    assert replayed.runs == optimizer.res.nfev + 1


def test_as_a_device_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimizer_module, "make_bridge", emulated(0))
    replayed = Replayed(himmelblau(), spent=True)
    optimizer = MinimizeWrapper(replayed.instance.params, {"method": "L-BFGS-B"})
    optimizer.step(replayed)
    assert optimizer.res.fun == pytest.approx(0.0, abs=1e-8)
    replayed.assert_in_place()


def test_a_start_at_the_minimum() -> None:
    """A gradient of zeros is told from one that nobody wrote."""
    x = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    replayed = Replayed(Instance([x], lambda params: params[0].square().sum()))
    optimizer = MinimizeWrapper([x], {"method": "BFGS"})
    optimizer.step(replayed)
    assert optimizer.res.nit == 0
    replayed.assert_in_place()


def test_some_parameters_have_no_gradient() -> None:
    x, unused = (nn.Parameter(torch.ones(2, dtype=torch.float64)) for _ in range(2))
    replayed = Replayed(Instance([x], lambda params: params[0].square().sum()))
    optimizer = MinimizeWrapper([unused, x], {"method": "BFGS"})
    optimizer.step(replayed)
    assert optimizer.res.x.tolist() == [1.0, 1.0, 0.0, 0.0]
    replayed.assert_in_place()


def test_complex_parameters() -> None:
    z = nn.Parameter(torch.tensor([1 + 2j], dtype=torch.complex128))
    replayed = Replayed(Instance([z], lambda params: (params[0] - 1j).abs().square().sum()))
    MinimizeWrapper([z], {"method": "BFGS"}).step(replayed)
    np.testing.assert_allclose(z.detach().numpy(), [1j], atol=1e-8)


def test_a_gradient_free_method_needs_none() -> None:
    replayed = Replayed(himmelblau())
    optimizer = MinimizeWrapper(replayed.instance.params, {"method": GRADIENT_FREE[0]})
    optimizer.step(replayed)
    assert replayed.runs == optimizer.res.nfev


CLOSURES: dict[str, Callable[[Tensor], Any]] = {
    "a float": lambda x: float(x.detach().square().sum()),
    "a detached loss": lambda x: x.detach().square().sum(),
}


@pytest.mark.parametrize("kind", CLOSURES)
def test_old_gradients_that_nobody_fills_are_not_taken(kind: str) -> None:
    x = nn.Parameter(torch.ones(3, dtype=torch.float64))
    x.grad = torch.full_like(x, 2.0)
    optimizer = MinimizeWrapper([x], {"method": "BFGS"})
    with pytest.raises(RuntimeError, match=r"called no backward.*tensors that the graph fills"):
        optimizer.step(lambda: CLOSURES[kind](x))
    assert x.grad is None
    assert x.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("spent", [False, True])
def test_a_graph_whose_gradients_are_gone_says_so(spent: bool) -> None:
    replayed = Replayed(himmelblau(), spent=spent)
    for param in replayed.instance.params:
        param.grad = None
    optimizer = MinimizeWrapper(replayed.instance.params, {"method": "BFGS"})
    with pytest.raises(RuntimeError, match="be the tensors that the graph fills"):
        optimizer.step(replayed)


@pytest.mark.parametrize("spent", [False, True])
def test_there_is_no_curvature_in_a_replay(spent: bool) -> None:
    replayed = Replayed(himmelblau(), spent=spent)
    optimizer = MinimizeWrapper(replayed.instance.params, {"method": "Newton-CG"})
    with pytest.raises(RuntimeError, match="replays a captured graph, use a method without Hess"):
        optimizer.step(replayed)
    by_differences = {"method": "Newton-CG", "hess": "2-point"}
    other = Replayed(himmelblau(), spent=spent)
    optimizer = MinimizeWrapper(other.instance.params, by_differences)
    optimizer.step(other)
    assert optimizer.res.fun == pytest.approx(0.0, abs=1e-8)


def test_other_errors_of_backward_are_not_tried_again() -> None:
    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.sum()

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            raise RuntimeError("no room")

    x = nn.Parameter(torch.ones(3))
    x.grad = torch.ones(3)
    runs = 0

    def closure() -> Tensor:
        nonlocal runs
        runs += 1
        return Fails.apply(x)

    with pytest.raises(RuntimeError, match="no room"):
        MinimizeWrapper([x], {"method": "BFGS"}).step(closure)
    assert runs == 1


def test_a_closure_with_gradients_of_its_own_leaves_those_of_before_alone() -> None:
    instance = rosenbrock()
    held = [torch.full_like(param, 7.0) for param in instance.params]
    for param, grad in zip(instance.params, held, strict=True):
        param.grad = grad
    MinimizeWrapper(instance.params, {"method": "BFGS"}).step(instance.closure(1))
    assert all((grad == 7.0).all() for grad in held)
    assert make_bridge(instance.params).has_grads()
