"""Whether the parameters of all processes are the same, without sending them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..typing import Array

__all__ = ["checksums"]

_BLOCK = 1 << 18  # of elements that are looked at together, for the memory


def checksums(x: Array, sizes: Sequence[int]) -> NDArray[np.int64]:
    """One number for each part of a flat vector; others for other bits, but by a rare chance.

    Args:
        x: shape (n,).
        sizes: of the parts, which add up to n.

    Example:
        >>> one, two = checksums(np.array([1.0, 2.0, 2.0, 1.0]), [2, 2])
        >>> bool(one == two)
        False
    """
    ends = np.cumsum(sizes).tolist()
    return np.array(
        [_checksum(x[end - size : end]) for end, size in zip(ends, sizes, strict=True)],
        dtype=np.uint64,
    ).view(np.int64)


def _checksum(part: Array) -> np.uint64:
    total = np.uint64(0)
    with np.errstate(over="ignore"):
        for begin in range(0, part.size, _BLOCK):
            bits = np.ascontiguousarray(part[begin : begin + _BLOCK]).view(np.uint64)
            # The upper half of the bits is folded in: that of small integers has the whole number.
            bits = (bits ^ (bits >> np.uint64(29))) * np.uint64(0x9E3779B97F4A7C15)
            places = np.arange(begin, begin + bits.size, dtype=np.uint64)
            total += (bits * (np.uint64(2) * places + np.uint64(1))).sum(dtype=np.uint64)
    return total
