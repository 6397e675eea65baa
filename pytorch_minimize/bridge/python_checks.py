"""What the pure-Python bridge refuses, in the words of the native one."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_DTYPES = {
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex64,
    torch.complex128,
}
_DTYPE_NAMES = "float16, bfloat16, float32, float64, complex64 or complex128"


def check_is_tensor(item: object, position: int) -> None:
    if not isinstance(item, Tensor):
        raise TypeError(
            f"expected a list of tensors, got {type(item).__name__} at position {position}."
        )


def check_can_be_variable(i: int, param: Tensor) -> None:
    if param.dtype not in _DTYPES:
        raise TypeError(
            f"parameter {i} has dtype {_name(param.dtype)}; expected {_DTYPE_NAMES}. "
            "Leave it out of the list, or convert it."
        )
    if param.is_meta:
        raise ValueError(
            f"parameter {i} is on the meta device and has no values; materialise it first."
        )
    if param.layout != torch.strided or param.is_nested:
        raise ValueError(
            f"parameter {i} is not strided; expected a dense tensor (see Tensor.to_dense)."
        )
    if not has_memory(param) or param.is_inference():
        raise ValueError(
            f"parameter {i} is a tensor without ordinary memory of its own (a tensor subclass "
            "such as DTensor, an inference tensor, or inside a function transform); expected a "
            "plain tensor."
        )
    if not param.is_leaf:
        raise ValueError(
            f"parameter {i} is not a leaf tensor; pass the tensor it was computed from, or its "
            "detach()."
        )


def check_no_overlap(params: list[Tensor]) -> None:
    pair = find_overlap(params)
    if pair is None:
        return
    i, j = pair
    if i == j:
        raise ValueError(
            f"parameter {i} of shape {list(params[i].shape)} and strides "
            f"{list(params[i].stride())} overlaps itself in memory; pass a tensor whose elements "
            "are distinct (see Tensor.clone)."
        )
    raise ValueError(
        f"parameters {i} and {j} overlap in memory, so that they are not independent variables; "
        "pass only one of them, or the tensor that both are views of."
    )


def check_unchanged(
    i: int, param: Tensor, shape: torch.Size, dtype: torch.dtype, device: torch.device
) -> None:
    if param.shape != shape:
        raise RuntimeError(
            f"parameter {i} had shape {list(shape)} when the bridge was made and has "
            f"{list(param.shape)} now; make a new optimizer after resizing a parameter."
        )
    if param.dtype != dtype or param.device != device or param.layout != torch.strided:
        raise RuntimeError(
            f"parameter {i} was a plain {_name(dtype)} tensor on {device} when the bridge was made "
            f"and is {_name(param.dtype)} on {param.device} now; make a new optimizer after "
            "converting a parameter."
        )


def check_fits(
    what: str, tensor: Tensor, shape: torch.Size, dtype: torch.dtype, device: torch.device
) -> None:
    if tensor.shape != shape:
        raise ValueError(
            f"{what} has shape {list(tensor.shape)}; expected the parameter's {list(shape)}."
        )
    if tensor.device != device:
        raise ValueError(f"{what} is on {tensor.device}; expected the parameter's {device}.")
    if tensor.dtype not in _DTYPES or tensor.is_complex() != dtype.is_complex:
        raise TypeError(
            f"{what} has dtype {_name(tensor.dtype)}; expected the parameter's {_name(dtype)}."
        )
    if tensor.layout == torch.strided and not has_memory(tensor) and not tensor._is_zerotensor():
        raise ValueError(
            f"{what} is a tensor without ordinary memory of its own; expected a plain tensor."
        )


def check_vector(x: Any, numel: int) -> NDArray[np.float64]:
    """x as an array that torch can read, and that is no view of the parameters."""
    is_float64 = isinstance(x, np.ndarray) and x.dtype == np.dtype(np.float64)
    if not is_float64 or x.shape != (numel,):
        message = f"x must be a float64 array of shape ({numel},), got {_describe(x)}."
        raise ValueError(message) if is_float64 else TypeError(message)
    return np.require(x, requirements=["C", "ALIGNED", "WRITEABLE", "OWNDATA"])


def check_is_vector(x: Any, numel: int, device: torch.device) -> Tensor:
    """x as a tensor that is no view of the parameters."""
    expected = f"x must be a float64 tensor of shape [{numel}] on {device}"
    if not isinstance(x, Tensor):
        raise TypeError(f"{expected}, got {type(x).__name__}.")
    if x.dtype != torch.float64:
        raise TypeError(f"{expected}, got one of dtype {_name(x.dtype)}.")
    if x.shape != (numel,) or x.device != device:
        raise ValueError(f"{expected}, got one of shape {list(x.shape)} on {x.device}.")
    if not has_memory(x) or x._is_zerotensor():
        raise ValueError(f"{expected}, got one without ordinary memory of its own.")
    return x.detach().resolve_neg().clone()


def check_vectors(a: object, b: object) -> None:
    for x in (a, b):
        if not isinstance(x, np.ndarray) or x.dtype != np.dtype(np.float64) or x.ndim != 1:
            raise TypeError(
                "expected two one-dimensional float64 arrays, got "
                f"{_describe(a)} and {_describe(b)}."
            )


def has_memory(tensor: Tensor) -> bool:
    """Whether the tensor's elements are where its data pointer and strides say."""
    dispatches = type(tensor).__torch_dispatch__ is not Tensor.__torch_dispatch__
    if tensor.layout != torch.strided or tensor.is_meta or dispatches:
        return False
    try:
        tensor.data_ptr()
    except RuntimeError:  # inside a function transform
        return False
    return True


def find_overlap(tensors: list[Tensor]) -> tuple[int, int] | None:
    """Two indices of tensors that share a byte, the same twice for one over itself."""
    extents = sorted(
        (str(tensor.device), *_extent(tensor), i)
        for i, tensor in enumerate(tensors)
        if tensor.numel() > 0
    )
    # Each group is a chain of extents that overlap, and almost always one dense tensor.
    group: list[int] = []
    group_device, group_end = "", 0
    for device, begin, end, i in extents:
        if device != group_device or begin >= group_end:
            if pair := _find_overlap_among(tensors, group):
                return pair
            group, group_device, group_end = [], device, end
        group.append(i)
        group_end = max(group_end, end)
    return _find_overlap_among(tensors, group)


def _find_overlap_among(tensors: list[Tensor], group: list[int]) -> tuple[int, int] | None:
    if len(group) == 1 and _is_dense(tensors[group[0]]):
        return None
    used: list[NDArray[np.intp]] = []
    for position, i in enumerate(group):
        addresses = _byte_addresses(tensors[i])
        for earlier, others in zip(group[:position], used, strict=True):
            if np.intersect1d(addresses, others).size:
                return min(earlier, i), max(earlier, i)
        if np.unique(addresses).size < addresses.size:
            return i, i
        used.append(addresses)
    return None


def _extent(tensor: Tensor) -> tuple[int, int]:
    last = sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.stride(), strict=True))
    begin = tensor.data_ptr()
    return begin, begin + (last + 1) * tensor.element_size()


def _is_dense(tensor: Tensor) -> bool:
    order = sorted(range(tensor.dim()), key=tensor.stride, reverse=True)
    return tensor.permute(order).is_contiguous()


def _byte_addresses(tensor: Tensor) -> NDArray[np.intp]:
    addresses: NDArray[np.intp] = np.array([tensor.data_ptr()])
    for n, stride in zip(tensor.shape, tensor.stride(), strict=True):
        steps = np.arange(n) * (stride * tensor.element_size())
        addresses = np.add.outer(addresses, steps).ravel()
    addresses = np.add.outer(addresses, np.arange(tensor.element_size())).ravel()
    return addresses


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _describe(x: object) -> str:
    if not isinstance(x, np.ndarray):
        return type(x).__name__
    return f"an array of shape {x.shape} and dtype {x.dtype}"
