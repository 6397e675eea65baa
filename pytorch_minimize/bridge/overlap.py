"""Which strided tensors share memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["are_apart", "find_overlap"]


def find_overlap(tensors: Sequence[Tensor]) -> tuple[int, int] | None:
    """Two indices of tensors that share an element's memory, the same twice for one over itself.

    Exact: interleaved views do not overlap.

    >>> import torch
    >>> flat = torch.zeros(12)
    >>> find_overlap([flat[::2], flat[1::2]])
    >>> find_overlap([flat[::2], flat[1::2], flat[::3]])
    (0, 2)
    """
    pairs = (_find_among(tensors, group) for group in _doubtful(tensors))
    return next((pair for pair in pairs if pair is not None), None)


def are_apart(tensors: Sequence[Tensor]) -> bool:
    """Whether it is plain that no memory is shared: no extent reaches into another."""
    return not any(_doubtful(tensors))


def _doubtful(tensors: Sequence[Tensor]) -> Iterator[list[int]]:
    """Chains of tensors whose extents overlap, and single ones that may lie over themselves."""
    extents = sorted(
        (str(tensor.device), *_extent(tensor), i)
        for i, tensor in enumerate(tensors)
        if tensor.numel() > 0
    )
    chain: list[int] = []
    chain_device, chain_end = "", 0
    for device, begin, end, i in [*extents, ("", 0, 0, -1)]:
        if device != chain_device or begin >= chain_end:
            if len(chain) > 1 or (chain and not _is_distinct(tensors[chain[0]])):
                yield chain
            chain, chain_device, chain_end = [], device, end
        chain.append(i)
        chain_end = max(chain_end, end)


def _extent(tensor: Tensor) -> tuple[int, int]:
    last = sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.stride(), strict=True))
    begin = tensor.data_ptr()
    return begin, begin + (last + 1) * tensor.element_size()


def _is_distinct(tensor: Tensor) -> bool:
    """Whether each dimension steps over all that those of smaller strides reach."""
    reached = 0
    for stride, n in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if n > 1 and stride <= reached:
            return False
        reached += (n - 1) * stride
    return True


def _find_among(tensors: Sequence[Tensor], group: Sequence[int]) -> tuple[int, int] | None:
    extents = [_extent(tensors[i]) for i in group]
    begin = min(first for first, _ in extents)
    end = max(past for _, past in extents)
    offsets = {i: first - begin for i, (first, _) in zip(group, extents, strict=True)}
    unit = math.gcd(*offsets.values(), *(tensors[i].element_size() for i in group))
    taken = np.zeros((end - begin) // unit, dtype=np.bool_)
    for position, i in enumerate(group):
        units = _units(tensors[i], taken, offsets[i], unit)
        if units.any():
            if position == 1:
                return min(i, group[0]), max(i, group[0])
            pairs = (_find_among(tensors, (j, i)) for j in group[:position])
            return next(pair for pair in pairs if pair is not None)
        before = np.count_nonzero(taken)
        units[...] = True
        if np.count_nonzero(taken) - before < units.size:
            return i, i
    return None


def _units(tensor: Tensor, taken: NDArray[np.bool_], offset: int, unit: int) -> NDArray[np.bool_]:
    """The tensor's units of memory among all those of a group."""
    each = tensor.element_size() // unit
    shape = (*tensor.shape, each)
    strides = (*(stride * each for stride in tensor.stride()), 1)
    units: NDArray[np.bool_] = np.ndarray(shape, np.bool_, taken.data, offset // unit, strides)
    return units
