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
from pytorch_minimize.run import bridged


def captured(params: list[nn.Parameter], method: str, **given: Any) -> MinimizeWrapper:
    return MinimizeWrapper(params, arguments(method) | given, captured_graph=True)


@pytest.mark.parametrize("spent", [False, True])
@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize("method", ["BFGS", "SLSQP"])
def test_the_path_is_that_of_a_plain_closure(method: str, adds: bool, spent: bool) -> None:
    ours, plain = rosenbrock(), rosenbrock()
    replayed = Replayed(ours, adds=adds, spent=spent)
    optimizer = captured(ours.params, method)
    expected = MinimizeWrapper(plain.params, arguments(method))
    for _ in range(2):
        optimizer.step(replayed)
        expected.step(plain.closure(1))
        assert np.array_equal(optimizer.res.x, expected.res.x)
        assert optimizer.res.nfev == expected.res.nfev
        assert np.array_equal(ours.grad, plain.grad)
        replayed.assert_in_place()


def test_no_run_is_spent_on_it() -> None:
    replayed = Replayed(himmelblau())
    optimizer = captured(replayed.instance.params, "BFGS")
    optimizer.step(replayed)
    assert replayed.runs == optimizer.res.nfev


def test_as_a_device_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridged, "make_bridge", emulated(0))
    replayed = Replayed(himmelblau(), spent=True)
    optimizer = captured(replayed.instance.params, "L-BFGS-B")
    optimizer.step(replayed)
    assert optimizer.res.fun == pytest.approx(0.0, abs=1e-8)
    replayed.assert_in_place()


def test_a_start_at_the_minimum() -> None:
    """A gradient of zeros cannot be told from one that nobody wrote, which is said once."""
    x = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    replayed = Replayed(Instance([x], lambda params: params[0].square().sum()))
    optimizer = captured([x], "BFGS")
    with pytest.warns(RuntimeWarning, match="left zeros in .grad. Unless the start is a station"):
        optimizer.step(replayed)
    assert optimizer.res.nit == 0
    optimizer.step(replayed)
    replayed.assert_in_place()


def test_some_parameters_have_no_gradient() -> None:
    x, unused = (nn.Parameter(torch.ones(2, dtype=torch.float64)) for _ in range(2))
    replayed = Replayed(Instance([x], lambda params: params[0].square().sum()))
    optimizer = captured([unused, x], "BFGS")
    optimizer.step(replayed)
    assert optimizer.res.x.tolist() == [1.0, 1.0, 0.0, 0.0]
    replayed.assert_in_place()


def test_complex_parameters() -> None:
    z = nn.Parameter(torch.tensor([1 + 2j], dtype=torch.complex128))
    replayed = Replayed(Instance([z], lambda params: (params[0] - 1j).abs().square().sum()))
    captured([z], "BFGS").step(replayed)
    np.testing.assert_allclose(z.detach().numpy(), [1j], atol=1e-8)


def test_a_gradient_free_method_needs_no_word_of_it() -> None:
    replayed = Replayed(himmelblau())
    optimizer = MinimizeWrapper(replayed.instance.params, {"method": GRADIENT_FREE[0]})
    optimizer.step(replayed)
    assert replayed.runs == optimizer.res.nfev


CLOSURES: dict[str, Callable[[Tensor], Any]] = {
    "a float": lambda x: float(x.detach().square().sum()),
    "a detached loss": lambda x: x.detach().square().sum(),
}


@pytest.mark.parametrize("kind", CLOSURES)
@pytest.mark.parametrize("had_grads", [False, True])
def test_without_the_word_old_gradients_are_not_taken(had_grads: bool, kind: str) -> None:
    x = nn.Parameter(torch.ones(3, dtype=torch.float64))
    x.grad = torch.full_like(x, 2.0) if had_grads else None
    optimizer = MinimizeWrapper([x], {"method": "BFGS"})
    with pytest.raises(RuntimeError, match="called no backward") as raised:
        optimizer.step(lambda: CLOSURES[kind](x))
    assert ("captured_graph=True" in str(raised.value)) is had_grads
    assert x.grad is None
    assert x.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("kind", CLOSURES)
def test_with_the_word_gradients_that_nobody_fills_are_told(kind: str) -> None:
    x = nn.Parameter(torch.ones(3, dtype=torch.float64))
    x.grad = torch.full_like(x, 2.0)
    with pytest.warns(RuntimeWarning, match="or replays no graph; then leave captured_graph out"):
        captured([x], "BFGS").step(lambda: CLOSURES[kind](x))


SPOILT: dict[str, Callable[[nn.Parameter], Tensor | None]] = {
    "none": lambda param: None,
    "sparse": lambda param: torch.zeros_like(param).to_sparse(),
    "requires grad": lambda param: torch.zeros_like(param, requires_grad=True),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_gradients_that_no_graph_fills_are_refused_before_anything_runs(kind: str) -> None:
    replayed = Replayed(himmelblau())
    for param in replayed.instance.params:
        param.grad = SPOILT[kind](param)
    groups = [{"params": replayed.instance.params, "bounds": (50.0, 60.0)}]
    optimizer = MinimizeWrapper(groups, {"method": "L-BFGS-B"}, captured_graph=True)
    before = replayed.instance.x
    for call in (optimizer.step, optimizer.hessian):
        with pytest.raises(RuntimeError, match="the tensors that the graph fills in"):
            call(replayed)
    assert replayed.runs == 0
    assert np.array_equal(replayed.instance.x, before)


@pytest.mark.parametrize("spent", [False, True])
def test_there_is_no_curvature_in_a_replay(spent: bool) -> None:
    replayed = Replayed(himmelblau(), spent=spent)
    optimizer = captured(replayed.instance.params, "Newton-CG")
    for call in (optimizer.step, optimizer.hessian):
        with pytest.raises(RuntimeError, match="graph has no curvature: use a method without Hes"):
            call(replayed)
        replayed.assert_in_place()
    other = Replayed(himmelblau(), spent=spent)
    optimizer = captured(other.instance.params, "Newton-CG", hess="2-point")
    optimizer.step(other)
    assert optimizer.res.fun == pytest.approx(0.0, abs=1e-8)


@pytest.mark.parametrize("zeroes", [False, True])
def test_a_closure_that_is_no_replay_may_say_that_it_is(zeroes: bool) -> None:
    """Its backward() adds to the zeros, or makes gradients of its own."""
    ours, plain = rosenbrock(), rosenbrock()
    for param in ours.params:
        param.grad = torch.ones_like(param)
    optimizer = captured(ours.params, "BFGS")

    def closure() -> Tensor:
        if zeroes:
            optimizer.zero_grad()
        loss = ours.loss(ours.params)
        loss.backward()
        return loss

    optimizer.step(closure)
    expected = MinimizeWrapper(plain.params, {"method": "BFGS"})
    expected.step(plain.closure(1))
    assert np.array_equal(optimizer.res.x, expected.res.x)


def test_a_closure_with_gradients_of_its_own_leaves_those_of_before_alone() -> None:
    instance = rosenbrock()
    held = [torch.full_like(param, 7.0) for param in instance.params]
    for param, grad in zip(instance.params, held, strict=True):
        param.grad = grad
    MinimizeWrapper(instance.params, {"method": "BFGS"}).step(instance.closure(1))
    assert all((grad == 7.0).all() for grad in held)
    assert make_bridge(instance.params).has_grads()
