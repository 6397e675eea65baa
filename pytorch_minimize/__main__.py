"""python -m pytorch_minimize: what a bug report needs, and what the bridge costs on this machine.

The table is of the round trip that each evaluation makes, ``load_params`` and ``flatten_grads``:
through the C++ extension, through the Python bridge, and, for the least that any program would
need, two plain copies of the float64 vector. The three take turns, and so meet the same noise.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from time import perf_counter

import numpy as np
import scipy
import torch
from torch import Tensor

from . import __version__
from .bridge.interface import Bridge
from .bridge.python import PythonBridge
from .extension import chosen_bridge, native

SIZES = (100, 10_000, 1_000_000)
DTYPES = (torch.float64, torch.float32)
TENSORS = 10
ROUNDS = 15
ROUND = 0.02  # seconds that one turn of a case takes at least

COLUMNS = ("n", "dtype", "native", "python", "two copies", "native / copies", "python / native")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m pytorch_minimize",
        description="Versions and build for a bug report; then what the bridge costs here.",
    )
    parser.add_argument("--versions", action="store_true", help="leave out the table")
    only_versions = parser.parse_args(argv).versions
    for name, value in environment().items():
        print(f"{name:<16} {value}")
    if only_versions:
        return 0
    print(f"\nload_params + flatten_grads over {TENSORS} tensors, median of {ROUNDS}")
    print(_line(COLUMNS))
    for row in costs():
        print(_line(row), flush=True)
    return 0


def environment() -> Mapping[str, object]:
    """Versions, machine and build, by what they are called in a report."""
    build = native.build_info() if native is not None else {}
    cards = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "pytorch_minimize": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "scipy": scipy.__version__,
        "numpy": np.__version__,
        "system": platform.platform(),
        "cores": cores,
        "torch's threads": torch.get_num_threads(),
        "cards": ", ".join(cards) or None,
        "bridge": chosen_bridge(),
        **{f"built: {name}": value for name, value in build.items()},
    }


def costs() -> Iterator[Sequence[str]]:
    """A row of the table for each size and dtype, as it is to be printed."""
    for dtype in DTYPES:
        for numel in SIZES:
            params = _params(numel, dtype)
            cases = {"python": _round_trip(PythonBridge(params)), "two copies": _two_copies(numel)}
            if native is not None:
                cases["native"] = _round_trip(native.ParameterBridge(params))
            yield (f"{numel:,}", str(dtype).removeprefix("torch."), *_figures(_in_turn(cases)))


def _figures(seconds: Mapping[str, float]) -> Iterator[str]:
    for name in ("native", "python", "two copies"):
        yield f"{1e6 * seconds[name]:.1f} us" if name in seconds else "-"
    for above, below in (("native", "two copies"), ("python", "native")):
        both = above in seconds and below in seconds
        yield f"{seconds[above] / seconds[below]:.2f}" if both else "-"


def _params(numel: int, dtype: torch.dtype) -> list[Tensor]:
    params = []
    for part in torch.ones(numel, dtype=dtype).chunk(TENSORS):
        params.append(part.clone().requires_grad_())
        params[-1].grad = torch.ones_like(part)
    return params


def _round_trip(bridge: Bridge) -> Callable[[], object]:
    x = bridge.flatten_params()

    def run() -> object:
        bridge.load_params(x)
        return bridge.flatten_grads()

    return run


def _two_copies(numel: int) -> Callable[[], object]:
    source, target = np.ones(numel), np.zeros(numel)

    def run() -> None:
        np.copyto(target, source)
        np.copyto(target, source)

    return run


def _in_turn(cases: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Median seconds of one call of each, over rounds in which all take their turn."""
    numbers = {name: 1 + int(ROUND / _seconds(run, 3)) for name, run in cases.items()}
    rounds = [
        {name: _seconds(run, numbers[name]) for name, run in cases.items()} for _ in range(ROUNDS)
    ]
    return {name: statistics.median(each[name] for each in rounds) for name in cases}


def _seconds(run: Callable[[], object], number: int) -> float:
    start = perf_counter()
    for _ in range(number):
        run()
    return (perf_counter() - start) / number


def _line(cells: Sequence[str]) -> str:
    return "  ".join(
        f"{cell:>{max(9, len(name))}}" for name, cell in zip(COLUMNS, cells, strict=True)
    )


if __name__ == "__main__":
    sys.exit(main())
