"""What is asked of arrays as flat vectors; of vectors of any kind, see `space.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy.optimize import Bounds
from torch import Tensor

from ..extension import native
from ..typing import Array
from ..typing import Array as Vector
from .interface import V
from .python_checks import check_vectors

__all__ = [
    "as_vector",
    "clip",
    "combined",
    "compare_and_measure",
    "curvature",
    "distance",
    "inwards",
    "largest",
    "python_combined",
    "python_compare_and_measure",
    "python_curvature",
    "python_distance",
    "python_largest",
    "python_same_values",
    "same_values",
]

_FLOAT64 = np.dtype(np.float64)


def as_vector(x: Any) -> Array:
    """x as a float64 vector; solvers of the user's own may pass lists."""
    if type(x) is np.ndarray and x.dtype is _FLOAT64 and x.ndim == 1:
        return x
    if isinstance(x, np.ndarray) and x.ndim == 1 and x.dtype == _FLOAT64:
        return x
    return np.asarray(x, dtype=np.float64).reshape(-1)


def clip(x: V, bounds: Any) -> V:
    """x, an array or a tensor, inside bounds in any of scipy's forms; None for no bound."""
    if bounds is None:
        return x
    if not isinstance(bounds, Bounds):
        pairs = [(-np.inf if a is None else a, np.inf if b is None else b) for a, b in bounds]
        bounds = Bounds(*np.array(pairs, dtype=np.float64).T)
    found: Any = x
    if isinstance(x, Tensor):
        low, high = (torch.as_tensor(b, device=x.device) for b in (bounds.lb, bounds.ub))
        found = torch.minimum(torch.maximum(x, low), high)
    else:
        found = np.clip(found, bounds.lb, bounds.ub)
    clipped: V = found
    return clipped


def inwards(gradient: V, x: V, bounds: Bounds) -> V:
    """The gradient, cut to where a step against it leaves the bounds, as L-BFGS-B projects it.

    Not x less a point that is cut: where x is large, that rounds to zero.
    """
    found: Any = gradient
    if isinstance(x, Tensor):
        low, high = (torch.as_tensor(b, device=x.device) for b in (bounds.lb, bounds.ub))
        found = torch.minimum(torch.maximum(found, x - high), x - low)
    else:
        found = np.clip(found, x - bounds.ub, x - bounds.lb)
    projected: V = found
    return projected


def python_same_values(a: Array, b: Array) -> bool:
    """Whether two float64 vectors have the same length and the same bits."""
    check_vectors(a, b)
    return np.array_equal(
        np.ascontiguousarray(a).view(np.int64), np.ascontiguousarray(b).view(np.int64)
    )


def python_distance(a: Array, b: Array) -> float:
    """The Euclidean distance of two vectors."""
    return float(np.linalg.norm(a - b))


def python_compare_and_measure(x: Array, known: Array, before: Array) -> tuple[bool, float]:
    """Whether x has the bits of ``known``, and its Euclidean distance from ``before``."""
    return python_same_values(x, known), python_distance(x, before)


def python_largest(v: Array) -> float:
    """max |v_i| without a temporary of v's size; 0 for an empty one."""
    return max(float(v.max()), -float(v.min())) if v.size else 0.0


def python_combined(coefficients: Sequence[float], vectors: Sequence[Array]) -> Array:
    """The sum of c_i v_i, which are added in their order."""
    total = coefficients[0] * vectors[0]
    for coefficient, vector in zip(coefficients[1:], vectors[1:], strict=True):
        total += coefficient * vector
    return total


def python_curvature(
    product: Array, p: Array, g: Array, before: Array
) -> tuple[Array, float, float, float, float]:
    """w = product + p, and p'y, y'w, y'y and g'w, y being g - before."""
    w, y = product + p, g - before
    return w, float(p @ y), float(y @ w), float(y @ y), float(g @ w)


same_values: Callable[[Vector, Vector], bool] = (
    python_same_values if native is None else native.same_values
)
"""Whether two float64 vectors have the same length and the same bits."""

distance: Callable[[Vector, Vector], float] = python_distance if native is None else native.distance
"""The Euclidean distance of two float64 vectors."""

compare_and_measure: Callable[[Vector, Vector, Vector], tuple[bool, float]] = (
    python_compare_and_measure if native is None else native.compare_and_measure
)
"""Whether x has the bits of ``known``, and its Euclidean distance from ``before``, in one pass."""

largest: Callable[[Vector], float] = python_largest if native is None else native.largest
"""max |v_i| of a vector without NaN; 0 if it is empty."""

combined: Callable[[Sequence[float], Sequence[Vector]], Vector] = (
    python_combined if native is None else native.combined
)
"""The sum of c_i v_i, a new vector."""

curvature: Callable[[Vector, Vector, Vector, Vector], tuple[Vector, float, float, float, float]] = (
    python_curvature if native is None else native.curvature
)
"""w = product + p, and p'y, y'w, y'y and g'w, y being g - before, in one pass."""
