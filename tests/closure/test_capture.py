"""Closures that do more than one backward(): curvature is of what they return, or refused."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import threadpoolctl
import torch
from problems import rosenbrock
from torch import Tensor
from torch.autograd import backward as imported_by_name
from torch.utils.checkpoint import checkpoint

from pytorch_minimize.closure import backward_calls
from pytorch_minimize.closure.backward_calls import capturing
from pytorch_minimize.optim import MinimizeWrapper

STRATEGIES = ("graph", "replay")
CURVED = ("Newton-CG", "trust-ncg", "trust-krylov", "trust-exact", "dogleg", "trust-constr")


def parameter() -> Tensor:
    return torch.tensor([2.0, -1.0], dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("method", ["trust-ncg", "trust-exact"])
def test_a_model_fitted_inside_the_closure(method: str, strategy: Any) -> None:
    """The inner fit has leaves of its own, which its backward() must fill at every run."""
    x = parameter()

    def closure() -> Tensor:
        w = torch.zeros(2, dtype=torch.float64, requires_grad=True)
        inner = torch.optim.SGD([w], lr=0.5)
        for _ in range(3):
            inner.zero_grad()
            (w - 1).square().sum().backward()
            inner.step()
        return (x - w.detach()).square().sum() + x.pow(4).sum()

    expected = torch.full((2,), 0.5, dtype=torch.float64)  # of 2 (x - 1) + 4 x^3
    optimizer = MinimizeWrapper([x], {"method": method}, curvature=strategy)
    optimizer.step(closure)
    assert optimizer.res.nit > 1
    slope = 2 * (x.detach() - 1) + 4 * x.detach() ** 3
    assert slope.abs().max() < 1e-3
    assert (x.detach() - expected).abs().max() < 0.2


def _thrown_away(x: Tensor) -> Tensor:
    (100 * x.square()).sum().backward()
    x.grad = None
    loss = x.square().sum()
    loss.backward()
    return loss


def _imported(x: Tensor) -> Tensor:
    first, second = x.square().sum(), x.pow(4).sum()
    first.backward()
    imported_by_name(second)
    return (first + second).detach()


def _clipped(x: Tensor) -> Tensor:
    loss = x.pow(4).sum()
    loss.backward()
    torch.nn.utils.clip_grad_norm_([x], 1e-3)
    return loss


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("closure", [_thrown_away, _imported, _clipped])
def test_gradients_that_are_not_those_captured_are_refused(
    closure: Callable[[Tensor], Tensor], strategy: Any
) -> None:
    x = parameter()
    optimizer = MinimizeWrapper([x], {"method": "Newton-CG"}, curvature=strategy)
    with pytest.raises(RuntimeError, match="backward"):
        optimizer.step(lambda: closure(x))
    assert x.tolist() == [2.0, -1.0]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_one_graph_walked_twice_by_inputs(strategy: Any) -> None:
    a, b = parameter(), parameter()

    def closure() -> Tensor:
        loss = (a.square() * (1 + b.square())).sum() + b.pow(4).sum()
        loss.backward(inputs=[a], retain_graph=True)
        loss.backward(inputs=[b])
        return loss

    optimizer = MinimizeWrapper([a, b], {"method": "trust-ncg"}, curvature=strategy)
    optimizer.step(closure)
    assert optimizer.res.fun < 1e-6


def test_create_graph_is_refused_with_what_to_do() -> None:
    x = parameter()

    def closure() -> Tensor:
        loss = x.pow(4).sum()
        loss.backward(create_graph=True)
        return loss

    with pytest.raises(RuntimeError, match=r"create_graph.*torch\.autograd\.grad"):
        MinimizeWrapper([x], {"method": "Newton-CG"}).step(closure)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing(reentrant: bool, strategy: Any) -> None:
    """Recomputed activations are exact, or refused where torch cannot differentiate twice."""
    torch.manual_seed(0)
    inputs, targets = torch.randn(20, 3).double(), torch.randn(20, 1).double()
    first, last = torch.nn.Linear(3, 4).double(), torch.nn.Linear(4, 1).double()
    params = [*first.parameters(), *last.parameters()]
    optimizer = MinimizeWrapper(
        params, {"method": "trust-ncg", "options": {"maxiter": 5}}, curvature=strategy
    )

    def loss(hidden: Tensor) -> Tensor:
        value = (last(hidden) - targets).square().mean()
        value.backward()
        return value

    def checkpointed() -> Tensor:
        leaf = inputs.clone().requires_grad_()
        return loss(checkpoint(lambda x: first(x).tanh(), leaf, use_reentrant=reentrant))

    if reentrant:
        with pytest.raises(RuntimeError, match="use_reentrant=False"):
            optimizer.step(checkpointed)
        return
    start = [p.detach().clone() for p in params]
    optimizer.step(checkpointed)
    fun, nfev = optimizer.res.fun, optimizer.res.nfev
    with torch.no_grad():
        for p, value in zip(params, start, strict=True):
            p.copy_(value)
    optimizer.step(lambda: loss(first(inputs).tanh()))
    assert (optimizer.res.nfev, optimizer.res.fun) == (nfev, pytest.approx(fun, rel=1e-12))


def test_dogleg_where_the_hessian_is_zero() -> None:
    x = torch.tensor([30.0, -40.0], dtype=torch.float64, requires_grad=True)
    optimizer = MinimizeWrapper([x], {"method": "dogleg", "options": {"gtol": 1e-6}})
    optimizer.step(lambda: torch.nn.functional.huber_loss(x, torch.zeros(2).double()))
    assert optimizer.res.success
    assert x.abs().max() < 1e-5


def test_autocast_around_the_step_sees_the_parameters_move() -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)
    inputs, targets = torch.randn(16, 4), torch.randn(16, 1)
    optimizer = MinimizeWrapper(model.parameters(), {"method": "Nelder-Mead"}, max_evaluations=200)
    losses = []

    def closure() -> Tensor:
        loss = (model(inputs).float() - targets).square().mean()
        losses.append(loss.item())
        return loss

    with torch.autocast("cpu", torch.bfloat16):
        optimizer.step(closure)
    assert len(set(losses)) > 20


def test_scipys_threads_are_given_back_by_steps_in_two_threads() -> None:
    def number() -> list[int]:
        pools = threadpoolctl.threadpool_info()
        return [pool["num_threads"] for pool in pools if "scipy.libs" in pool["filepath"]]

    before = number()
    meet = threading.Barrier(2, timeout=30)

    def run() -> None:
        instance = rosenbrock()
        closure, first = instance.closure(1), [True]

        def meeting() -> Tensor:
            if first.pop() if first else False:
                meet.wait()
            return closure()

        MinimizeWrapper(instance.params, {"method": "L-BFGS-B"}).step(meeting)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert number() == before


@pytest.mark.parametrize("jac", [False, "2-point"])
def test_methods_that_need_a_gradient_refuse_to_go_without(jac: Any) -> None:
    for method in CURVED[:-1]:
        with pytest.raises(ValueError, match=rf"{method} needs a gradient"):
            MinimizeWrapper([parameter()], {"method": method, "jac": jac})


def test_parameters_without_elements_are_refused() -> None:
    with pytest.raises(ValueError, match="no elements"):
        MinimizeWrapper([torch.zeros(0, requires_grad=True)], {"method": "CG"})


def test_a_refused_step_leaves_no_trace_in_the_state() -> None:
    x = parameter()
    optimizer = MinimizeWrapper([x], {"method": "CG"})
    with pytest.raises(TypeError, match="return the loss"):
        optimizer.step(lambda: None)
    state = optimizer.state_dict()
    assert state["state"] == {}
    assert state["run"]["loss"] is None


@pytest.mark.parametrize("where", ["lock", "listener"])
def test_an_interrupt_on_the_way_in_leaves_torchs_backward(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = []

    class Lock:
        def __enter__(self) -> None:
            pass

        def __exit__(self, *_: object) -> None:
            times.append(None)
            if len(times) == 1:
                raise KeyboardInterrupt

    class Capture(backward_calls._Capture):
        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value)
            if value is not None and not times:
                times.append(None)
                raise KeyboardInterrupt

    if where == "lock":
        monkeypatch.setattr(backward_calls, "_patch_lock", Lock())
    else:
        monkeypatch.setattr(backward_calls, "_capture", Capture())
    with pytest.raises(KeyboardInterrupt), capturing(lambda call: None):
        pass
    assert times
    assert torch.autograd.backward is backward_calls._original_backward
    assert backward_calls._capture.listener is None
    assert not backward_calls._patch_users
