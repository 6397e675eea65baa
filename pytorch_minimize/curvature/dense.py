"""A dense Hessian, block of rows by block of rows, of which half is computed."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

import numpy as np
from torch import Tensor

from ..bridge.layout import reals
from ..typing import Array

__all__ = ["RowSource", "UpperRows", "identity_rows", "symmetrise"]

RowSource = Callable[[int, int], Array]
"""(begin, end) -> those rows of a matrix of vectors, shape (end - begin, n)."""

# On the host more at once are no faster, and narrow blocks leave more out.
_HOST_ROWS = 64


class UpperRows:
    """A block of a Hessian's rows, from the first column of their parameters on.

    The columns before them are the rows of an earlier block. So a block is the derivative of few of
    the gradients with respect to few of the parameters: of a network, half the work or less.

    Args:
        ends: where the rows of each parameter end.
        begin, end: of the block.

    Attributes:
        first, last: positions of the parameters that have rows in it.
    """

    def __init__(self, ends: Sequence[int], begin: int, end: int) -> None:
        self._ends = ends
        self.begin, self.end = begin, end
        self.first, self.last = bisect_right(ends, begin), bisect_left(ends, end)

    @classmethod
    def blocks(cls, params: Sequence[Tensor], step: int) -> Iterator[UpperRows]:
        """All rows of the parameters' Hessian, at most ``step`` at a time.

        A block ends with a parameter where it is not made much smaller by that.
        """
        ends = [*accumulate(reals(param) for param in params)]
        if all(param.device.type == "cpu" for param in params):
            step = min(step, _HOST_ROWS)
        begin, n = 0, ends[-1]
        while begin < n:
            end = min(begin + step, n)
            within = bisect_right(ends, end)
            if within and ends[within - 1] - begin > step // 2:
                end = ends[within - 1]
            yield cls(ends, begin, end)
            begin = end

    def identity(self) -> Array:
        """Those rows of the identity."""
        return identity_rows(self._ends[-1])(self.begin, self.end)

    def weigh(self, rows: Array) -> None:
        """Make them, in place, rows of a matrix whose symmetric part is H.

        What has a counterpart that is left out counts twice, which is exact.
        """
        for position in range(self.first, self.last + 1):
            left = self._ends[position - 1] if position else 0
            right = self._ends[position]
            own = rows[max(left - self.begin, 0) : right - self.begin]
            own[:, :left] = 0.0
            own[:, right:] *= 2.0


def identity_rows(n: int) -> RowSource:
    """The rows of the n x n identity."""

    def rows(begin: int, end: int) -> Array:
        block = np.zeros((end - begin, n))
        block[np.arange(end - begin), np.arange(begin, end)] = 1.0
        return block

    return rows


def symmetrise(hessian: Array) -> Array:
    """(H + H') / 2, in place: H is symmetric but for rounding."""
    hessian += hessian.T
    hessian *= 0.5
    return hessian
