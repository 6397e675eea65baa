"""Graphs live as long as their point and no longer, and no run leaks into the next."""

from __future__ import annotations

import gc
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from curvature_cases import in_micro_batches, mlp
from instance import Instance
from problems import rosenbrock
from torch import Tensor, nn
from traced import LIVE, traced_rosenbrock

from pytorch_minimize.bridge.make import make_bridge
from pytorch_minimize.closure.runner import ClosureRunner
from pytorch_minimize.curvature.strategies import make_curvature
from pytorch_minimize.optim import MinimizeWrapper
from pytorch_minimize.record.profile import Profile

both = pytest.mark.parametrize("strategy", ["graph", "replay"])
# By products, by dense Hessians, and the one that also asks at points that it has left.
each_kind = pytest.mark.parametrize("method", ["trust-ncg", "trust-exact", "trust-constr"])


@pytest.fixture(scope="module", autouse=True)
def _no_garbage_collector() -> Iterator[None]:
    """What is freed only by the collector holds a model's memory for long."""
    gc.collect()
    gc.freeze()  # a collection here and there below need not go through what torch has loaded
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()


def start() -> nn.Parameter:
    return nn.Parameter(torch.tensor([-1.2, 1.0, 0.5, 2.0], dtype=torch.float64))


@both
@each_kind
def test_one_graph_at_a_time(method: str, strategy: Any) -> None:
    x = start()

    def closure() -> Tensor:
        assert not LIVE
        loss = traced_rosenbrock(x)
        loss.backward()
        return loss

    MinimizeWrapper([x], {"method": method}, curvature=strategy).step(closure)
    assert not LIVE


@both
@each_kind
def test_an_exception_drops_the_graph(method: str, strategy: Any) -> None:
    x, calls = start(), 0

    def closure() -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyError("mine")
        return traced_rosenbrock(x)

    optimizer = MinimizeWrapper([x], {"method": method}, curvature=strategy)
    with pytest.raises(KeyError, match="mine"):
        optimizer.step(closure)
    assert not LIVE
    assert traced_rosenbrock(x) <= traced_rosenbrock(start())
    optimizer.step(closure)
    assert optimizer.res.success


class Failing(torch.autograd.Function):
    """Its backward bears no graph."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        if torch.is_grad_enabled():
            raise KeyError("mine")
        return 2 * ctx.saved_tensors[0] * grads[0]


def failing(x: Tensor) -> Tensor:
    return Failing.apply(x).sum()  # type: ignore[no-any-return, no-untyped-call]


def undifferentiable(x: Tensor) -> Tensor:
    return torch.segment_reduce(x, "sum", lengths=torch.tensor([x.numel()])).sum()


@both
@pytest.mark.parametrize(("part", "error"), [(failing, KeyError), (undifferentiable, RuntimeError)])
def test_an_exception_in_a_product_drops_the_graph(part: Any, error: Any, strategy: Any) -> None:
    x = start()
    optimizer = MinimizeWrapper([x], {"method": "trust-ncg"}, curvature=strategy)
    with pytest.raises(error):
        optimizer.step(lambda: traced_rosenbrock(x) + part(x))
    assert not LIVE


@both
@each_kind
def test_stop_iteration_drops_the_graph(method: str, strategy: Any) -> None:
    x = start()

    def callback(xk: Any, *_: Any) -> None:
        raise StopIteration

    arguments = {"method": method, "callback": callback}
    optimizer = MinimizeWrapper([x], arguments, curvature=strategy)
    optimizer.step(lambda: traced_rosenbrock(x))
    assert not optimizer.res.success
    assert optimizer.res.nit == 1
    assert not LIVE


def test_replay_frees_each_micro_batch_as_it_goes() -> None:
    w = nn.Parameter(torch.ones(3, dtype=torch.float64))
    freed = 0

    def closure() -> None:
        nonlocal freed
        for _ in range(3):
            loss = (w.sin() ** 2).sum()
            loss.backward()
            with pytest.raises(RuntimeError, match="second time"):
                torch.autograd.grad(loss, w)
            freed += 1
        return loss

    runner = ClosureRunner(closure, make_bridge([w]))
    make_curvature("replay", runner, Profile(), 1).product(np.ones(3))
    assert freed == 3


def test_replay_keeps_a_graph_that_the_closure_retains() -> None:
    w = nn.Parameter(torch.ones(3, dtype=torch.float64))

    def closure() -> Tensor:
        shared = w.sin()
        (shared**2).sum().backward(retain_graph=True)
        (shared**3).sum().backward()
        return (shared**2).sum() + (shared**3).sum()

    runner = ClosureRunner(closure, make_bridge([w]))
    products = [
        make_curvature(strategy, runner, Profile(), 1).product(np.ones(3))[0]
        for strategy in ("graph", "replay")
    ]
    np.testing.assert_allclose(products[1], products[0], rtol=1e-14)


@both
def test_memory_is_flat_over_products(strategy: Any) -> None:
    n = 100_000
    w = nn.Parameter(torch.linspace(0, 1, n, dtype=torch.float64))
    runner = ClosureRunner(lambda: (w.sin() ** 2).sum(), make_bridge([w]))
    curvature = make_curvature(strategy, runner, Profile(), 1)
    v = np.ones(n)

    def tensors() -> int:
        return sum(issubclass(type(o), Tensor) for o in gc.get_objects())

    for _ in range(2):
        curvature.product(v)
    before, peak = tensors(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(200):
        curvature.product(v)
    assert tensors() == before
    # 200 leaked vectors would be 160 MB.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 40_000  # kB


@both
def test_memory_is_flat_over_steps(strategy: Any) -> None:
    instance = rosenbrock()
    optimizer = MinimizeWrapper(
        instance.params, {"method": "trust-krylov", "options": {"maxiter": 3}}, curvature=strategy
    )

    def objects() -> int:
        gc.collect()
        return len(gc.get_objects())

    for _ in range(5):
        optimizer.step(instance.closure(1))
    before = objects()
    for _ in range(50):
        optimizer.step(instance.closure(1))
    # The history grows by a few rows a step, plain numbers.
    assert objects() - before < 100


@both
def test_threads_do_not_meet(strategy: Any) -> None:
    """Captures are per thread: runs side by side give what they give one by one."""

    def run(instance: Instance) -> list[float]:
        arguments = {"method": "trust-ncg", "options": {"maxiter": 4}}
        optimizer = MinimizeWrapper(instance.params, arguments, curvature=strategy)
        optimizer.step(in_micro_batches(instance))
        return [optimizer.res.fun, optimizer.res.nfev, *optimizer.res.x]

    expected = run(mlp())
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, [mlp() for _ in range(4)])) == [expected] * 4
