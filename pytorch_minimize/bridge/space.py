"""What is asked of flat vectors wherever they lie: the one place that knows what a vector is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..typing import Array
from . import vectors
from .interface import V

__all__ = ["ARRAYS", "ArraySpace", "Space", "TensorSpace"]


class Space(Protocol[V]):
    """Flat float64 vectors of one kind, of shape (n,): arrays of numpy's, or a device's tensors.

    A *scalar* is a float for arrays and a tensor without dimensions on a device, where to read it
    would be to wait: solvers put all that they want of one evaluation into one :meth:`scalars`.

    Attributes:
        waits: whether reading a scalar means waiting for a device.

    Example:
        >>> ARRAYS.largest(np.array([1.0, -3.0]))
        3.0
        >>> TensorSpace().distance(torch.zeros(2), torch.tensor([3.0, 4.0]))
        5.0
    """

    waits: bool

    def as_vector(self, x: Any) -> V:
        """x as a vector; solvers of the user's own may pass lists."""

    def size(self, v: V) -> int:
        """n."""

    def same(self, a: V, b: V) -> bool:
        """Whether two vectors have the same length and the same bits (Note [compare by value])."""

    def copy(self, v: V) -> V:
        """A vector of its own memory."""

    def to_host(self, v: V) -> Array:
        """As an array; the vector itself where it is one."""

    def has_nan(self, v: V) -> bool:
        """Whether one element is NaN."""

    def distance(self, a: V, b: V) -> float:
        """Their Euclidean distance."""

    def compare_and_measure(self, x: V, known: V, before: V) -> tuple[bool, float]:
        """Whether x has the bits of ``known``, and its distance from ``before``, in one pass."""

    def largest(self, v: V) -> float:
        """max |v_i| of a vector without NaN; 0 if it is empty."""

    def dot(self, a: V, b: V) -> Any:
        """a'b, a scalar."""

    def between(self, a: V, b: V) -> Any:
        """Their Euclidean distance, a scalar."""

    def norm(self, v: V, order: float = 2.0) -> Any:
        """The norm of that order, a scalar: inf is max |v_i|, -inf is min |v_i|."""

    def stepped(self, x: V, step: float, p: V) -> V:
        """x + step p, a new vector."""

    def combined(self, coefficients: Sequence[float], vectors: Sequence[V]) -> V:
        """The sum of c_i v_i, a new vector."""

    def curvature(self, product: V, p: V, gradient: V, before: V) -> tuple[V, Any, Any, Any, Any]:
        """w = product + p, a new vector, and the scalars p'y, y'w, y'y and g'w, where
        y = gradient - before."""

    def scalars(self, values: Sequence[Any]) -> V:
        """Scalars as a vector, without waiting."""

    def joined(self, first: V, second: V) -> V:
        """Two vectors as one."""

    def zeros_like(self, v: V) -> V:
        """A vector of zeros."""

    def ratio(self, a: Any, b: Any) -> Any:
        """a / b of two scalars, a scalar; of no meaning where b is 0."""

    def moved(self, x: V, step: Any, p: V) -> V:
        """x + step p, a new vector, where the step is a scalar."""

    def add(self, x: V, step: float, p: V) -> None:
        """x += step p, in place."""

    def turn(self, p: V, share: float, g: V) -> None:
        """p = share p - g, in place."""

    def read_at_once(self, loss: Tensor, gradient: V, scalars: V) -> list[float]:
        """The loss, whether the gradient is finite, and scalars; a device is waited for once."""

    def read_product(self, product: V, measure: Callable[[V], V] | None) -> list[float]:
        """Whether it is finite, and scalars of it; a device is waited for once."""


class ArraySpace:
    """numpy's arrays, by the extension where it is built."""

    waits = False
    as_vector = staticmethod(vectors.as_vector)
    same = staticmethod(vectors.same_values)
    distance = staticmethod(vectors.distance)
    compare_and_measure = staticmethod(vectors.compare_and_measure)
    largest = staticmethod(vectors.largest)
    combined = staticmethod(vectors.combined)
    curvature = staticmethod(vectors.curvature)

    def size(self, v: Array) -> int:
        return v.size

    def copy(self, v: Array) -> Array:
        return v.copy()

    def to_host(self, v: Array) -> Array:
        return v

    def has_nan(self, v: Array) -> bool:
        return bool(np.isnan(v).any())

    def dot(self, a: Array, b: Array) -> float:
        return float(np.dot(a, b))

    def between(self, a: Array, b: Array) -> float:
        return float(self.distance(a, b))

    def norm(self, v: Array, order: float = 2.0) -> float:
        if math.isinf(order):
            return self.largest(v) if order > 0 else float(np.abs(v).min())
        if order == 1.0:
            return float(np.abs(v).sum())
        return float(np.sum(np.abs(v) ** order) ** (1.0 / order))

    def stepped(self, x: Array, step: float, p: Array) -> Array:
        return x + step * p

    def scalars(self, values: Sequence[Any]) -> Array:
        return np.array(values, dtype=np.float64)

    def joined(self, first: Array, second: Array) -> Array:
        return np.concatenate([first, second])

    def zeros_like(self, v: Array) -> Array:
        return np.zeros_like(v)

    def ratio(self, a: float, b: float) -> float:
        return a / b if b else 0.0

    def moved(self, x: Array, step: float, p: Array) -> Array:
        return x + step * p

    def add(self, x: Array, step: float, p: Array) -> None:
        x += step * p

    def turn(self, p: Array, share: float, g: Array) -> None:
        p *= share
        p -= g

    def read_at_once(self, loss: Tensor, gradient: Array, scalars: Array) -> list[float]:
        return [float(loss), float(np.isfinite(gradient).all()), *scalars.tolist()]

    def read_product(self, product: Array, measure: Callable[[Array], Array] | None) -> list[float]:
        finite = float(np.isfinite(product).all())
        return [finite, *(measure(product).tolist() if measure is not None and finite else [])]


class TensorSpace:
    """float64 tensors, on one device."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.waits = self.device.type != "cpu"

    def as_vector(self, x: Any) -> Tensor:
        found = torch.as_tensor(x, dtype=torch.float64, device=self.device)
        return found if found.ndim == 1 else found.reshape(-1)  # a view were another point

    def size(self, v: Tensor) -> int:
        return v.numel()

    def same(self, a: Tensor, b: Tensor) -> bool:
        # To compare would be to wait: our own solvers never write into a vector again.
        if a is b or self.waits:
            return a is b
        # By bits, as arrays are: NaN equals itself, and -0 is not 0.
        return torch.equal(a.view(torch.int64), b.view(torch.int64))

    def copy(self, v: Tensor) -> Tensor:
        return v.clone()

    def to_host(self, v: Tensor) -> Array:
        array: Array = v.detach().cpu().numpy()
        return array

    def has_nan(self, v: Tensor) -> bool:
        return bool(v.isnan().any())

    def distance(self, a: Tensor, b: Tensor) -> float:
        return float(torch.dist(a, b))

    def compare_and_measure(self, x: Tensor, known: Tensor, before: Tensor) -> tuple[bool, float]:
        return self.same(x, known), self.distance(x, before)

    def largest(self, v: Tensor) -> float:
        return float(torch.linalg.vector_norm(v, torch.inf)) if v.numel() else 0.0

    def dot(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.dot(a, b)

    def between(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.dist(a, b)

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

    def curvature(
        self, product: Tensor, p: Tensor, gradient: Tensor, before: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        w, y = product + p, gradient - before
        dot = torch.dot
        return w, dot(p, y), dot(y, w), dot(y, y), dot(gradient, w)

    def scalars(self, values: Sequence[Any]) -> Tensor:
        return torch.stack(list(values))

    def joined(self, first: Tensor, second: Tensor) -> Tensor:
        return torch.cat([first, second])

    def zeros_like(self, v: Tensor) -> Tensor:
        return torch.zeros_like(v)

    def ratio(self, a: Tensor, b: Tensor) -> Tensor:
        return a / b

    def moved(self, x: Tensor, step: Tensor, p: Tensor) -> Tensor:
        return torch.addcmul(x, p, step)

    def add(self, x: Tensor, step: float, p: Tensor) -> None:
        x.add_(p, alpha=step)

    def turn(self, p: Tensor, share: float, g: Tensor) -> None:
        p.mul_(share).sub_(g)

    def read_at_once(self, loss: Tensor, gradient: Tensor, scalars: Tensor) -> list[float]:
        loss = loss.detach().to(self.device, torch.float64).reshape(1)
        finite = gradient.isfinite().all().double().reshape(1)
        read: list[float] = torch.cat([loss, finite, scalars]).tolist()
        return read

    def read_product(
        self, product: Tensor, measure: Callable[[Tensor], Tensor] | None
    ) -> list[float]:
        finite = product.isfinite().all().double().reshape(1)
        found = finite if measure is None else torch.cat([finite, measure(product)])
        read: list[float] = found.tolist()
        return read


ARRAYS = ArraySpace()
"""Vectors are arrays on the host."""
