"""The approximation H of the inverse Hessian, dense and symmetric."""

from __future__ import annotations

from types import ModuleType
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..bridge.interface import V
from ..extension import native
from ..typing import Array
from .updates import RankTwo

__all__ = ["ArrayInverse", "Inverse", "NativeInverse", "TensorInverse", "array_inverse", "usable"]

# Columns that are written to their mirror image at a time.
_MIRRORED = 64


class Inverse(Protocol[V]):
    """H, of shape (n, n) in float64. An update may wait for the next product, to share its pass."""

    def product(self, v: V) -> V:
        """H v, a new vector."""

    def update(self, change: RankTwo, s: V, w: V) -> None:
        """H / tau + [s w] M [s w]'. Neither vector is written to afterwards."""

    def reset(self, scale: float = 1.0) -> None:
        """H = scale I."""

    def dense(self) -> Any:
        """H, which the caller gets: it must not be used here any more."""


class ArrayInverse:
    """In numpy: what the C++ one is held against."""

    def __init__(self, n: int, initial: Array | None = None) -> None:
        self._h = np.eye(n) if initial is None else np.array(initial, dtype=np.float64, order="C")

    def product(self, v: Array) -> Array:
        return np.asarray(self._h @ v)

    def update(self, change: RankTwo, s: Array, w: Array) -> None:
        left = change.ss * s + change.sw * w
        right = change.sw * s + change.ww * w
        self._h /= change.tau
        self._h += np.outer(s, left) + np.outer(w, right)

    def reset(self, scale: float = 1.0) -> None:
        self._h[...] = 0.0
        np.fill_diagonal(self._h, scale)

    def dense(self) -> Array:
        return self._h


class NativeInverse:
    """In C++: half of H is touched, and an update is part of the next product's pass.

    8 n^2 bytes an iteration, where :class:`ArrayInverse` takes 40. Tests hold it against that one.

    Args:
        n: variables.
        initial: H to begin with; I if it is None.
        library: the extension.
    """

    def __init__(self, n: int, initial: Array | None, library: ModuleType) -> None:
        self._h = np.eye(n) if initial is None else np.array(initial, dtype=np.float64, order="C")
        self._library = library
        self._waiting: tuple[RankTwo, Array, Array] | None = None

    def product(self, v: Array) -> Array:
        if self._waiting is None:
            return np.asarray(self._library.symmetric_product(self._h, v))
        change, s, w = self._waiting
        self._waiting = None
        return np.asarray(self._library.rank_two_product(self._h, *change, s, w, v))

    def update(self, change: RankTwo, s: Array, w: Array) -> None:
        self._make_current(s)
        self._waiting = change, s, w

    def reset(self, scale: float = 1.0) -> None:
        self._waiting = None
        self._h[...] = 0.0
        np.fill_diagonal(self._h, scale)

    def dense(self) -> Array:
        if self._h.size:
            self._make_current(self._h[0])
        for at in range(0, len(self._h), _MIRRORED):
            below = self._h[at:, at : at + _MIRRORED]
            square = below[:_MIRRORED]
            square[...] = np.tril(square) + np.tril(square, -1).T
            self._h[at : at + _MIRRORED, at + _MIRRORED :] = below[_MIRRORED:].T
        return self._h

    def _make_current(self, any_vector: Array) -> None:
        if self._waiting is not None:
            self.product(any_vector.copy())


def array_inverse(n: int, initial: Array | None = None) -> Inverse[Array]:
    """The one in C++, unless PYTORCH_MINIMIZE_BRIDGE asks for Python."""
    return ArrayInverse(n, initial) if native is None else NativeInverse(n, initial, native)


class TensorInverse:
    """In torch, on any device: one pass for a product, one for an update."""

    def __init__(self, n: int, device: torch.device, initial: Tensor | None = None) -> None:
        if initial is None:
            self._h = torch.eye(n, dtype=torch.float64, device=device)
        else:
            self._h = initial.to(device, torch.float64, copy=True).contiguous()

    def product(self, v: Tensor) -> Tensor:
        return self._h @ v

    def update(self, change: RankTwo, s: Tensor, w: Tensor) -> None:
        pair = torch.stack((s, w))
        mixed = torch.stack((change.ss * s + change.sw * w, change.sw * s + change.ww * w))
        self._h.addmm_(pair.T, mixed, beta=1.0 / change.tau)

    def reset(self, scale: float = 1.0) -> None:
        self._h.zero_()
        self._h.fill_diagonal_(scale)

    def dense(self) -> Tensor:
        return self._h


def usable(h: NDArray[Any] | Tensor) -> Any:
    """H of an earlier run, made symmetric; None unless it is positive definite then.

    Example:
        >>> usable(np.array([[2.0, 1.0], [0.0, 2.0]]))
        array([[2. , 0.5],
               [0.5, 2. ]])
        >>> usable(-np.eye(2)) is None
        True
    """
    # Else an array would go to the user's default device.
    given = h if isinstance(h, Tensor) else torch.as_tensor(h, device="cpu")
    symmetric = (given + given.T) / 2
    if torch.linalg.cholesky_ex(symmetric).info.item():
        return None
    return symmetric if isinstance(h, Tensor) else symmetric.numpy()
