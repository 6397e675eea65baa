"""The approximation H of the inverse Hessian, dense and symmetric."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..bridge.interface import V
from ..typing import Array
from .updates import RankTwo

__all__ = ["ArrayInverse", "Inverse", "TensorInverse", "usable"]


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
    given = torch.as_tensor(h)
    symmetric = (given + given.T) / 2
    if torch.linalg.cholesky_ex(symmetric).info.item():
        return None
    return symmetric if isinstance(h, Tensor) else symmetric.numpy()
