"""Walking the graph that torch recorded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

__all__ = ["leaves_below", "nodes_below"]


def nodes_below(roots: Sequence[Tensor]) -> Iterator[Any]:
    """Each node of the graph that leads to the roots, once."""
    pending: list[Any] = [root.grad_fn for root in roots if root.grad_fn is not None]
    seen = set(pending)
    while pending:
        node = pending.pop()
        yield node
        below = {child for child, _ in node.next_functions if child is not None} - seen
        seen |= below
        pending.extend(below)


def leaves_below(roots: Sequence[Tensor]) -> list[Tensor]:
    """The leaves whose gradient ``backward()`` on the roots would fill."""
    leaves = [root for root in roots if root.grad_fn is None and root.requires_grad]
    accumulators = (node for node in nodes_below(roots) if hasattr(node, "variable"))
    return leaves + [node.variable for node in accumulators]
