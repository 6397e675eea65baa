"""Whose memory is whose: arrays handed out, parameters written in place, threads."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pytorch_minimize import _C
from pytorch_minimize.bridge.vectors import python_same_values, same_values


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def with_grads(*shapes: tuple[int, ...]) -> list[Tensor]:
    params = [torch.randn(shape, requires_grad=True) for shape in shapes]
    for param in params:
        param.grad = torch.randn_like(param)
    return params


def test_arrays_are_ordinary(bridge_class: type) -> None:
    """Note [fresh gradients]: each belongs to the caller, who may write to it."""
    bridge = bridge_class(with_grads((3,), (2, 2)))
    array = bridge.flatten_grads()
    assert array.flags.c_contiguous
    assert array.flags.writeable
    assert array.flags.aligned
    before = bridge.flatten_grads()
    array[:] = 0.0
    assert np.array_equal(bridge.flatten_grads(), before)


@pytest.mark.parametrize("numel", [10, 100_000])
def test_held_arrays_keep_their_values(bridge_class: type, numel: int) -> None:
    (param,) = with_grads((numel,))
    bridge = bridge_class([param])
    held, copies = [], []
    for step in range(20):
        param.grad.fill_(step)
        held.append(bridge.flatten_grads())
        copies.append(held[-1].copy())
        del held[: step % 3]
        del copies[: step % 3]
        for array, copy in zip(held, copies, strict=True):
            assert np.array_equal(array, copy)


def test_memory_is_recycled_after_the_last_reference() -> None:
    bridge = _C.ParameterBridge(with_grads((1000,)))
    first = bridge.flatten_grads()
    place = address(first)
    second = bridge.flatten_grads()
    assert address(second) != place
    view = first[10:20].reshape(2, 5)
    del first
    assert address(bridge.flatten_grads()) != place  # the view still needs it
    del view
    assert address(bridge.flatten_grads()) == place


def test_release_frees_what_waits_and_spares_what_is_held() -> None:
    bridge = _C.ParameterBridge(with_grads((1000,)))
    held, dropped = bridge.flatten_grads(), bridge.flatten_grads()
    copy = held.copy()
    del dropped
    bridge.release()
    assert np.array_equal(held, copy)
    assert np.array_equal(bridge.flatten_grads(), copy)


def test_arrays_outlive_their_bridge() -> None:
    params = with_grads((1000,))
    bridge = _C.ParameterBridge(params)
    array = bridge.flatten_params()
    del bridge
    gc.collect()
    assert np.array_equal(array, params[0].detach().double().numpy())


def test_writing_bumps_the_version_counter(bridge_class: type) -> None:
    params = with_grads((3,), (2,))
    grad = params[0].grad
    assert grad is not None
    bridge = bridge_class(params)
    versions = [p._version for p in params]
    bridge.flatten_params()
    bridge.flatten_grads()
    assert [p._version for p in params] == versions
    bridge.load_params(np.ones(5))
    assert all(p._version > v for p, v in zip(params, versions, strict=True))
    version = grad._version
    bridge.load_grads(np.ones(5))
    assert grad._version > version


def test_a_graph_over_old_values_is_refused(bridge_class: type) -> None:
    param = torch.ones(3, requires_grad=True)
    loss = (param * param).sum()
    bridge_class([param]).load_params(np.zeros(3))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_every_grad_mode_is_the_same(bridge_class: type, mode: type) -> None:
    param = torch.ones(2, 3).t().requires_grad_()
    bridge = bridge_class([param])
    with mode():
        bridge.load_params(np.arange(6.0))
        assert bridge.flatten_params().tolist() == [0, 1, 2, 3, 4, 5]
        assert bridge.flatten([torch.ones(3, 2)]).tolist() == [1] * 6
        assert not any(t.requires_grad for t in bridge.unflatten(np.ones(6)))
        bridge.load_grads(np.arange(6.0))
    assert param.requires_grad
    assert param.is_leaf
    assert param.grad_fn is None


def test_aliases_see_the_new_values(bridge_class: type) -> None:
    """Note [storages stay]: tied weights, flat views and p.data survive."""
    shared = nn.Linear(3, 3)
    tied = nn.Sequential(shared, nn.Tanh(), shared)
    memory = torch.zeros(12)
    with torch.no_grad():
        shared.weight.set_(memory[:9].view(3, 3))
    data, numpy_view = shared.weight.data, memory.numpy()
    bridge = bridge_class(tied.parameters())
    assert bridge.numel == 12
    bridge.load_params(np.arange(12.0))
    assert tied[2].weight.flatten().tolist() == list(range(9))
    assert data.flatten().tolist() == list(range(9))
    assert numpy_view[:9].tolist() == list(range(9))


def test_x_may_be_a_view_of_the_parameters(bridge_class: type) -> None:
    memory = torch.arange(10.0, dtype=torch.float64)
    params = [memory[5:], memory[:5]]
    bridge_class(params).load_params(memory.numpy())
    assert memory.tolist() == [5, 6, 7, 8, 9, 0, 1, 2, 3, 4]


def test_load_grads_writes_in_place_where_that_is_right(bridge_class: type) -> None:
    names = ["fits", "transposed", "expanded", "shared", "shared too", "graph", "dtype", "none"]
    params = [torch.zeros(2, 2, requires_grad=True) for _ in names]
    grads = dict(zip(names, [torch.zeros(2, 2) for _ in names], strict=True))
    grads["transposed"] = torch.zeros(2, 2).t()
    for param, name in zip(params[:2], names[:2], strict=True):
        param.grad = grads[name]
    bridge = bridge_class(params)
    x = np.arange(float(bridge.numel))
    bridge.load_grads(x)
    assert params[0].grad is grads["fits"]
    assert params[1].grad is grads["transposed"]
    assert np.array_equal(bridge.flatten_grads(), x)

    params[2].grad = torch.zeros(1).expand(2, 2)
    params[3].grad = params[4].grad = grads["shared"]
    params[5].grad = torch.ones(2, 2, requires_grad=True) * 2
    params[6].grad_dtype = None
    params[6].grad = torch.zeros(2, 2, dtype=torch.float64)
    params[7].grad = None
    bridge.load_grads(x)
    assert np.array_equal(bridge.flatten_grads(), x)
    assert all(p.grad is not None and p.grad.dtype == p.dtype for p in params)
    assert not any(p.grad.requires_grad for p in params)


@pytest.mark.parametrize("interleaved", [False, True])
def test_load_grads_writes_into_views_that_are_plainly_apart(
    bridge_class: type, interleaved: bool
) -> None:
    buffer = torch.zeros(4, 2, 3)
    views = list(buffer.unbind(1)) if interleaved else list(buffer[:, 0].split(2))
    params = [torch.zeros(view.shape, requires_grad=True) for view in views]
    for param, view in zip(params, views, strict=True):
        param.grad = view
    bridge = bridge_class(params)
    x = np.arange(float(bridge.numel))
    bridge.load_grads(x)
    assert np.array_equal(bridge.flatten_grads(), x)
    in_place = [p.grad is view for p, view in zip(params, views, strict=True)]
    assert in_place == [not interleaved] * 2


@pytest.mark.parametrize("same", [_C.same_values, python_same_values], ids=["native", "python"])
@pytest.mark.parametrize("numel", [0, 1, 7, 4096, 300_001])
def test_same_values_compares_bits(same, numel: int, two_threads: None) -> None:  # type: ignore[no-untyped-def]
    a = np.linspace(-1.0, 1.0, numel)
    b = a.copy()
    assert same(a, b) is True
    assert same(a, np.repeat(b, 2)[::2]) is True
    assert same(a, np.append(b, 0.0)) is False
    for i in {0, numel // 2, numel - 1} if numel else ():
        b[i] = np.nextafter(a[i], 2.0)
        assert same(a, b) is False
        b[i] = a[i]
    a[:] = np.nan
    assert same(a, a.copy()) is True
    a[:], b[:] = 0.0, -0.0
    assert same(a, b) is (numel == 0)


def test_same_values_is_the_chosen_one() -> None:
    assert same_values in (_C.same_values, python_same_values)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_do_not_change_a_bit(threads: int) -> None:
    params = with_grads((300_007,), (3,), (1001, 33))
    params.append(torch.randn(700, 900).t().requires_grad_())
    bridge = _C.ParameterBridge(params)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        serial = bridge.flatten_params(), bridge.flatten_grads()
        torch.set_num_threads(threads)
        assert np.array_equal(bridge.flatten_params(), serial[0])
        assert np.array_equal(bridge.flatten_grads(), serial[1])
        bridge.load_params(serial[0][::-1])
        assert np.array_equal(bridge.flatten_params(), serial[0][::-1])
    finally:
        torch.set_num_threads(before)


def test_other_python_threads_may_use_the_bridge_at_once() -> None:
    """The GIL is released while large vectors are copied."""
    (param,) = with_grads((200_000,))
    bridge = _C.ParameterBridge([param])
    expected = bridge.flatten_grads().copy()
    wrong = []

    def work() -> None:
        for _ in range(50):
            if not np.array_equal(bridge.flatten_grads(), expected):
                wrong.append(threading.get_ident())

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong
