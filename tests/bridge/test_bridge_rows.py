"""Several vectors at once, and Hessian products, for either kind of vector."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import BRIDGES
from tensors import assert_same_bits, random_tensor
from torch import Tensor

from pytorch_minimize.bridge.make import tensor_bridge
from pytorch_minimize.curvature.operator import make_hessian_operator


def test_products_are_those_of_arrays(bridge_class: type) -> None:
    params = [torch.randn(3, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    arrays = bridge_class(params)
    bridge = tensor_bridge(arrays)

    def loss() -> Tensor:  # the last parameter is not in it
        return (params[0] ** 4).sum() * params[1].exp().sum()

    flat, there = make_hessian_operator(arrays), make_hessian_operator(bridge)
    v = np.random.default_rng(0).standard_normal((4, 9))
    for row in v:
        expected, finite = flat.product(row)
        actual, there_finite = there.product(torch.from_numpy(row))
        assert_same_bits(actual.numpy(), expected)
        assert there_finite is finite is True
        if not flat.gradients:
            flat.add([loss()], [None])
            there.add([loss()], [None])
    for here, elsewhere in zip(
        flat.unpack_rows(v), there.unpack_rows(torch.from_numpy(v)), strict=True
    ):
        assert torch.equal(here, elsewhere)


def test_rows_are_the_vectors_one_by_one(bridge_class: type) -> None:
    tensors = [random_tensor(shape, torch.float32, 0) for shape in ((2, 3), (), (0,), (4,))]
    arrays = bridge_class([tensor.clone() for tensor in tensors])
    bridge = tensor_bridge(arrays)
    v = random_tensor((5, bridge.numel), torch.float64, 1)
    stacks = bridge.unflatten_rows(v)
    assert [tuple(stack.shape) for stack in stacks] == [(5, *t.shape) for t in tensors]
    for i, row in enumerate(v):
        for stack, tensor in zip(stacks, bridge.unflatten(row), strict=True):
            assert torch.equal(stack[i].nan_to_num(), tensor.nan_to_num())
    assert [stack.shape[0] for stack in bridge.unflatten_rows(v[:0])] == [0] * 4
    out, array = torch.empty_like(v), np.empty(v.shape)
    finite = bridge.flatten_rows([*stacks[:3], None], out)
    assert arrays.flatten_rows([*stacks[:3], None], array) is finite is False
    assert_same_bits(out.numpy(), array)
    for i, row in enumerate(out):
        expected = bridge.flatten([*(stack[i] for stack in stacks[:3]), None])
        assert_same_bits(row.numpy(), expected.numpy())
    assert bridge.flatten_rows([None] * 4, out) is True
    assert not out.any()


@pytest.mark.parametrize(
    "out",
    [torch.zeros(2, 4).double(), torch.zeros(2, 5), torch.zeros(5, 2).double().t()],
    ids=["length", "dtype", "order"],
)
def test_rows_of_another_kind(out: Tensor) -> None:
    bridge = tensor_bridge(BRIDGES["native"]([torch.zeros(5)]))
    with pytest.raises(
        ValueError, match=r"expected a contiguous float64 tensor of shape \[rows, 5"
    ):
        bridge.flatten_rows([None], out)
