"""What the pure-Python bridge refuses at a crossing, in the words of the native one."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .parameters import DTYPES, dtype_name, has_memory


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
            f"parameter {i} was a plain {dtype_name(dtype)} tensor on {device} when the bridge was "
            f"made and is {dtype_name(param.dtype)} on {param.device} now; make a new optimizer "
            "after converting a parameter."
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
    if tensor.dtype not in DTYPES or tensor.is_complex() != dtype.is_complex:
        raise TypeError(
            f"{what} has dtype {dtype_name(tensor.dtype)}; expected the parameter's "
            f"{dtype_name(dtype)}."
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
        raise TypeError(f"{expected}, got one of dtype {dtype_name(x.dtype)}.")
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


def _describe(x: object) -> str:
    if not isinstance(x, np.ndarray):
        return type(x).__name__
    return f"an array of shape {x.shape} and dtype {x.dtype}"
