"""Where and with what figures are measured: machine, versions, threads, date."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import pathlib
import platform
from collections.abc import Mapping
from typing import Any

import threadpoolctl
import torch

from pytorch_minimize import _C

from .peers import PEERS

__all__ = ["environment", "headline", "threads"]

_PACKAGES = ("pytorch-minimize-bridge", "torch", "scipy", "numpy")


def environment() -> dict[str, Any]:
    """The machine and its load, the versions, the build, the date."""
    packages = [*_PACKAGES, *sorted({peer.distribution for peer in PEERS.values()} - {"torch"})]
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": {
            "cpu": _cpu_model(),
            "cores": _cores(),
            "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
            "system": platform.platform(),
        },
        # torch's own word says which build it is; its distribution need not.
        "versions": {"python": platform.python_version()}
        | {package: _version(package) for package in packages}
        | {"torch": torch.__version__},
        "build": dict(_C.build_info()),
    }


def threads() -> dict[str, Any]:
    """The threads of torch and of each BLAS or OpenMP library that is loaded."""
    # The file's own name tells scipy's OpenBLAS from numpy's; where it lies does not matter.
    pools = {
        pathlib.Path(pool["filepath"]).name: pool["num_threads"]
        for pool in threadpoolctl.threadpool_info()
    }
    return {"torch": torch.get_num_threads(), "pools": pools}


def headline(report: Mapping[str, Any]) -> str:
    """One line on where and with what a report's figures were measured.

    Args:
        report: has ``environment`` as :func:`environment` makes it.
    """
    here = report["environment"]
    machine, versions = here["machine"], here["versions"]
    return (
        f"{machine['cpu']}, {machine['cores']} cores, torch {versions['torch']}, "
        f"scipy {versions['scipy']}, numpy {versions['numpy']}, {here['date'][:10]}"
    )


def _cores() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


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
