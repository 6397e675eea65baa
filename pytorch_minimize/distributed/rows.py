"""Residuals of a closure, of this process or of all."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any, Protocol

from ..bridge.interface import V

__all__ = ["Rows", "places_of"]


class Rows(Protocol[V]):
    """Residuals where the parameters are, and what is asked of their Jacobian.

    :class:`~pytorch_minimize.least_squares.rows.OwnRows` are those of this process's closure.
    """

    @property
    def count(self) -> int | None:
        """How many there are; None before the first run that gave some."""

    @property
    def values(self) -> V | None:
        """The residuals, a fresh vector; None where they are not known."""

    @property
    def has_graph(self) -> bool:
        """Whether Jacobian and products can be asked for."""

    def run(self) -> float:
        """Run the closure: the cost, NaN where it gives no residuals."""

    def empty(self, count: int) -> V:
        """Memory for so many rows of a Jacobian."""

    def matrix(self, out: V | None = None) -> V:
        """J, into ``out`` if that is given; there is no graph then any more."""

    def product(self, v: V) -> V:
        """J v, a fresh vector."""

    def transposed_product(self, u: Any) -> V:
        """J'u, a fresh vector."""

    def drop(self) -> None:
        """The parameters change, or the run is over."""


def places_of(counts: Sequence[int]) -> list[slice] | None:
    """Where the residuals of each process are among those of all; None where one has none yet.

    Example:
        >>> places_of([3, 2])
        [slice(0, 3, None), slice(3, 5, None)]
        >>> places_of([3, 0])
    """
    ends = list(accumulate(counts, initial=0))
    places = [slice(begin, end) for begin, end in pairwise(ends)]
    return places if all(counts) else None
