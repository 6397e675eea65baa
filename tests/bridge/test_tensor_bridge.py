"""Flat vectors that stay on the parameters' device: the bits of the arrays, and no way beside."""

from __future__ import annotations

import gc
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import BRIDGES
from emulated import Asked, emulated
from hypothesis import given
from hypothesis import strategies as st
from tensors import assert_same_bits, params, vectors
from torch import Tensor
from traced_operators import Calls

from pytorch_minimize.bridge.make import tensor_bridge
from pytorch_minimize.bridge.python import PythonBridge

every = pytest.mark.parametrize("bridge_class", BRIDGES.values(), ids=BRIDGES)


def copied(tensors: list[Tensor]) -> list[Tensor]:
    made = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    for copy, tensor in zip(made, tensors, strict=True):
        copy.grad = None if tensor.grad is None else tensor.grad.clone()
    return made


def with_grads(*sizes: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    made = [torch.randn(size, dtype=dtype, requires_grad=True) for size in sizes]
    for param in made:
        param.grad = torch.randn_like(param)
    return made


def as_tensor(x: np.ndarray) -> Tensor:
    """In memory of its own, and strided as x is; torch knows no negative strides."""
    if x.strides[0] > 8:
        return torch.from_numpy(np.repeat(x, 2))[::2]
    return torch.from_numpy(x.copy())


@every
@given(tensors=params(), data=st.data())
def test_the_bits_are_those_of_arrays(
    bridge_class: type, tensors: list[Tensor], data: st.DataObject
) -> None:
    oracle, bridge = PythonBridge(copied(tensors)), tensor_bridge(bridge_class(tensors))
    assert bridge.numel == oracle.numel
    assert all(p is q for p, q in zip(bridge.params, tensors, strict=True))

    def same(actual: Tensor, expected: np.ndarray) -> None:
        assert (actual.device.type, actual.requires_grad) == ("cpu", False)
        assert_same_bits(actual.numpy(), expected)

    same(bridge.flatten_params(), oracle.flatten_params())
    same(bridge.flatten_grads(), oracle.flatten_grads())
    same(bridge.flatten([p.grad for p in tensors]), oracle.flatten_grads())
    for actual, expected in [
        (bridge.gradient(), oracle.gradient()),
        (bridge.evaluation(torch.tensor(0.1))[1:3], oracle.gradient()),
    ]:
        same(actual[0], expected[0])
        assert actual[1] is expected[1]

    x = data.draw(vectors(bridge.numel))
    given_x = as_tensor(x)
    kept = given_x.clone()
    places = [p.data_ptr() for p in tensors]
    bridge.load_params(given_x)
    oracle.load_params(x)
    same(bridge.flatten_params(), oracle.flatten_params())
    assert [p.data_ptr() for p in tensors] == places
    assert_same_bits(given_x.numpy().copy(), kept.numpy())
    same(bridge.flatten(bridge.unflatten(given_x)), oracle.flatten_params())
    bridge.load_grads(given_x)
    same(bridge.flatten_grads(), oracle.flatten_params())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_large_vectors(bridge_class: type, dtype: torch.dtype, two_threads: None) -> None:
    tensors = with_grads(300_001, 7, 4097, dtype=dtype)
    oracle, bridge = PythonBridge(tensors), tensor_bridge(bridge_class(tensors))
    x = np.random.default_rng(0).standard_normal(bridge.numel)
    bridge.load_params(torch.from_numpy(x))
    loaded = bridge.flatten_params()
    oracle.load_params(x)
    assert_same_bits(loaded.numpy(), oracle.flatten_params())
    assert_same_bits(bridge.gradient()[0].numpy(), oracle.flatten_grads())
    assert bridge.gradient()[1] is True
    assert tensors[2].grad is not None
    tensors[2].grad[4096] = torch.inf
    assert bridge.gradient()[1] is False


def test_both_kinds_of_vectors_may_take_turns(bridge_class: type) -> None:
    """One bridge beneath, with what a device keeps for either."""
    tensors = with_grads(5, 4100, 3)
    arrays = bridge_class(tensors)
    bridge = tensor_bridge(arrays)
    for step in (1.0, 2.0, 3.0):
        arrays.load_params(np.full(arrays.numel, step))
        assert (bridge.flatten_params() == step).all()
        bridge.load_params(torch.full((arrays.numel,), -step, dtype=torch.float64))
        assert (arrays.flatten_params() == -step).all()
        loss = torch.tensor(step)
        for (value, gradient, finite, _), expected in [
            (arrays.evaluation(loss), arrays.flatten_grads()),
            (bridge.evaluation(loss), arrays.flatten_grads()),
        ]:
            assert (value, finite) == (step, True)
            assert np.array_equal(np.asarray(gradient), expected)
        tensors[2].grad = torch.full_like(tensors[2], torch.nan)
        assert bridge.evaluation(loss)[2] is False
        assert arrays.evaluation(loss)[2] is False
        tensors[2].grad = None
        assert bridge.evaluation(torch.tensor(torch.nan))[2] is True


@pytest.mark.parametrize("numel", [10, 100_000])
def test_a_vector_handed_out_is_never_written_again(bridge_class: type, numel: int) -> None:
    """Note [fresh gradients], by way of views as well."""
    (param,) = with_grads(numel)
    bridge = tensor_bridge(bridge_class([param]))
    held: list[tuple[Tensor, float]] = []
    assert param.grad is not None
    for step in range(20):
        param.grad.fill_(step)
        made = bridge.evaluation(torch.tensor(0.0))[1]
        held.append((made[3:] if step % 2 else made.numpy(), step))
        del made, held[: step % 3]
        assert all((vector == value).all() for vector, value in held)
    vector = held[-1][0]
    del bridge
    gc.collect()
    assert (vector == 19.0).all()


def test_memory_is_recycled_after_the_last_reference() -> None:
    bridge = tensor_bridge(BRIDGES["native"](with_grads(1000)))
    first = bridge.flatten_grads()
    place = first.data_ptr()
    view = first[10:]
    del first
    assert bridge.flatten_grads().data_ptr() != place
    del view
    assert bridge.flatten_grads().data_ptr() == place


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_vectors_are_a_solvers_in_every_mode(bridge_class: type, mode: type) -> None:
    (param,) = with_grads(4)
    bridge = tensor_bridge(bridge_class([param]))
    with mode():
        x, gradient = bridge.flatten_params(), bridge.gradient()[0]
    x.sub_(gradient)  # in place, and outside of the mode
    with mode():
        bridge.load_params(x)
    assert torch.equal(param.detach(), x)
    assert param.requires_grad


def test_x_may_be_of_the_parameters_own_memory(bridge_class: type) -> None:
    memory = torch.arange(10.0, dtype=torch.float64)
    tensor_bridge(bridge_class([memory[5:], memory[:5]])).load_params(memory)
    assert memory.tolist() == [5, 6, 7, 8, 9, 0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "made",
    [
        lambda x: torch.nn.Parameter(x),
        lambda x: x.repeat_interleave(3)[::3],
        lambda x: torch._neg_view(-x),
        lambda x: torch.cat([x[:1], x])[1:],
    ],
    ids=["parameter", "strided", "negative", "offset"],
)
def test_every_float64_vector_is_taken(bridge_class: type, made: Callable[..., Tensor]) -> None:
    tensors = [torch.zeros(2), torch.zeros(3)]
    tensor_bridge(bridge_class(tensors)).load_params(made(torch.arange(5.0).double()))
    assert torch.cat(tensors).tolist() == [0, 1, 2, 3, 4]


BAD_VECTORS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "length": (lambda: torch.ones(4).double(), ValueError, r"got one of shape \[4\] on cpu"),
    "column": (lambda: torch.ones(5, 1).double(), ValueError, r"got one of shape \[5, 1\] on cpu"),
    "float32": (lambda: torch.ones(5), TypeError, "got one of dtype float32"),
    "complex": (lambda: torch.ones(5).cdouble(), TypeError, "got one of dtype complex128"),
    "device": (
        lambda: torch.ones(5, device="meta").double(),
        ValueError,
        r"got one of shape \[5\] on meta",
    ),
    "sparse": (
        lambda: torch.ones(5).double().to_sparse(),
        ValueError,
        "got one without ordinary memory",
    ),
    "zeros": (
        lambda: torch._efficientzerotensor(5, dtype=torch.float64),
        ValueError,
        "got one without ordinary memory of its own",
    ),
    "array": (lambda: np.ones(5), TypeError, "got ndarray"),
    "nothing": (lambda: None, TypeError, "got NoneType"),
}


@pytest.mark.parametrize("case", BAD_VECTORS)
def test_vectors_of_another_kind(bridge_class: type, case: str) -> None:
    made, error, message = BAD_VECTORS[case]
    tensors = [torch.full((2,), 7.0), torch.full((3,), 7.0)]
    bridge = tensor_bridge(bridge_class(tensors))
    for method in (bridge.load_params, bridge.load_grads, bridge.unflatten):
        with pytest.raises(
            error, match=r"^x must be a float64 tensor of shape \[5\] on cpu, " + message
        ):
            method(made())
    assert torch.cat(tensors).tolist() == [7.0] * 5
    assert all(param.grad is None for param in tensors)


def test_parameters_on_several_devices_are_refused() -> None:
    bridge: Any = SimpleNamespace(
        params=[torch.ones(2, device=place) for place in ("meta", "cpu", "meta")]
    )
    with pytest.raises(ValueError, match="the parameters are on cpu and meta, but a flat tensor"):
        tensor_bridge(bridge)


@pytest.mark.parametrize("lane", [-1, 0], ids=["host", "device"])
def test_nothing_crosses_but_two_numbers(lane: int) -> None:
    """Neither way has an operator of torch's, and one transfer is waited for."""
    tensors = with_grads(50, 3, 4097)
    bridge, loss = tensor_bridge(emulated(lane)(tensors)), torch.tensor(0.5)
    x = bridge.flatten_params()
    bridge.evaluation(loss)  # the tables are uploaded
    with Calls() as calls, Asked() as asked:
        bridge.load_params(x)
        bridge.flatten_params()
    assert not calls.counts
    assert asked.of("copies up", "copies down", "waits") == [0, 0, 0]
    with Calls() as calls, Asked() as asked:
        bridge.evaluation(loss)
    on_device = lane == 0
    assert asked.of("copies up", "copies down", "waits") == [0, on_device, on_device]
    assert calls.counts["_local_scalar_dense"] == (not on_device)
