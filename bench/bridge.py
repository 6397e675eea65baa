"""The round trip load_params + flatten_grads: native, in Python, and two plain copies.

The two copies, np.copyto of the float64 vector, are what moving the vector alone
would cost a numpy program. All columns of a row are measured in one run, in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pytorch_minimize import _C
from pytorch_minimize.bridge.interface import Bridge
from pytorch_minimize.bridge.python import PythonBridge

from .timing import interleaved

__all__ = ["round_trips"]


@dataclass(frozen=True)
class Case:
    """``numel`` elements in ``tensors`` tensors, of sizes that differ by one at most."""

    numel: int
    tensors: int
    dtype: torch.dtype

    @property
    def number(self) -> int:
        """How many round trips are timed together."""
        return max(1, 100_000 // (self.numel + 200 * self.tensors))

    def params(self) -> list[Tensor]:
        sizes = [len(part) for part in np.array_split(np.empty(self.numel, bool), self.tensors)]
        made = []
        for size in sizes:
            made.append(torch.ones(size, dtype=self.dtype, requires_grad=True))
            made[-1].grad = torch.ones_like(made[-1])
        return made


DTYPES = (torch.float64, torch.float32, torch.bfloat16)
SIZES = (100, 10_000, 1_000_000, 50_000_000)
COUNTS = (1, 10, 100, 1000, 10_000)
SPLIT = 64_000

CASES = [Case(n, 4, dtype) for dtype in DTYPES for n in SIZES] + [
    Case(SPLIT, count, dtype) for dtype in DTYPES for count in COUNTS
]


def round_trips(largest: int, rounds: int) -> Iterator[dict[str, Any]]:
    """A row for each case of at most ``largest`` elements: over n, and over tensors, by dtype."""
    return (measure(case, rounds) for case in CASES if case.numel <= largest)


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
        # A pass over so many elements is long, and little disturbs it.
        rounds=rounds if case.numel < 10_000_000 else 1 + rounds // 3,
        number=case.number,
    )
    return {
        "n": case.numel,
        "tensors": case.tensors,
        "dtype": str(case.dtype).removeprefix("torch."),
        **{f"{name} us": 1e6 * value for name, value in seconds.items()},
        "python / native": seconds["python"] / seconds["native"],
        "native / copies": seconds["native"] / seconds["copies"],
    }
