"""What the bridges refuse, in the same words, and that nothing is changed by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from conftest import BRIDGES
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from pytorch_minimize import _C
from pytorch_minimize.bridge.make import make_bridge
from pytorch_minimize.bridge.overlap import are_apart
from pytorch_minimize.bridge.parameters import checked


def fake() -> Tensor:
    with FakeTensorMode():
        return torch.ones(2)


def made_in_inference_mode() -> Tensor:
    with torch.inference_mode():
        return torch.ones(2)


flat = torch.zeros(12)

complex32 = pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental:UserWarning")

BAD_PARAMS: dict[str, tuple[Callable[[], list[Any]], type[Exception], str]] = {
    "none": (lambda: [], ValueError, "expected at least one parameter, got an empty list"),
    "no tensor": (lambda: [flat, 1.0], TypeError, "a list of tensors, got float at position 1"),
    "integer": (
        lambda: [flat, torch.ones(2, dtype=torch.int64)],
        TypeError,
        "parameter 1 has dtype int64; expected float16, bfloat16, float32, float64, complex64 or ",
    ),
    "bool": (lambda: [torch.ones(2) > 0], TypeError, "parameter 0 has dtype bool"),
    "float8": (
        lambda: [torch.ones(2).to(torch.float8_e5m2)],
        TypeError,
        "parameter 0 has dtype float8_e5m2",
    ),
    "complex32": (
        lambda: [torch.ones(2, dtype=torch.complex32)],
        TypeError,
        "parameter 0 has dtype complex32",
    ),
    "meta": (
        lambda: [torch.ones(2, device="meta")],
        ValueError,
        "parameter 0 is on the meta device and has no values",
    ),
    "sparse": (lambda: [torch.eye(2).to_sparse()], ValueError, "parameter 0 is not strided"),
    "fake": (lambda: [fake()], ValueError, "parameter 0 is a tensor without ordinary memory"),
    "inference": (
        lambda: [made_in_inference_mode()],
        ValueError,
        "parameter 0 is a tensor without ordinary memory",
    ),
    "non-leaf": (
        lambda: [flat, torch.ones(2, requires_grad=True) * 2],
        ValueError,
        "parameter 1 is not a leaf tensor; pass the tensor it was computed from, or its detach",
    ),
    "expanded": (
        lambda: [torch.ones(1).expand(3)],
        ValueError,
        r"parameter 0 of shape \[3\] and strides \[0\] overlaps itself in memory",
    ),
    "windows": (
        lambda: [flat.unfold(0, 3, 2)],
        ValueError,
        r"parameter 0 of shape \[5, 3\] and strides \[2, 1\] overlaps itself in memory",
    ),
    "same memory": (
        lambda: [torch.ones(3), flat, flat.detach()],
        ValueError,
        "parameters 1 and 2 overlap in memory",
    ),
    "shared tail": (lambda: [flat[4:], flat[:5]], ValueError, "parameters 0 and 1 overlap"),
    "interleaved": (
        lambda: [flat[::2], flat[1::2], flat[::3]],
        ValueError,
        "parameters 0 and 2 overlap",
    ),
    "seen as another dtype": (
        lambda: [flat[1:3], flat.view(torch.complex64)[1:]],
        ValueError,
        "parameters 0 and 1 overlap",
    ),
    "real part": (
        lambda: [(z := torch.zeros(3, dtype=torch.complex64)), z.real],
        ValueError,
        "parameters 0 and 1 overlap",
    ),
}


@complex32
@pytest.mark.parametrize("case", BAD_PARAMS)
def test_parameters_that_cannot_be_variables(case: str) -> None:
    make, error, message = BAD_PARAMS[case]
    for bridge_class in BRIDGES.values():
        with pytest.raises(error, match=message):
            bridge_class(make())


@complex32
def test_what_is_refused_is_never_plain() -> None:
    """In C++ nothing is said of it, so that nothing else is looked at where it is."""
    for case, (make, error, message) in BAD_PARAMS.items():
        if case == "no tensor":
            with pytest.raises(error, match=message):
                _C.are_plain(make())
        else:
            assert _C.are_plain(make()) is False, case


@pytest.mark.parametrize(
    ("make", "plain"),
    [
        (lambda: [torch.zeros(3), torch.zeros(2, 3).t(), torch.tensor(1.0)], True),
        (lambda: [flat[:6], flat[6:]], True),
        (lambda: [flat.view(3, 4)[:, :2]], True),
        (lambda: [torch.zeros(2, 1).expand(2, 1), torch.zeros(1, 3, 2)[:, :, :1]], True),
        (lambda: [flat[::2], flat[1::2]], False),
        (lambda: [torch.as_strided(flat, (2, 2), (3, 1))], True),
        (lambda: [torch.as_strided(flat, (2, 3), (3, 2))], False),
        (lambda: [(x := torch.zeros(3)), x], False),
        (lambda: [torch.zeros(0)], False),
    ],
    ids=[*("usual", "halves", "columns", "ones", "interleaved", "gaps", "odd", "twice", "empty")],
)
def test_what_is_plain(make: Callable[[], list[Tensor]], plain: bool) -> None:
    assert _C.are_plain(make()) is plain
    assert checked(make())
    assert not plain or are_apart(make())


@pytest.mark.parametrize(
    "make",
    [
        lambda: [flat[::2], flat[1::2]],
        lambda: [flat.view(3, 4)[:, :2], flat.view(3, 4)[:, 2:]],
        lambda: [flat.view(3, 4).t()[1:], flat.view(3, 4).t()[:1]],
        lambda: [flat[:6], flat[6:]],
        lambda: list(torch.zeros(3, dtype=torch.complex64).view(torch.float32).view(3, 2).t()),
        lambda: [torch.zeros(0), torch.zeros(0), torch.zeros(3, 0).expand(4, 3, 0)],
        lambda: [torch.as_strided(flat, (2, 2), (3, 1))],
        lambda: [torch.zeros(1).expand(1)],
    ],
    ids=["interleaved", "columns", "rows", "halves", "real and imaginary", "empty", "gaps", "one"],
)
def test_views_of_distinct_elements_are_variables(
    bridge_class: type, make: Callable[[], list[Tensor]]
) -> None:
    params = make()
    bridge = bridge_class(params)
    x = np.arange(bridge.numel, dtype=np.float64)
    bridge.load_params(x)
    assert bridge.flatten_params().tolist() == x.tolist()


BAD_VECTORS = {
    "length": (np.ones(4), ValueError, r"got an array of shape \(4,\) and dtype float64"),
    "column": (np.ones((5, 1)), ValueError, r"got an array of shape \(5, 1\)"),
    "scalar": (np.array(1.0), ValueError, r"got an array of shape \(\) and"),
    "float32": (
        np.ones(5, np.float32),
        TypeError,
        r"got an array of shape \(5,\) and dtype float32",
    ),
    "integer": (np.ones(5, np.int64), TypeError, r"got an array of shape \(5,\) and dtype int64"),
    "long double": (
        np.ones(5, np.longdouble),
        TypeError,
        r"got an array of shape \(5,\) and dtype float128",
    ),
    "byte order": (np.ones(5, ">f8"), TypeError, r"got an array of shape \(5,\) and dtype >f8"),
    "list": ([1.0] * 5, TypeError, "got list"),
    "tensor": (torch.ones(5, dtype=torch.float64), TypeError, "got Tensor"),
    "nothing": (None, TypeError, "got NoneType"),
}


@pytest.mark.parametrize("method", ["load_params", "load_grads", "unflatten"])
def test_vectors_of_another_kind(bridge_class: type, method: str) -> None:
    params = [torch.full((2,), 7.0), torch.full((3,), 7.0)]
    bridge = bridge_class(params)
    for x, error, message in BAD_VECTORS.values():
        with pytest.raises(error, match=r"x must be a float64 array of shape \(5,\), " + message):
            getattr(bridge, method)(x)
    assert torch.cat(params).tolist() == [7.0] * 5
    assert all(param.grad is None for param in params)


def swap_data(param: Tensor, data: Tensor) -> None:
    param.data = data


CHANGED: dict[str, tuple[Callable[[Tensor], object], str]] = {
    "resized": (
        lambda p: swap_data(p, torch.zeros(5)),
        r"parameter 1 had shape \[3\] when the bridge was made and has \[5\] now; make a new opt",
    ),
    "reshaped": (lambda p: swap_data(p, torch.zeros(1, 3)), r"has \[1, 3\] now"),
    "converted": (
        lambda p: swap_data(p, torch.zeros(3).double()),
        "was a plain float32 tensor on cpu when the bridge was made and is float64 on cpu now",
    ),
}


@pytest.mark.parametrize("case", CHANGED)
def test_parameters_changed_since(bridge_class: type, case: str) -> None:
    change, message = CHANGED[case]
    first, second = torch.full((2,), 7.0), torch.zeros(3)
    bridge = bridge_class([first, second])
    change(second)
    x = np.ones(5)
    for call in (
        bridge.flatten_params,
        bridge.flatten_grads,
        lambda: bridge.load_params(x),
        lambda: bridge.load_grads(x),
    ):
        with pytest.raises(RuntimeError, match=message):
            call()
    assert first.tolist() == [7.0, 7.0]
    assert first.grad is None


def test_parameters_whose_memory_was_freed() -> None:
    param = torch.ones(4)
    bridge = _C.ParameterBridge([param])
    param.untyped_storage().resize_(0)
    message = r"parameter 0 of shape \[4\] has a storage of only 0 bytes"
    with pytest.raises(RuntimeError, match=message):
        bridge.load_params(np.ones(4))
    with pytest.raises(RuntimeError, match=message):
        bridge.flatten_params()
    with pytest.raises(RuntimeError, match=message):
        _C.ParameterBridge([param])


def test_memory_and_strides_may_change(bridge_class: type) -> None:
    param = torch.zeros(2, 3)
    bridge = bridge_class([param])
    param.data = torch.zeros(3, 2).t()
    bridge.load_params(np.arange(6.0))
    assert param.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert bridge.flatten_params().tolist() == [0, 1, 2, 3, 4, 5]


BAD_TENSORS: dict[str, tuple[Callable[[], list[Any]], type[Exception], str]] = {
    "count": (
        lambda: [None],
        ValueError,
        "one tensor for each of the 2 distinct parameters, got 1",
    ),
    "no tensor": (
        lambda: [None, 1],
        TypeError,
        "expected a list of tensors, got int at position 1",
    ),
    "shape": (
        lambda: [None, torch.ones(3, 2)],
        ValueError,
        r"the tensor of parameter 1 has shape \[3, 2\]; expected the parameter's \[2, 3\]",
    ),
    "device": (
        lambda: [None, torch.ones(2, 3, device="meta")],
        ValueError,
        "the tensor of parameter 1 is on meta; expected the parameter's cpu",
    ),
    "integer": (
        lambda: [torch.ones(2, dtype=torch.int32), None],
        TypeError,
        "the tensor of parameter 0 has dtype int32; expected the parameter's float32",
    ),
    "complex": (
        lambda: [torch.ones(2, dtype=torch.complex64), None],
        TypeError,
        "the tensor of parameter 0 has dtype complex64; expected the parameter's float32",
    ),
    "fake": (
        lambda: [fake(), None],
        ValueError,
        "the tensor of parameter 0 is a tensor without ordinary memory of its own",
    ),
}


def test_tensors_that_do_not_fit(bridge_class: type) -> None:
    bridge = bridge_class([torch.zeros(2), torch.zeros(2, 3)])
    for make, error, message in BAD_TENSORS.values():
        with pytest.raises(error, match=message):
            bridge.flatten(make())


def test_gradients_that_do_not_fit(bridge_class: type) -> None:
    param = torch.zeros(3, requires_grad=True)
    bridge = bridge_class([param])
    param.data = torch.zeros(2)
    param.grad = torch.zeros(2)
    param.data = torch.zeros(3)
    for call in (bridge.flatten_grads, bridge.gradient):
        with pytest.raises(
            ValueError, match=r"the gradient of parameter 0 has shape \[2\]; expected .* \[3\]"
        ):
            call()
    bridge.load_grads(np.ones(3))  # replaces it
    assert param.grad.tolist() == [1, 1, 1]


def test_make_bridge_wants_a_list() -> None:
    with pytest.raises(TypeError, match="expected a list of tensors, got a single Tensor"):
        make_bridge(torch.ones(3))
    with pytest.raises(TypeError, match="expected a list of tensors, got a single NoneType"):
        make_bridge(None)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature:UserWarning")
def test_make_bridge_refuses_lazy_modules() -> None:
    module = torch.nn.LazyLinear(2)
    with pytest.raises(ValueError, match="parameter 0 belongs to a lazy module and has no shape"):
        make_bridge(module.parameters())


@pytest.mark.parametrize("name", ["native", "python"])
def test_same_values_wants_vectors(name: str) -> None:
    from pytorch_minimize.bridge.vectors import python_same_values

    same_values = {"native": _C.same_values, "python": python_same_values}[name]
    for bad in (1.0, np.ones(3, np.float32), np.ones((3, 1))):
        with pytest.raises(
            TypeError, match="expected two one-dimensional float64 arrays, got an ar"
        ):
            same_values(np.ones(3), bad)
