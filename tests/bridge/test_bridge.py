"""Values across the bridge are exact, and the same for every bridge."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import BRIDGES
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tensors import DTYPES, assert_same_bits, params, random_tensor, reals, vectors
from torch import Tensor

from pytorch_minimize import _C
from pytorch_minimize.bridge.make import make_bridge
from pytorch_minimize.bridge.python import PythonBridge

every = pytest.mark.parametrize("bridge_class", BRIDGES.values(), ids=BRIDGES)


def rounded(x: NDArray[np.float64], tensors: list[Tensor]) -> NDArray[np.float64]:
    """x as it is once each part has been through its tensor's dtype."""
    parts, begin = [], 0
    for tensor in tensors:
        reals_each = tensor.numel() * (2 if tensor.is_complex() else 1)
        part = torch.from_numpy(x[begin : begin + reals_each].copy())
        parts.append(part.to(tensor.real.dtype if tensor.is_complex() else tensor.dtype))
        begin += reals_each
    return np.concatenate([part.double().numpy() for part in parts])


@every
@given(params=params())
def test_flatten_is_row_major_and_exact(bridge_class: type, params: list[Tensor]) -> None:
    bridge = bridge_class(params)
    expected = [reals(p) for p in params]
    grads = [
        np.zeros(len(e)) if p.grad is None else reals(p.grad)
        for p, e in zip(params, expected, strict=True)
    ]
    assert bridge.numel == sum(map(len, expected))
    assert_same_bits(bridge.flatten_params(), np.concatenate(expected))
    assert_same_bits(bridge.flatten_grads(), np.concatenate(grads))
    assert_same_bits(bridge.flatten([p.grad for p in params]), np.concatenate(grads))
    gradient, finite = bridge.gradient()
    assert_same_bits(gradient, np.concatenate(grads))
    assert finite is bool(np.isfinite(gradient).all())


@every
@given(params=params(), data=st.data())
def test_load_rounds_once_and_in_place(
    bridge_class: type, params: list[Tensor], data: st.DataObject
) -> None:
    bridge = bridge_class(params)
    x = data.draw(vectors(bridge.numel))
    before = x.copy()
    places = [(p.data_ptr(), p.stride()) for p in params]
    bridge.load_params(x)
    assert [(p.data_ptr(), p.stride()) for p in params] == places
    assert_same_bits(x, before)
    expected = rounded(x, params)
    assert_same_bits(np.concatenate([reals(p) for p in params]), expected)
    assert_same_bits(bridge.flatten_params(), expected)

    new = bridge.unflatten(x)
    assert_same_bits(bridge.flatten(new), expected)
    for tensor, param in zip(new, params, strict=True):
        assert (tensor.shape, tensor.dtype, tensor.device) == (
            param.shape,
            param.dtype,
            param.device,
        )
        assert tensor.is_contiguous()
        assert not tensor.requires_grad
        assert not tensor.is_conj()


@every
@given(params=params(), data=st.data())
def test_load_grads_is_the_inverse_of_flatten_grads(
    bridge_class: type, params: list[Tensor], data: st.DataObject
) -> None:
    bridge = bridge_class(params)
    x = data.draw(vectors(bridge.numel))
    bridge.load_grads(x)
    assert bridge.has_grads()
    assert_same_bits(bridge.flatten_grads(), rounded(x, params))
    for param in params:
        assert param.grad is not None
        assert (param.grad.dtype, param.grad.shape) == (param.dtype, param.shape)
    bridge.clear_grads()
    assert not bridge.has_grads()
    assert all(param.grad is None for param in params)


@given(params=params(), data=st.data())
def test_both_bridges_give_the_same_bits(params: list[Tensor], data: st.DataObject) -> None:
    native, python = _C.ParameterBridge(params), PythonBridge(params)
    assert native.numel == python.numel
    assert_same_bits(native.flatten_params(), python.flatten_params())
    assert_same_bits(native.flatten_grads(), python.flatten_grads())
    x = data.draw(vectors(native.numel))
    native.load_params(x)
    loaded = native.flatten_params()
    python.load_params(x)
    assert_same_bits(loaded, python.flatten_params())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_every_half_converts_as_torch_does(dtype: torch.dtype) -> None:
    halves = torch.arange(2**16).to(torch.int32).to(torch.int16).view(dtype)
    bridge = _C.ParameterBridge([halves.clone()])
    assert_same_bits(bridge.flatten_params(), halves.double().numpy())
    # On and next to every value, and half way between neighbours, where rounding decides.
    finite = np.sort(halves.double().numpy()[halves.isfinite().numpy()])
    middle = (finite[:-1] + finite[1:]) / 2
    x = np.concatenate([f(v) for v in (finite, middle) for f in (_down, _same, _up)])
    x = np.concatenate([x, [np.inf, -np.inf, np.nan, 1e300, -1e300, 5e-324, 65520.0, 65519.999]])
    param = torch.zeros(len(x), dtype=dtype)
    _C.ParameterBridge([param]).load_params(x)
    assert_same_bits(param.double().numpy(), torch.from_numpy(x).to(dtype).double().numpy())


def _down(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.nextafter(x, -np.inf)


def _same(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return x


def _up(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.nextafter(x, np.inf)


LAYOUTS = ("one", "many", "transposed", "channels_last", "conjugate")
# Every kernel has every dtype in every layout; devices differ in how many tensors are whose, and
# the Python bridge leaves it all to torch.
LARGE = [
    *(("native", dtype, layout) for dtype in DTYPES for layout in LAYOUTS),
    *(("device", dtype, layout) for dtype in DTYPES for layout in LAYOUTS[:3]),
    *(("device", dtype, layout) for dtype in DTYPES[2::2] for layout in LAYOUTS[3:]),
    *(("devices and host", dtype, "many") for dtype in DTYPES),
    *(("python", torch.float32, layout) for layout in LAYOUTS),
]


@pytest.mark.parametrize(("bridge", "dtype", "layout"), LARGE, ids=str)
def test_large_vectors_are_as_small_ones(
    bridge: str, dtype: torch.dtype, layout: str, two_threads: None
) -> None:
    """Every piece, thread and vector register boundary, at a size that uses them."""
    tensor = random_tensor((64, 5, 41, 23), dtype, 0)
    made = {
        "one": lambda: [tensor],
        "many": lambda: [torch.zeros(0), *tensor.flatten()[1:].split(997)],
        "transposed": lambda: [tensor.view(320, -1).t()],
        "channels_last": lambda: [tensor.to(memory_format=torch.channels_last)],
        "conjugate": lambda: [tensor.conj()],
    }[layout]()
    large = BRIDGES[bridge](made)
    flat = large.flatten_params()
    wide = [t.to(torch.complex128 if dtype.is_complex else torch.float64) for t in made]
    expected = np.concatenate(
        [np.ascontiguousarray(w.resolve_conj().numpy()).view(np.float64).ravel() for w in wide]
    )
    assert_same_bits(flat, expected)
    x = flat[::-1].copy()
    large.load_params(x)
    assert_same_bits(large.flatten_params(), rounded(x, made))
    x[:] = 0.0
    large.load_grads(x)
    assert large.gradient()[1] is True
    for bad in (0, len(x) // 2 + 1, len(x) - 1):
        x[bad] = np.nan if bad else np.inf
        large.load_grads(x)
        assert large.gradient()[1] is False
        x[bad] = 0.0


def test_same_tensor_twice_is_one_variable(bridge_class: type) -> None:
    a, b = torch.ones(3), torch.zeros(2)
    bridge = bridge_class([a, b, a, b])
    assert bridge.numel == 5
    assert [p is q for p, q in zip(bridge.params, (a, b), strict=True)] == [True, True]


def test_params_may_come_from_a_generator(bridge_class: type) -> None:
    assert bridge_class(torch.ones(n) for n in range(3)).numel == 3


@pytest.mark.filterwarnings("ignore:Sparse C.. tensor support is in beta:UserWarning")
@pytest.mark.parametrize(
    "layout", [torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch._mkldnn], ids=str
)
def test_flatten_densifies(bridge_class: type, layout: torch.layout) -> None:
    dense = torch.tensor([[0.0, 1.0, 0.0], [2.0, 0.0, 3.0]])
    tensor = dense.to_mkldnn() if layout == torch._mkldnn else dense.to_sparse(layout=layout)
    assert bridge_class([dense]).flatten([tensor]).tolist() == [0.0, 1.0, 0.0, 2.0, 0.0, 3.0]


def test_entries_of_a_sparse_gradient_add_up(bridge_class: type) -> None:
    weight = torch.zeros(3, 2, requires_grad=True)
    torch.nn.functional.embedding(torch.tensor([1, 1, 2]), weight, sparse=True).sum().backward()
    assert weight.grad is not None
    assert weight.grad.is_sparse
    assert bridge_class([weight]).flatten_grads().tolist() == [0, 0, 2, 2, 1, 1]


def test_gradients_of_another_dtype_are_taken(bridge_class: type) -> None:
    param = torch.zeros(2, requires_grad=True)
    param.grad_dtype = None
    param.grad = torch.tensor([1 / 3, 2 / 3], dtype=torch.float64)
    assert bridge_class([param]).flatten_grads().tolist() == [1 / 3, 2 / 3]


@pytest.mark.parametrize("choice", ["native", "python"])
def test_make_bridge_obeys_the_environment(choice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTORCH_MINIMIZE_BRIDGE", choice)
    made = make_bridge([torch.ones(3)])
    assert isinstance(made, {"native": _C.ParameterBridge, "python": PythonBridge}[choice])


def test_make_bridge_refuses_an_unknown_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTORCH_MINIMIZE_BRIDGE", "fast")
    with pytest.raises(ValueError, match=r"must be 'native' or 'python', got 'fast'"):
        make_bridge([torch.ones(3)])
