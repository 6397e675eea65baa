"""Which tensors can be parameters of a flat vector: said once, whichever bridge is made."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from .overlap import find_overlap

__all__ = ["DTYPES", "check_is_tensor", "checked", "dtype_name", "has_memory"]

DTYPES = frozenset(
    (
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
        *(torch.complex64, torch.complex128),
    )
)
_DTYPE_NAMES = "float16, bfloat16, float32, float64, complex64 or complex128"


def checked(params: Iterable[Any]) -> list[Tensor]:
    """The distinct ones of the parameters, all of which can be variables and share no memory.

    >>> x, y = torch.zeros(2), torch.zeros(3)
    >>> checked([x, y, x])
    [tensor([0., 0.]), tensor([0., 0., 0.])]

    Raises:
        TypeError: something that is no tensor, or of a dtype that is no variable's.
        ValueError: an empty list, or a tensor whose elements are not variables where they are.
    """
    params = list(params)
    for position, param in enumerate(params):
        check_is_tensor(param, position)
    distinct = list(dict.fromkeys(params))
    if not distinct:
        raise ValueError("expected at least one parameter, got an empty list.")
    for i, param in enumerate(distinct):
        _check_can_be_variable(i, param)
    pair = find_overlap(distinct)
    if pair is not None:
        raise ValueError(_overlapping(distinct, *pair))
    return distinct


def check_is_tensor(item: object, position: int) -> None:
    if not isinstance(item, Tensor):
        raise TypeError(
            f"expected a list of tensors, got {type(item).__name__} at position {position}."
        )


def _check_can_be_variable(i: int, param: Tensor) -> None:
    if is_lazy(param):
        raise ValueError(
            f"parameter {i} belongs to a lazy module and has no shape yet; "
            "run the model once before making the optimizer."
        )
    if param.dtype not in DTYPES:
        raise TypeError(
            f"parameter {i} has dtype {dtype_name(param.dtype)}; expected {_DTYPE_NAMES}. "
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


def _overlapping(params: list[Tensor], i: int, j: int) -> str:
    if i == j:
        return (
            f"parameter {i} of shape {list(params[i].shape)} and strides "
            f"{list(params[i].stride())} overlaps itself in memory; pass a tensor whose elements "
            "are distinct (see Tensor.clone)."
        )
    return (
        f"parameters {i} and {j} overlap in memory, so that they are not independent variables; "
        "pass only one of them, or the tensor that both are views of."
    )


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
