"""Builds the extension in place by the Python that runs this, with no network.

    python -m bench.card.build FOLDER

A setuptools older than 77 refuses this package's metadata, which a build in place does not need:
it is given a folder of links without it, inside FOLDER.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from .machine import output

__all__ = ["main", "source", "toolkit"]

ROOT = Path(__file__).parents[2]
_FIRST = 77  # of setuptools, that knows licenses by their names
_NEEDED = ("setup.py", "csrc", "pytorch_minimize", "README.md")


def toolkit() -> str | None:
    """Where CUDA's headers are, by nvcc's own word: what is on the PATH may be a link."""
    said = output(["nvcc", "--dryrun", "-x", "cu", os.devnull]) or ""
    tops = [line.split(" TOP=", 1)[1].strip() for line in said.splitlines() if " TOP=" in line]
    for top in (*tops, "/usr/local/cuda"):
        if Path(top, "include/cuda_runtime_api.h").is_file():
            return str(Path(top).resolve())
    return None


def source(folder: Path, setuptools: str) -> Path:
    """From where to build: the tree itself, or links to what of it is needed."""
    if int(setuptools.split(".")[0]) >= _FIRST:
        return ROOT
    linked = folder / "source"
    linked.mkdir(parents=True, exist_ok=True)
    for name in _NEEDED:
        link = linked / name
        if not link.is_symlink():
            link.symlink_to(ROOT / name)
    return linked


def main(argv: Sequence[str] | None = None) -> int:
    [folder] = sys.argv[1:] if argv is None else argv
    found = toolkit()
    environment = {
        "TESTING": "1",
        "MAX_JOBS": str(os.cpu_count() or 1),
        **({} if found is None else {"CUDA_HOME": found}),
        **os.environ,
    }
    # Where ninja is, which torch's build looks for on the PATH.
    beside = str(Path(sys.executable).parent)
    environment["PATH"] = os.pathsep.join([environment.get("PATH", os.defpath), beside])
    where = source(Path(folder).resolve(), version("setuptools"))
    print("toolkit", environment.get("CUDA_HOME"), "from", where, flush=True)
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    built = subprocess.run(command, cwd=where, env=environment, check=False)
    if built.returncode != 0:
        return built.returncode
    shown = "from pytorch_minimize import _C; print(_C.build_info())"
    return subprocess.run([sys.executable, "-c", shown], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
