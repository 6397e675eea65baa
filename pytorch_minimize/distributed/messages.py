"""What the leader sends, and what is summed up for it."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..bridge.interface import Bridge
from .group import Group

__all__ = [
    "HEADER",
    "TAIL",
    "Command",
    "End",
    "Tail",
    "as_tensor",
    "as_vector",
    "device_of",
    "put",
    "send",
]

HEADER = 3
"""Numbers behind the vector of a message: the command, whether the point before this one is the
best by now, and one that the command knows."""

TAIL = 4
"""Numbers behind a vector that is summed up; see :class:`Tail`."""


class Command(IntEnum):
    """What is to be done with the vector of a message.

    VALUE, GRADIENT, CURVED: it is a point; the loss there is asked for, or the gradient with it,
    or that in such a way that products follow. PRODUCT, HESSIAN: it is to be multiplied by the
    Hessian at the last point, or all of that is asked for. MANY: so many points follow, whose
    losses are asked for. DONE, FAILED: it is where the run ends, well or not.

    Of closures of residuals: ROWS: it is a point, where the residuals are asked for. At the last
    point JACOBIAN: that of them is to be made ready; COLLECT: and sent; IMAGE: the vector is to be
    multiplied by it; PULLED: one number for each residual follows, to be multiplied by its
    transpose.
    """

    VALUE = 1
    GRADIENT = 2
    CURVED = 3
    PRODUCT = 4
    HESSIAN = 5
    MANY = 6
    DONE = 7
    FAILED = 8
    ROWS = 9
    JACOBIAN = 10
    COLLECT = 11
    IMAGE = 12
    PULLED = 13


class Tail(IntEnum):
    """Where things are in a tail: the loss, and how many processes raised, met an exception that
    stands for a loss of NaN, or a loss that is not finite for no such reason."""

    LOSS = 0
    FAILED = 1
    RECOVERED = 2
    NONFINITE = 3


class End(NamedTuple):
    """What is said at the end besides where it is.

    Attributes:
        told: what the run tells those that follow.
        has_gradient: the gradient there comes next.
        has_best: the best point comes next; else it is the one that is kept.
    """

    told: Any
    has_gradient: bool
    has_best: bool


def send(group: Group, message: Tensor, vector: Any, command: Command, *numbers: float) -> None:
    """Broadcast a vector and what is to be done with it; ``message`` is a buffer for both."""
    put(message[:-HEADER], vector)
    header = [float(command), *numbers, *[0.0] * (HEADER - 1 - len(numbers))]
    message[-HEADER:] = torch.tensor(header, dtype=torch.float64)
    group.broadcast(message)


def put(out: Tensor, vector: Any, share: float = 1.0) -> None:
    """Write ``share`` times a vector, an array or a tensor, into a buffer."""
    if isinstance(vector, Tensor):
        torch.mul(vector.to(out.device), share, out=out)
    elif out.is_cpu and share == 1.0:
        out.numpy()[...] = vector  # which may be locked; torch would warn of that
    elif out.is_cpu:
        torch.mul(torch.from_numpy(vector), share, out=out)
    else:
        out.copy_(torch.as_tensor(vector * share))


def as_tensor(matrix: Any) -> Tensor:
    """An array as a tensor of the same memory; a tensor as it is."""
    return matrix if isinstance(matrix, Tensor) else torch.from_numpy(matrix)


def as_vector(part: Tensor, device: torch.device | None) -> Any:
    """Part of a buffer as a vector: a tensor on the device, or an array where that is None."""
    return part.cpu().numpy() if device is None else part.to(device)


def device_of(bridge: Bridge[Any]) -> torch.device | None:
    """Where a bridge's vectors are tensors; None where they are arrays."""
    x = bridge.flatten_params()
    return x.device if isinstance(x, Tensor) else None
