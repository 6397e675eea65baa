"""What is asked of flat vectors wherever they lie: the one place that knows what a vector is."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..typing import Array
from . import vectors
from .interface import V

__all__ = ["ARRAYS", "TENSORS", "Space"]


class Space(Protocol[V]):
    """Flat float64 vectors of one kind: arrays of numpy's, or tensors on a device.

    Example:
        >>> ARRAYS.largest(np.array([1.0, -3.0]))
        3.0
        >>> TENSORS.distance(torch.zeros(2), torch.tensor([3.0, 4.0]))
        5.0
    """

    def as_vector(self, x: Any) -> V:
        """x as a vector; solvers of the user's own may pass lists."""

    def same(self, a: V, b: V) -> bool:
        """Whether two vectors have the same length and the same bits (Note [compare by value])."""

    def copy(self, v: V) -> V:
        """A vector of its own memory."""

    def has_nan(self, v: V) -> bool:
        """Whether one element is NaN."""

    def distance(self, a: V, b: V) -> float:
        """Their Euclidean distance."""

    def largest(self, v: V) -> float:
        """max |v_i| of a vector without NaN; 0 if it is empty."""

    def to_host(self, v: V) -> Array:
        """As an array; the vector itself where it is one."""


class _Arrays:
    """:class:`Space` of numpy's arrays, by the extension where it is built."""

    as_vector = staticmethod(vectors.as_vector)
    same = staticmethod(vectors.same_values)
    distance = staticmethod(vectors.distance)
    largest = staticmethod(vectors.largest)

    def copy(self, v: Array) -> Array:
        return v.copy()

    def has_nan(self, v: Array) -> bool:
        return bool(np.isnan(v).any())

    def to_host(self, v: Array) -> Array:
        return v


class _Tensors:
    """:class:`Space` of tensors; each number that it gives waits for their device."""

    def as_vector(self, x: Any) -> Tensor:
        return torch.as_tensor(x, dtype=torch.float64).reshape(-1)

    def same(self, a: Tensor, b: Tensor) -> bool:
        # By bits, as arrays are: NaN equals itself, and -0 is not 0.
        return a is b or torch.equal(a.view(torch.int64), b.view(torch.int64))

    def copy(self, v: Tensor) -> Tensor:
        return v.clone()

    def has_nan(self, v: Tensor) -> bool:
        return bool(v.isnan().any())

    def distance(self, a: Tensor, b: Tensor) -> float:
        return float(torch.dist(a, b))

    def largest(self, v: Tensor) -> float:
        return float(torch.linalg.vector_norm(v, torch.inf)) if v.numel() else 0.0

    def to_host(self, v: Tensor) -> Array:
        array: Array = v.detach().cpu().numpy()
        return array


ARRAYS: Space[Array] = _Arrays()
"""Vectors are arrays on the host, as scipy's solvers have them."""

TENSORS: Space[Tensor] = _Tensors()
"""Vectors are tensors on the parameters' device, as our own solvers have them."""
