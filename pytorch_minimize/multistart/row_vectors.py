"""The vectors of many runs as rows of one matrix (S, n): on the host, or where the model is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..bridge.space import Space, TensorSpace
from ..typing import Array

__all__ = ["RowVectors", "row_vectors"]

Read = list[tuple[float, bool, Sequence[float]]]


class RowVectors(Protocol):
    """What a batch asks of matrices, arrays or tensors."""

    def stacked(self, vectors: Sequence[Any]) -> Any:
        """As rows of a new matrix."""

    def empty(self, count: int, n: int) -> Any:
        """A matrix to be written to."""

    def apart(self, matrix: Any) -> Sequence[Any]:
        """Its rows as vectors, each to be kept without the others."""

    def read(
        self, losses: Tensor, gradients: Any, all_finite: bool, measured: Sequence[Any]
    ) -> Read:
        """For each row the loss, whether the gradient is finite, and the scalars measured of it;
        a device is waited for once.

        Args:
            all_finite: whether it is known that all gradients are.
        """


class _ArrayRows:
    """On the host, where solvers measure themselves."""

    def stacked(self, vectors: Sequence[Array]) -> Array:
        return np.stack(vectors)

    def empty(self, count: int, n: int) -> Array:
        return np.empty((count, n))

    def apart(self, matrix: Array) -> Sequence[Array]:
        return [row.copy() for row in matrix]

    def read(
        self, losses: Tensor, gradients: Array, all_finite: bool, measured: Sequence[Any]
    ) -> Read:
        values = losses.to("cpu", torch.float64).tolist()
        finite: list[bool] = [True] * len(values)
        if not all_finite:
            finite = np.isfinite(gradients).all(axis=1).tolist()  # type: ignore[assignment]
        return list(zip(values, finite, measured, strict=True))


class _TensorRows:
    """Where the model is: of a round nothing crosses but a loss, a mark and scalars a run."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def stacked(self, vectors: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(vectors))

    def empty(self, count: int, n: int) -> Tensor:
        return torch.empty(count, n, dtype=torch.float64, device=self._device)

    def apart(self, matrix: Tensor) -> Sequence[Tensor]:
        return [row.clone() for row in matrix]

    def read(
        self, losses: Tensor, gradients: Tensor, all_finite: bool, measured: Sequence[Any]
    ) -> Read:
        losses = losses.to(self._device, torch.float64)
        finite = torch.ones_like(losses) if all_finite else gradients.isfinite().all(1).double()
        known = [scalars for scalars in measured if len(scalars)]
        numbers: list[float] = torch.cat([losses, finite, *known]).tolist()
        count, at = len(losses), 2 * len(losses)
        read: Read = []
        for row, scalars in enumerate(measured):
            of_row, at = numbers[at : at + len(scalars)], at + len(scalars)
            read.append((numbers[row], bool(numbers[count + row]), of_row))
        return read


def row_vectors(space: Space[Any]) -> RowVectors:
    """Those of a space's vectors."""
    return _TensorRows(space.device) if isinstance(space, TensorSpace) else _ArrayRows()
