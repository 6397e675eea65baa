"""The pairs of limited memory: rows s_0, y_0, s_1, y_1 ... of one matrix W, where x is."""

from __future__ import annotations

from functools import partial
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ..bridge.interface import V
from ..extension import native
from ..typing import Array

__all__ = [
    "Change",
    "DeviceRing",
    "NativeRing",
    "Ring",
    "TorchRing",
    "array_ring",
    "as_tensors",
    "tensor_ring",
]

# Columns whose part of W stays in a cache while it is used.
_COLUMNS = 1 << 13

SCALARS = 5
"""What :meth:`Ring.sums` ends with: g'd, g'g, y'y, y'g and max |g|."""


class Change(NamedTuple):
    """How the next direction is made: d = -(gamma g + W'c), the first rows of W being used.

    Attributes:
        gamma, weights: gamma and c.
        slot: where the pair s = step d, y = g - g_before is kept, before; None for nowhere.
        step: of the last direction.
    """

    gamma: float
    weights: Array
    slot: int | None = None
    step: float = 0.0


class Ring(Protocol[V]):
    """W, of shape (2 m, n) in float64 or float32, whose rows are used from the first on.

    Whatever it is kept in, sums are in float64. Two passes an iteration: one reads W with the new
    gradient, one with the new direction.
    """

    def sums(self, rows: int, gradient: V, before: V, direction: V) -> V:
        """W g and W y of the first rows, y being ``gradient - before``; and the scalars."""

    def turn(self, change: Change, gradient: V, before: V, direction: V) -> float | None:
        """Write the pair, and the next direction into the last; its slope, where that is free.

        A pair that is written counts as it is kept, so that directions and sums are of one W.
        """

    def rows(self, count: int) -> Tensor:
        """The first rows, for who wants to look at them."""


class TorchRing:
    """In plain torch operations, on any device; on the host of arrays too."""

    def __init__(
        self, m: int, n: int, dtype: torch.dtype, device: torch.device | None = None
    ) -> None:
        self._w = torch.empty(2 * m, n, dtype=dtype, device=device or "cpu")
        self._gives_arrays = device is None

    def rows(self, count: int) -> Tensor:
        return self._w[:count]

    def sums(self, rows: int, gradient: Any, before: Any, direction: Any) -> Any:
        g, old, d = as_tensors(gradient, before, direction)
        y = g - old
        both = torch.stack((g, y), 1)
        total = both.new_zeros(rows, 2)
        for at in range(0, g.numel() if rows else 0, _COLUMNS):
            total += self._w[:rows, at : at + _COLUMNS].double() @ both[at : at + _COLUMNS]
        largest = torch.linalg.vector_norm(g, torch.inf)
        last = torch.stack([g @ d, g @ g, y @ y, y @ g, largest])
        found = torch.cat([total.T.reshape(-1), last])
        return found.numpy() if self._gives_arrays else found

    def turn(self, change: Change, gradient: Any, before: Any, direction: Any) -> float | None:
        g, old, d = as_tensors(gradient, before, direction)
        if change.slot is not None:
            self._w[2 * change.slot] = change.step * d
            self._w[2 * change.slot + 1] = g - old
        torch.mul(g, -change.gamma, out=d)
        rows = len(change.weights)
        if rows:
            weights = torch.from_numpy(-change.weights).to(d.device)
            for at in range(0, d.numel(), _COLUMNS):
                d[at : at + _COLUMNS] += weights @ self._w[:rows, at : at + _COLUMNS].double()
        return float(g @ d) if self._gives_arrays else None


class NativeRing:
    """In C++: each of the two passes reads W once, and what else it needs with it.

    Tests hold it against :class:`TorchRing`.

    Args:
        m: pairs.
        n: variables.
        dtype: of W.
        library: the extension.
    """

    def __init__(self, m: int, n: int, dtype: torch.dtype, library: ModuleType) -> None:
        self._w = np.empty((2 * m, n), np.float32 if dtype == torch.float32 else np.float64)
        self._sums, self._turn = library.pair_sums, library.pair_turn

    def rows(self, count: int) -> Tensor:
        return torch.from_numpy(self._w[:count])

    def sums(self, rows: int, gradient: Array, before: Array, direction: Array) -> Array:
        found: Array = self._sums(self._w, rows, gradient, before, direction)
        return found

    def turn(self, change: Change, gradient: Array, before: Array, direction: Array) -> float:
        gamma, weights, slot, step = change
        slot = -1 if slot is None else slot
        slope: float = self._turn(self._w, gamma, weights, slot, step, gradient, before, direction)
        return slope


class DeviceRing:
    """By kernels of W's device; see :class:`NativeRing`.

    Args:
        m, n, dtype, device: of W.
        library: the extension.
        kernels: a capsule with kernels in place of the device's.
    """

    def __init__(
        self,
        m: int,
        n: int,
        dtype: torch.dtype,
        device: torch.device,
        library: ModuleType,
        kernels: Any = None,
    ) -> None:
        self._w = torch.empty(2 * m, n, dtype=dtype, device=device)
        self._sums = partial(library.device_pair_sums, kernels=kernels)
        self._turn = partial(library.device_pair_turn, kernels=kernels)

    def rows(self, count: int) -> Tensor:
        return self._w[:count]

    def sums(self, rows: int, gradient: Tensor, before: Tensor, direction: Tensor) -> Tensor:
        found: Tensor = self._sums(self._w, rows, gradient, before, direction)
        return found

    def turn(self, change: Change, gradient: Tensor, before: Tensor, direction: Tensor) -> None:
        gamma, weights, slot, step = change
        moved = torch.from_numpy(weights).to(direction.device)
        slot = -1 if slot is None else slot
        self._turn(self._w, gamma, moved, slot, step, gradient, before, direction)


def array_ring(m: int, n: int, dtype: torch.dtype) -> Ring[Array]:
    """The one in C++, unless PYTORCH_MINIMIZE_BRIDGE asks for Python."""
    return TorchRing(m, n, dtype) if native is None else NativeRing(m, n, dtype, native)


def tensor_ring(m: int, n: int, dtype: torch.dtype, device: torch.device) -> Ring[Tensor]:
    """The one by kernels, where the extension has some for the device; in torch elsewhere."""
    if native is None or not native.has_kernels(device):
        return TorchRing(m, n, dtype, device)
    return DeviceRing(m, n, dtype, device, native)


def as_tensors(*vectors: Any) -> list[Tensor]:
    """Vectors of either kind as tensors on the same memory."""
    return [v if isinstance(v, Tensor) else torch.from_numpy(v) for v in vectors]
