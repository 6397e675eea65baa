"""The last product of an operator frees its graph as it goes, and is one like any other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from curvature_cases import in_micro_batches, mlp
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from pytorch_minimize.bridge.make import make_bridge
from pytorch_minimize.bridge.python import PythonBridge
from pytorch_minimize.closure.runner import ClosureRunner
from pytorch_minimize.curvature.operator import HessianOperator, make_hessian_operator
from pytorch_minimize.curvature.strategies import make_curvature
from pytorch_minimize.record.profile import Profile

each_bridge = pytest.mark.parametrize("make", [make_bridge, PythonBridge])


def operator_of(make: Callable[[Any], Any], params: list[Tensor], loss: Tensor) -> HessianOperator:
    operator: HessianOperator = make_hessian_operator(make(params))
    operator.add([loss], [None], None, True)
    return operator


@each_bridge
def test_it_has_the_bits_of_a_product(make: Any) -> None:
    instance = mlp()
    v = np.random.default_rng(0).standard_normal(len(instance.x0))
    operators = [operator_of(make, instance.params, instance.loss(instance.params)) for _ in "ab"]
    expected, finite = operators[0].product(v)
    product, also_finite = operators[1].last_product(v)
    assert finite
    assert also_finite
    assert np.array_equal(product, expected)


@each_bridge
def test_it_frees_the_graph(make: Any) -> None:
    w = nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))
    loss = w.exp().sum()
    operator_of(make, [w], loss).last_product(np.ones(2))
    with pytest.raises(RuntimeError, match="a second time"):
        loss.backward()


class GivesItsResult(torch.autograd.Function):
    """exp(x), whose gradient is a result that the graph has saved."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.exp()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # of a sum
        (x,) = ctx.saved_tensors
        result: Tensor = x.exp()
        return result


@each_bridge
@pytest.mark.parametrize("function", [torch.exp, GivesItsResult.apply])
def test_gradients_may_be_written_to(make: Any, function: Any) -> None:
    """What a closure does to ``.grad`` reaches neither the graph nor another parameter's."""
    a = nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))
    b = nn.Parameter(torch.tensor([0.5, 0.25], dtype=torch.float64))
    operator = operator_of(make, [a, b], function(a + b).sum())
    assert a.grad is not None
    assert b.grad is not None
    assert not any(grad.requires_grad for grad in (a.grad, b.grad))
    expected = b.grad.clone()
    a.grad.zero_()
    assert torch.equal(b.grad, expected)
    product, _ = operator.product(np.array([1.0, 0.0, 0.0, 0.0]))
    np.testing.assert_allclose(product, [expected[0], 0.0] * 2, rtol=1e-15)


def peak_bytes(run: Callable[[], object]) -> int:
    run()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run()
    results = profiled.profiler.kineto_results  # type: ignore[union-attr]
    events = [event for event in results.events() if event.name() == "[memory]"]
    changes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return int(np.cumsum(changes).max())


def test_replay_needs_the_memory_of_one_product() -> None:
    """Of four micro-batches; one by torch alone is the measure."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(40, 60), nn.Tanh(), nn.Linear(60, 60), nn.Tanh(), nn.Linear(60, 1)
    )
    inputs, params = torch.randn(4, 50, 40), list(net.parameters())
    bridge = make_bridge(params)
    v = np.ones(bridge.numel)
    vs = bridge.unflatten(v)

    def alone() -> None:
        grads = torch.autograd.grad(net(inputs[0]).square().sum(), params, create_graph=True)
        torch.autograd.grad(grads, params, vs)

    def closure() -> float:
        for batch in inputs:
            net(batch).square().sum().backward()
        return 0.0

    curvature = make_curvature("replay", ClosureRunner(closure, bridge), Profile(), 1)
    curvature.evaluate()
    assert peak_bytes(lambda: curvature.product(v)) <= 1.2 * peak_bytes(alone)


def test_a_graph_that_the_closure_goes_through_again_is_kept() -> None:
    instance = mlp()

    def closure() -> Tensor:
        loss = instance.loss(instance.params)
        (0.25 * loss).backward(retain_graph=True)
        (0.75 * loss).backward()
        return loss

    both = [
        make_curvature("replay", ClosureRunner(f, make_bridge(instance.params)), Profile(), 1)
        for f in (closure, in_micro_batches(instance))
    ]
    v = np.random.default_rng(0).standard_normal(len(instance.x0))
    np.testing.assert_allclose(both[0].product(v)[0], both[1].product(v)[0], atol=1e-12)
