"""What the caller passed, copied for one run, so that scipy does not write into it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse
from scipy.optimize import Bounds, HessianUpdateStrategy, LinearConstraint, NonlinearConstraint
from torch import Tensor

__all__ = ["own_copy"]

_PLAIN = frozenset((str, int, float, bool))
_STATED = (Bounds, LinearConstraint, NonlinearConstraint)


def own_copy(value: Any) -> Any:
    """A copy that scipy may write into (Note [caller's data]): Powell does so into ``direc``.

    Arrays, containers of them, update strategies such as ``BFGS()``, and what scipy's bounds and
    constraints are made of are copied. Callables and random generators are handed on, and so are
    ``args``, which only the user's own callables see.

    Example:
        >>> direc, told = np.eye(2), []
        >>> copied = own_copy({"direc": direc, "args": (told,), "workers": map})
        >>> copied["direc"] is direc, copied["args"][0] is told, copied["workers"] is map
        (False, True, True)
    """
    kind = type(value)
    if value is None or kind in _PLAIN:  # most of them
        return value
    if kind is dict:
        return {name: v if name == "args" else own_copy(v) for name, v in value.items()}
    if kind is list or kind is tuple:
        return kind(own_copy(part) for part in value) if value else kind()
    if isinstance(value, np.ndarray) or scipy.sparse.issparse(value):
        return value.copy()
    if isinstance(value, Tensor):  # numpy sees its memory
        return value.detach().clone()
    if isinstance(value, HessianUpdateStrategy):
        return copy.deepcopy(value)
    if isinstance(value, _STATED):
        twin = copy.copy(value)
        for name, part in vars(value).items():
            setattr(twin, name, own_copy(part))
        return twin
    if isinstance(value, Mapping):
        return {name: v if name == "args" else own_copy(v) for name, v in value.items()}
    if hasattr(value, "__array__") and not isinstance(value, np.generic):
        return copy.deepcopy(value)  # a table of another library, whose memory numpy may see
    return value
