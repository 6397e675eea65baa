"""Memory of vectors that are summed up, used again when nobody holds them any more."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import numpy as np
from torch import Tensor

from .group import Group

__all__ = ["Memory"]


class Memory:
    """Gives out buffers of a group, new ones only where none has come back.

    A buffer comes back when the last reference to the array is gone as which it was lent
    (Note [fresh gradients]): a slice of that array refers to it. Fresh memory of a few megabytes
    would cost as much as to write it. Where vectors are no arrays, torch's allocator of that device
    does the same.

    Args:
        group: whose buffers they are.
        free: that there are already.

    Example:
        >>> class Host:
        ...     empty = staticmethod(torch.empty)
        >>> memory = Memory(Host(), [])
        >>> first = memory.take(3)
        >>> array = first.numpy()
        >>> memory.lend(first, array)
        >>> memory.take(3) is first
        False
        >>> del array
        >>> memory.take(3) is first
        True
    """

    def __init__(self, group: Group, free: Iterable[Tensor]) -> None:
        self._group = group
        self._lent: list[tuple[Tensor, weakref.ref[Any] | None]] = [(each, None) for each in free]

    def take(self, size: int) -> Tensor:
        """A buffer of that size, for the caller alone until it is lent."""
        for number, (buffer, holder) in enumerate(self._lent):
            if buffer.numel() == size and (holder is None or holder() is None):
                del self._lent[number]
                return buffer
        return self._group.empty(size)

    def lend(self, buffer: Tensor, array: Any) -> None:
        """The buffer may be taken again once ``array`` is gone; None for at once."""
        if array is None or isinstance(array, np.ndarray):
            holder = None if array is None else weakref.ref(array)
            self._lent.append((buffer, holder))
