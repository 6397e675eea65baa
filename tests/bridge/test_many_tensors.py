"""Loops over many tensors, which fetch ahead what was seen of them once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pytorch_minimize import _C
from pytorch_minimize.bridge.python import PythonBridge

COUNTS = [1, 8, 9, 16, 24, 25, 60]


def params_of(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(count)
    made = [torch.randn(1 + i % 3, 2, generator=generator) for i in range(count)]
    views = [tensor.t() if i % 5 == 0 else tensor for i, tensor in enumerate(made)]
    return [view.requires_grad_() for view in views]


def give_grads(params: list[Tensor]) -> None:
    """Some dense, some sparse, some expanded, some none."""
    for i, param in enumerate(params):
        dense = torch.full_like(param, i + 0.5)
        kinds = [dense, dense.to_sparse(), torch.tensor(0.5 + i).expand(param.shape), None]
        param.grad = kinds[i % 4]


@pytest.mark.parametrize("count", COUNTS)
def test_the_bits_are_those_of_the_python_bridge(count: int) -> None:
    params = params_of(count)
    native, python = _C.ParameterBridge(params), PythonBridge(params)
    give_grads(params)
    assert np.array_equal(native.flatten_params(), python.flatten_params())
    assert np.array_equal(native.flatten_grads(), python.flatten_grads())
    x = np.arange(float(native.numel))
    native.load_params(x)
    assert np.array_equal(python.flatten_params(), x)
    native.clear_grads()
    assert not any(param.grad is not None for param in params)
    assert not native.flatten_grads().any()


@pytest.mark.parametrize("count", COUNTS)
def test_what_was_seen_may_be_gone(count: int) -> None:
    """Storages that were replaced or moved since, and gradients that come and go."""
    params = params_of(count)
    bridge = _C.ParameterBridge(params)
    for turn in range(3):
        for i, param in enumerate(params):
            if i % 2 == turn % 2:
                param.data = torch.full_like(param, float(i + turn))
                param.grad = None
            else:
                param.grad = torch.full_like(param, float(i - turn))
        assert np.array_equal(bridge.flatten_params(), PythonBridge(params).flatten_params())
        assert np.array_equal(bridge.flatten_grads(), PythonBridge(params).flatten_grads())
        bridge.load_params(np.full(bridge.numel, float(turn)))
        assert all((param == turn).all() for param in params)
