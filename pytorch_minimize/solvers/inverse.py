"""The approximation H of the inverse Hessian, dense and symmetric."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any, Generic, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..bridge.interface import V
from ..extension import native
from ..typing import Array
from .updates import RankTwo

__all__ = [
    "ArrayInverse",
    "DeviceInverse",
    "Inverse",
    "NativeInverse",
    "TensorInverse",
    "array_inverse",
    "tensor_inverse",
    "usable",
]

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


class _Delayed(Generic[V]):
    """An update waits for the next product, whose pass it shares.

    Args:
        h: H, which is written to.
        multiply: (H, v) -> H v.
        change: (H, tau, ss, sw, ww, s, w, v) -> H v, of what it has made of H.
    """

    def __init__(self, h: V, multiply: Callable[[V, V], V], change: Callable[..., V]) -> None:
        self._h, self._multiply, self._change = h, multiply, change
        self._waiting: tuple[RankTwo, V, V] | None = None

    def product(self, v: V) -> V:
        if self._waiting is None:
            return self._multiply(self._h, v)
        change, s, w = self._waiting
        self._waiting = None
        return self._change(self._h, *change, s, w, v)

    def update(self, change: RankTwo, s: V, w: V) -> None:
        self._make_current()
        self._waiting = change, s, w

    def _make_current(self) -> None:
        if self._waiting is not None:
            self.product(self._waiting[1])


class NativeInverse(_Delayed[Array]):
    """In C++: half of H is touched, and an update is part of the next product's pass.

    8 n^2 bytes an iteration, where :class:`ArrayInverse` takes 40. Tests hold it against that one.

    Args:
        n: variables.
        initial: H to begin with; I if it is None.
        library: the extension.
    """

    def __init__(self, n: int, initial: Array | None, library: ModuleType) -> None:
        h = np.eye(n) if initial is None else np.array(initial, dtype=np.float64, order="C")
        super().__init__(h, library.symmetric_product, library.rank_two_product)

    def reset(self, scale: float = 1.0) -> None:
        self._waiting = None
        self._h[...] = 0.0
        np.fill_diagonal(self._h, scale)

    def dense(self) -> Array:
        self._make_current()
        for at in range(0, len(self._h), _MIRRORED):
            below = self._h[at:, at : at + _MIRRORED]
            square = below[:_MIRRORED]
            square[...] = np.tril(square) + np.tril(square, -1).T
            self._h[at : at + _MIRRORED, at + _MIRRORED :] = below[_MIRRORED:].T
        return self._h


def array_inverse(n: int, initial: Array | None = None) -> Inverse[Array]:
    """The one in C++, unless PYTORCH_MINIMIZE_BRIDGE asks for Python."""
    return ArrayInverse(n, initial) if native is None else NativeInverse(n, initial, native)


class TensorInverse:
    """In torch, on any device: one pass for a product, one for an update."""

    def __init__(self, n: int, device: torch.device, initial: Tensor | None = None) -> None:
        self._h = _on_device(n, device, initial)

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


class DeviceInverse(_Delayed[Tensor]):
    """By kernels of H's device: an update is part of the next product's pass, and H stays
    symmetric to the last bit.

    16 n^2 bytes for the first trial of an iteration and 8 for each further one, where
    :class:`TensorInverse`, which tests hold it against, takes 24 and 8.

    Args:
        n: variables.
        device: where H is.
        initial: H to begin with, symmetric; I if it is None.
        library: the extension.
        kernels: a capsule with kernels in place of the device's.
    """

    def __init__(
        self,
        n: int,
        device: torch.device,
        initial: Tensor | None,
        library: ModuleType,
        kernels: Any = None,
    ) -> None:
        super().__init__(
            _on_device(n, device, initial),
            partial(library.device_product, kernels=kernels),
            partial(library.device_rank_two_product, kernels=kernels),
        )

    def reset(self, scale: float = 1.0) -> None:
        self._waiting = None
        self._h.zero_()
        self._h.fill_diagonal_(scale)

    def dense(self) -> Tensor:
        self._make_current()
        return self._h


def tensor_inverse(n: int, device: torch.device, initial: Tensor | None = None) -> Inverse[Tensor]:
    """The one by kernels, where the extension has some for the device; in torch elsewhere."""
    if native is None or not native.has_kernels(device):
        return TensorInverse(n, device, initial)
    return DeviceInverse(n, device, initial, native)


def _on_device(n: int, device: torch.device, initial: Tensor | None) -> Tensor:
    """A float64 matrix of our own."""
    if initial is None:
        return torch.eye(n, dtype=torch.float64, device=device)
    return initial.to(device, torch.float64, copy=True).contiguous()


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
    if not symmetric.isfinite().all() or torch.linalg.cholesky_ex(symmetric).info.item():
        return None
    return symmetric if isinstance(h, Tensor) else symmetric.numpy()
