"""The only place that knows what a vector is: an array of numpy's, or a tensor on its device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..bridge.interface import V
from ..bridge.vectors import largest
from ..typing import Array

__all__ = ["ARRAYS", "ArraySpace", "Space", "TensorSpace"]


class Space(Protocol[V]):
    """What solvers do with flat vectors of shape (n,).

    A *scalar* is a float in numpy and a tensor without dimensions on a device, where to read it
    would be to wait: solvers put all that they want of one evaluation into one :meth:`scalars`.

    Attributes:
        waits: whether reading a scalar means waiting for a device.
    """

    waits: bool

    def size(self, v: V) -> int: ...

    def dot(self, a: V, b: V) -> Any:
        """a'b, a scalar."""

    def norm(self, v: V, order: float = 2.0) -> Any:
        """The norm of that order, a scalar: inf is max |v_i|, -inf is min |v_i|."""

    def stepped(self, x: V, step: float, p: V) -> V:
        """x + step p, a new vector."""

    def combined(self, coefficients: Sequence[float], vectors: Sequence[V]) -> V:
        """The sum of c_i v_i, a new vector."""

    def scalars(self, values: Sequence[Any]) -> V:
        """Scalars as a vector, without waiting."""

    def copy(self, v: V) -> V: ...

    def array(self, v: V) -> Array:
        """v as an array on the host."""


class ArraySpace:
    """numpy's arrays."""

    waits = False

    def size(self, v: Array) -> int:
        return v.size

    def dot(self, a: Array, b: Array) -> float:
        return float(np.dot(a, b))

    def norm(self, v: Array, order: float = 2.0) -> float:
        if math.isinf(order):
            return largest(v) if order > 0 else float(np.abs(v).min())
        return float(np.sum(np.abs(v) ** order) ** (1.0 / order))

    def stepped(self, x: Array, step: float, p: Array) -> Array:
        return x + step * p

    def combined(self, coefficients: Sequence[float], vectors: Sequence[Array]) -> Array:
        total = coefficients[0] * vectors[0]
        for coefficient, vector in zip(coefficients[1:], vectors[1:], strict=True):
            total += coefficient * vector
        return total

    def scalars(self, values: Sequence[Any]) -> Array:
        return np.array(values, dtype=np.float64)

    def copy(self, v: Array) -> Array:
        return v.copy()

    def array(self, v: Array) -> Array:
        return v


class TensorSpace:
    """float64 tensors, on one device."""

    def __init__(self, device: torch.device | str) -> None:
        self.device = torch.device(device)
        self.waits = self.device.type != "cpu"

    def size(self, v: Tensor) -> int:
        return v.numel()

    def dot(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.dot(a, b)

    def norm(self, v: Tensor, order: float = 2.0) -> Tensor:
        norm: Tensor = torch.linalg.vector_norm(v, order)
        return norm

    def stepped(self, x: Tensor, step: float, p: Tensor) -> Tensor:
        return torch.add(x, p, alpha=step)

    def combined(self, coefficients: Sequence[float], vectors: Sequence[Tensor]) -> Tensor:
        total = torch.mul(vectors[0], coefficients[0])
        for coefficient, vector in zip(coefficients[1:], vectors[1:], strict=True):
            total.add_(vector, alpha=coefficient)
        return total

    def scalars(self, values: Sequence[Any]) -> Tensor:
        return torch.stack(list(values))

    def copy(self, v: Tensor) -> Tensor:
        return v.clone()

    def array(self, v: Tensor) -> Array:
        return v.cpu().numpy()


ARRAYS = ArraySpace()
