"""The variables of a flat vector: which parameters, and how their elements lie in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..typing import Array

__all__ = ["Variables"]


@dataclass(frozen=True, eq=False)
class Variables:
    """What a flat vector that outlives a run is of.

    Parameters may be frozen, converted or resized until it is used again.

    Attributes:
        params: in the vector's order.
        shapes, dtypes: that they had when the vector was found.
    """

    params: tuple[Tensor, ...]
    shapes: tuple[torch.Size, ...]
    dtypes: tuple[torch.dtype, ...]

    @classmethod
    def of(cls, params: Iterable[Tensor]) -> Variables:
        """The parameters as they are now."""
        params = tuple(params)
        return cls(params, tuple(p.shape for p in params), tuple(p.dtype for p in params))

    @property
    def numel(self) -> int:
        """Length of the vector; a complex element is two."""
        return sum(self._sizes)

    def are(self, other: Variables) -> bool:
        """Whether vectors of both mean the same; precision and device may differ."""
        return len(self.params) == len(other.params) and all(
            mine is its and shape == its_shape and dtype.is_complex == its_dtype.is_complex
            for mine, its, shape, its_shape, dtype, its_dtype in zip(
                self.params,
                other.params,
                self.shapes,
                other.shapes,
                self.dtypes,
                other.dtypes,
                strict=True,
            )
        )

    def split(self, x: Array) -> list[Tensor]:
        """x as new tensors on the host, one for each parameter."""
        pieces = torch.from_numpy(x.copy()).split(self._sizes)  # a copy, since x may be read-only
        return [
            # Cloned, because torch reads a complex128 at multiples of 16 bytes only.
            (torch.view_as_complex(piece.clone().view(-1, 2)) if dtype.is_complex else piece)
            .view(shape)
            .to(dtype, copy=True)
            for piece, shape, dtype in zip(pieces, self.shapes, self.dtypes, strict=True)
        ]

    @staticmethod
    def join(tensors: Iterable[Tensor]) -> Array:
        """The inverse of :meth:`split`."""
        return np.concatenate([_reals(tensor) for tensor in tensors])

    @property
    def _sizes(self) -> list[int]:
        return [
            shape.numel() * (2 if dtype.is_complex else 1)
            for shape, dtype in zip(self.shapes, self.dtypes, strict=True)
        ]


def _reals(tensor: Tensor) -> Array:
    tensor = tensor.detach()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.to("cpu", torch.complex128).resolve_conj())
    flat: Array = tensor.to("cpu", torch.float64).resolve_neg().reshape(-1).numpy()
    return flat
