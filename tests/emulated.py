"""Bridges whose tensors cross as a device's do, by the kernels' own code on host memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.util import find_spec
from typing import Any

import pytest
from torch import Tensor

from pytorch_minimize import _C
from pytorch_minimize.bridge.interface import Bridge
from pytorch_minimize.bridge.parameters import checked


def testing() -> Any:
    """The extension that only tests use; skips where it was not built, as in a wheel."""
    if find_spec("pytorch_minimize._C_testing") is None:
        pytest.skip("built without the extension of the tests (see TESTING in setup.py)")
    from pytorch_minimize import _C_testing

    return _C_testing


def emulated(*lanes: int) -> Callable[[Iterable[Tensor]], Bridge]:
    """Makes bridges whose tensors are in turn on these devices, on the host where negative."""

    def make(params: Iterable[Tensor]) -> Bridge:
        kernels = testing().emulated_kernels
        bridge: Bridge = _C.ParameterBridge._with_kernels(checked(params), kernels, lanes)
        return bridge

    return make


class Asked:
    """What the emulated device is asked for inside a ``with`` block: launches, transfers, waits."""

    def __init__(self) -> None:
        self._before: dict[str, int] = {}
        self.counts: dict[str, int] = {}

    def __enter__(self) -> Asked:
        self._before = testing().counts()
        return self

    def __exit__(self, *_: object) -> None:
        after = testing().counts()
        self.counts = {name: after[name] - count for name, count in self._before.items()}

    def of(self, *names: str) -> list[int]:
        return [self.counts[name] for name in names]


EMULATED = {"device": emulated(0), "devices and host": emulated(0, -1, 1, 0)}
