"""What a machine is: card, driver, link, cores, compilers, versions."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["describe", "output"]

_PACKAGES = (
    "torch", "numpy", "scipy", "setuptools", "ninja", "pybind11", "pytest", "hypothesis", "tqdm",
    "threadpoolctl", "matplotlib", "scikit-learn", "triton",
)  # fmt: skip
_ASKED = "name,driver_version,memory.total,pcie.link.gen.max,pcie.link.width.max"
_COMMANDS = (
    ["nvidia-smi"],
    ["nvidia-smi", "topo", "-m"],
    ["lscpu"],
    ["free", "-g"],
    ["c++", "--version"],
    ["nvcc", "--version"],
)


def output(command: list[str]) -> str | None:
    """What a command prints, both ways; None where there is none or it fails."""
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def describe(log: Path) -> dict[str, Any]:
    """The machine in short; at length in ``log``. Nothing of the package is imported."""
    text = [f"$ {' '.join(command)}\n{output(command) or 'none'}\n" for command in _COMMANDS]
    log.write_text("\n".join(text), encoding="utf-8")
    query = output(["nvidia-smi", f"--query-gpu={_ASKED}", "--format=csv,noheader"])
    names = [name.replace("_", " ").replace(".", " ") for name in _ASKED.split(",")]
    return {
        "cards": [
            dict(zip(names, map(str.strip, line.split(",")), strict=True))
            for line in (query or "").splitlines()
        ],
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "versions": {"python": sys.version.split()[0]}
        | {name: _version(name) for name in _PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
