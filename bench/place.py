"""Where a device's figures are measured: on a CUDA card, or by its kernels' code on the host.

The second, in memory of the host and by one thread, is no measure of anything: it is what the
programs themselves are tried with where there is no card.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from pytorch_minimize import _C
from pytorch_minimize.bridge.interface import Bridge
from pytorch_minimize.bridge.parameters import checked

__all__ = ["PLACES", "Place", "place"]


@dataclass(frozen=True)
class Place:
    """A device, and what there is one of each.

    Attributes:
        name: "card" or "emulated".
        device: where tensors are.
        bridge: tensors -> the bridge in C++.
        kernels: what the extension's device functions are given besides; None for the card's own.
        synchronize: until all that was queued is done.
        pinned: whether the host's side is pinned memory.
    """

    name: str
    device: torch.device
    bridge: Callable[[Sequence[Tensor]], Bridge]
    kernels: Any
    synchronize: Callable[[], None]
    pinned: bool

    def host(self, numel: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """Zeros on the host that the device reads and writes directly."""
        return torch.zeros(numel, dtype=dtype, pin_memory=self.pinned)

    def parameters(self, numel: int, tensors: int) -> list[Tensor]:
        """So many equal ones in float32, with gradients."""
        made = []
        for _ in range(tensors):
            made.append(torch.randn(numel // tensors, device=self.device, requires_grad=True))
            made[-1].grad = torch.randn_like(made[-1])
        return made

    def describe(self) -> dict[str, Any]:
        """The card and its driver's side, for a report."""
        if not self.pinned:
            return {"card": "none: emulated on the host"}
        properties = torch.cuda.get_device_properties(self.device)
        return {
            "card": properties.name,
            "memory GiB": properties.total_memory / 2**30,
            "multiprocessors": properties.multi_processor_count,
            "capability": f"{properties.major}.{properties.minor}",
            "cuda": torch.version.cuda,
        }


def _card() -> Place:
    if not torch.cuda.is_available():
        raise SystemExit(
            "there is no CUDA card that this torch finds; --place emulated tries the program "
            "without one, and measures nothing"
        )
    return Place(
        name="card",
        device=torch.device("cuda"),
        bridge=_C.ParameterBridge,
        kernels=None,
        synchronize=torch.cuda.synchronize,
        pinned=True,
    )


def _emulated() -> Place:
    try:
        kernels = import_module("pytorch_minimize._C_testing").emulated_kernels
    except ImportError:
        raise SystemExit(
            "the emulated kernels are in an extension that TESTING=1 builds (see setup.py)"
        ) from None
    bridges: Any = _C.ParameterBridge
    return Place(
        name="emulated",
        device=torch.device("cpu"),
        bridge=lambda params: bridges._with_kernels(checked(params), kernels, [0]),
        kernels=kernels,
        synchronize=lambda: None,
        pinned=False,
    )


PLACES: dict[str, Callable[[], Place]] = {"card": _card, "emulated": _emulated}


def place(name: str | None) -> Place:
    """The one of that name; by default the card, if there is one."""
    return PLACES[name or ("card" if torch.cuda.is_available() else "emulated")]()
