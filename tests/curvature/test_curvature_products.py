"""Hv and H are those of `torch.func.hessian`, whatever the loss, the closure and the strategy."""

from __future__ import annotations

import functools
import itertools

import numpy as np
import pytest
import torch
from curvature_cases import CASES, Case
from emulated import EMULATED
from instance import Array

from pytorch_minimize.bridge.interface import Bridge
from pytorch_minimize.bridge.make import make_bridge
from pytorch_minimize.bridge.python import PythonBridge
from pytorch_minimize.closure.runner import ClosureRunner
from pytorch_minimize.curvature.dense import identity_rows, symmetrise
from pytorch_minimize.curvature.strategies import ClosureCurvature, make_curvature
from pytorch_minimize.record.profile import Profile
from pytorch_minimize.settings import Strategy

BRIDGES = {"native": make_bridge, "python": PythonBridge} | EMULATED
STRATEGIES: tuple[Strategy, ...] = ("graph", "replay")


@functools.cache
def exact(case: Case) -> Array:
    """The dense Hessian by `torch.func`."""
    instance = case.make()
    return instance.hess(instance.x0)


def make(
    case: Case, strategy: Strategy, bridge: str = "native", block_bytes: int = 1 << 26
) -> tuple[Bridge, ClosureCurvature]:
    instance = case.make()
    made = BRIDGES[bridge](instance.params)
    runner = ClosureRunner(case.closure(instance), made)
    return made, make_curvature(strategy, runner, Profile(), block_bytes)


def assert_equal(case: Case, got: Array, expected: Array) -> None:
    scale = max(1.0, np.abs(exact(case)).max())
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, expected, rtol=0, atol=case.tolerance * scale)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_products(case: Case, strategy: Strategy) -> None:
    for bridge, evaluated in itertools.product(BRIDGES, (True, False)):
        made, curvature = make(case, strategy, bridge)
        if evaluated:
            curvature.evaluate()
        # Small integers: exact in the dtypes of the case that asks for exactness.
        for v in np.random.default_rng(0).integers(-2, 3, size=(3, made.numel)).astype(np.float64):
            product, finite = curvature.product(v)
            assert finite
            assert_equal(case, product, exact(case) @ v)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_dense(case: Case, strategy: Strategy) -> None:
    for bridge, block_bytes in (("native", 1), ("native", 1 << 14), ("python", 1 << 10)):
        made, curvature = make(case, strategy, bridge, block_bytes)
        hessian, finite = curvature.products(identity_rows(made.numel), made.numel)
        assert finite
        assert_equal(case, hessian, exact(case))
        halves, finite = curvature.hessian()
        assert finite
        assert_equal(case, symmetrise(halves), exact(case))


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradient_is_left_in_grad(case: Case, strategy: Strategy) -> None:
    instance = case.make()
    bridge = make_bridge(instance.params)
    runner = ClosureRunner(case.closure(instance), bridge)
    value = runner.value_and_gradient()
    grad = bridge.flatten_grads()
    curvature = make_curvature(strategy, runner, Profile(), 1)
    assert curvature.value is None
    curvature.product(np.ones(bridge.numel))
    assert curvature.value == value
    np.testing.assert_allclose(bridge.flatten_grads(), grad, rtol=1e-13, atol=1e-13)


def test_products_are_fresh_arrays() -> None:
    made, curvature = make(CASES[0], "graph")
    first, _ = curvature.product(np.ones(made.numel))
    kept = first.copy()
    second, _ = curvature.product(np.arange(made.numel, dtype=np.float64))
    assert np.array_equal(first, kept)
    assert not np.shares_memory(first, second)


def test_hooks_run() -> None:
    """A hook that masks the gradient confines the Hessian to what is left."""
    w = torch.nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))
    mask = torch.tensor([1.0, 0.0], dtype=torch.float64)
    w.register_hook(lambda grad: grad * mask)
    runner = ClosureRunner(lambda: (w**3).sum() + w.prod(), make_bridge([w]))
    curvature = make_curvature("graph", runner, Profile(), 1)
    for hessian, _ in (curvature.products(identity_rows(2), 2), curvature.hessian()):
        assert np.array_equal(hessian, [[6.0, 0.0], [0.0, 0.0]])


def test_parameters_written_to_are_noticed() -> None:
    instance = CASES[0].make()
    bridge = make_bridge(instance.params)
    runner = ClosureRunner(instance.closure(1), bridge)
    curvature = make_curvature("graph", runner, Profile(), 1)
    curvature.product(np.ones(bridge.numel))
    bridge.load_params(instance.x0)
    with pytest.raises(RuntimeError, match="parameter 0 was written to since its Hessian"):
        curvature.product(np.ones(bridge.numel))
