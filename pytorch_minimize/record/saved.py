"""Values that ``torch.load`` reads without trusting the file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["plain_part"]

_ATOMS = (bool, int, float, complex, str, type(None), Tensor)
_NUMBERS = "fciub"


def plain_part(values: Mapping[str, Any]) -> dict[str, Any]:
    """What of a mapping can be saved: numbers, strings, tensors, arrays, and lists of them.

    numpy's numbers become Python's and its arrays tensors, since numpy's classes are not among
    those that ``torch.load`` trusts. Callables and other objects are left out.

    Example:
        >>> plain_part({"gtol": np.float64(0.5), "workers": map, "direc": [np.int64(1)]})
        {'gtol': 0.5, 'direc': [1]}
    """
    plain = {}
    for name, value in values.items():
        try:
            plain[name] = _as_plain(value)
        except TypeError:
            continue
    return plain


def _as_plain(value: Any) -> Any:
    if isinstance(value, np.generic):  # before the atoms: numpy's float64 is a float
        value = value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind in _NUMBERS:
        return torch.tensor(value)
    if isinstance(value, Mapping):
        return plain_part(value)
    if isinstance(value, list):
        return [_as_plain(inner) for inner in value]
    if isinstance(value, tuple):
        return tuple(_as_plain(inner) for inner in value)
    if isinstance(value, _ATOMS):
        return value
    raise TypeError(f"{type(value).__name__} cannot be saved")
