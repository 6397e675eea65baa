"""What every benchmark shares: interleaved timing, the table on stdout, the JSON file."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import threadpoolctl
import torch

from pytorch_minimize import _C

Row = Mapping[str, Any]

_PACKAGES = ("pytorch-minimize-bridge", "torch", "scipy", "numpy")


def interleaved(
    cases: Mapping[str, Callable[[], object]], *, rounds: int, number: int = 1
) -> dict[str, float]:
    """Median seconds per call of each case, all run in every round after one call untimed.

    Cases that take turns meet the same noise of the machine, so that their ratios hold
    where their absolute times do not. Each time is the mean of `number` calls: more than one
    for cases so short that the clock would show.

    Example:
        >>> data = list(range(9))
        >>> sorted(interleaved({"sum": lambda: sum(data), "max": lambda: max(data)}, rounds=5))
        ['max', 'sum']
    """
    for case in cases.values():
        case()
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            start = time.perf_counter()
            for _ in range(number):
                case()
            seconds[name].append((time.perf_counter() - start) / number)
    return {name: statistics.median(times) for name, times in seconds.items()}


def environment() -> dict[str, Any]:
    """The machine and its load, the versions, the build, the threads of each pool, the date."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": {
            "cpu": _cpu_model(),
            "cores": len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count(),
            "load": os.getloadavg()[0],
            "system": platform.platform(),
        },
        "versions": {"python": platform.python_version()} | {p: _version(p) for p in _PACKAGES},
        "build": _C.build_info(),
        "threads": {"torch": torch.get_num_threads(), "pools": _pools()},
    }


def write(path: str | os.PathLike[str], rows: Sequence[Row]) -> None:
    """Write `rows` and the environment they were measured in to `path`, as JSON."""
    report = {"environment": environment(), "rows": [dict(row) for row in rows]}
    target = pathlib.Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def headline() -> str:
    """One line on where and with what the figures that follow were measured."""
    here = environment()
    machine, versions = here["machine"], here["versions"]
    return (
        f"{machine['cpu']}, {here['threads']['torch']} threads of {machine['cores']} cores at load "
        f"{machine['load']:.1f}, torch {versions['torch']}, scipy {versions['scipy']}"
    )


def table(rows: Sequence[Row]) -> str:
    """`rows` as aligned text: one column per key, in the order in which keys first appear.

    Example:
        >>> print(table([{"n": 100, "ms": 0.25}, {"n": 2000, "note": "warm"}]))
        n     ms    note
        100   0.25
        2000        warm
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [columns] + [[_cell(row.get(column, "")) for column in columns] for row in rows]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    padded = ("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
    return "\n".join(padded)


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _cpu_model() -> str:
    # platform.processor() is empty on most Linux systems.
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as cpuinfo:
            names = [line.split(":", 1)[1].strip() for line in cpuinfo if "model name" in line]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _pools() -> list[dict[str, Any]]:
    # The file's own name tells scipy's OpenBLAS from numpy's; where it lies does not matter.
    return [
        {"library": pathlib.Path(pool["filepath"]).name, "threads": pool["num_threads"]}
        for pool in threadpoolctl.threadpool_info()
    ]
