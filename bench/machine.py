"""What every benchmark records beside its numbers, and how it measures."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy
import scipy
import torch

from pytorch_minimize import _C


def describe() -> dict[str, Any]:
    """The machine, the versions and the threads of this run."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "scipy": scipy.__version__,
        "threads": torch.get_num_threads(),
        "load": os.getloadavg(),
        "build": _C.build_info(),
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    names = [
        line.split(":", 1)[1].strip()
        for line in (info.read_text().splitlines() if info.exists() else [])
        if line.startswith("model name")
    ]
    return names[0] if names else platform.processor()


def interleaved(
    functions: Mapping[str, Callable[[], object]], *, rounds: int, number: int = 1
) -> dict[str, float]:
    """Median seconds per call of each function, all of them measured in every round."""
    samples: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(rounds):
        for name, function in functions.items():
            begin = time.perf_counter()
            for _ in range(number):
                function()
            samples[name].append((time.perf_counter() - begin) / number)
    return {name: median(values) for name, values in samples.items()}


def write_json(path: Path, results: list[dict[str, Any]]) -> None:
    """Writes results together with `describe()`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": describe(), "results": results}, indent=2) + "\n")
