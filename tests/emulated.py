"""Bridges whose tensors cross as a device's do, by the kernels' own code on host memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import Tensor

from pytorch_minimize import _C
from pytorch_minimize._bridge import Bridge


def emulated(*lanes: int) -> Callable[[Iterable[Tensor]], Bridge]:
    """Makes bridges whose tensors are in turn on these devices, on the host where negative."""
    return lambda params: _C._emulated_bridge(params, lanes)


EMULATED = {"device": emulated(0), "devices and host": emulated(0, -1, 1, 0)}
