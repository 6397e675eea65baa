"""The round trip load_params + flatten_grads: native, in Python, and two plain copies.

The two copies, np.copyto of the float64 vector, are what moving the vector alone
would cost a numpy program. All columns of a row are measured in one run, in turn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pytorch_minimize import _C
from pytorch_minimize._bridge import Bridge, PythonBridge

from ._timing import interleaved

__all__ = ["round_trips"]


@dataclass(frozen=True)
class Case:
    tensors: int
    size: int
    dtype: torch.dtype
    number: int = 1

    @property
    def name(self) -> str:
        return f"{self.tensors} x {self.size:,} {str(self.dtype).removeprefix('torch.')}"

    def params(self) -> list[Tensor]:
        made = []
        for _ in range(self.tensors):
            made.append(torch.randn(self.size, dtype=self.dtype, requires_grad=True))
            made[-1].grad = torch.randn_like(made[-1])
        return made


CASES = [
    Case(4, 100, torch.float64, number=200),
    Case(1000, 64, torch.float32, number=5),
    Case(1, 64_000, torch.float32, number=5),
    Case(4, 1_000_000, torch.float32),
    Case(4, 1_000_000, torch.float64),
    Case(4, 12_500_000, torch.float32),
    Case(4, 12_500_000, torch.float64),
]


def round_trips(largest: int, rounds: int) -> list[dict[str, Any]]:
    """A row for each case of at most ``largest`` elements."""
    cases = [case for case in CASES if case.tensors * case.size <= largest]
    return [measure(case, rounds) for case in cases]


def round_trip(bridge: Bridge) -> Callable[[], object]:
    x = bridge.flatten_params() + 0.0

    def run() -> object:
        bridge.load_params(x)
        return bridge.flatten_grads()

    return run


def two_copies(numel: int) -> Callable[[], object]:
    source, target = np.ones(numel), np.zeros(numel)

    def run() -> None:
        np.copyto(target, source)
        np.copyto(target, source)

    return run


def measure(case: Case, rounds: int) -> dict[str, Any]:
    params = case.params()
    native = _C.ParameterBridge(params)
    seconds = interleaved(
        {
            "native": round_trip(native),
            "python": round_trip(PythonBridge(params)),
            "copies": two_copies(native.numel),
        },
        rounds=rounds,
        number=case.number,
    )
    return {
        "case": case.name,
        **{f"{name} us": 1e6 * value for name, value in seconds.items()},
        "python / native": seconds["python"] / seconds["native"],
        "native / copies": seconds["native"] / seconds["copies"],
    }
