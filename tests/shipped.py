"""The package as it is shipped: an sdist, a wheel made from it, and that installed elsewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

import ninja

ROOT = Path(__file__).parent.parent

# What is made here again and again stays where it is: the compiler's commands are then the same,
# and ninja compiles only what has changed since the last time.
WORKPLACE = ROOT / "build" / "shipped"

IGNORED = shutil.ignore_patterns(
    ".git",
    ".venv*",
    ".*_cache",
    ".hypothesis",
    "__pycache__",
    "build",
    "dist",
    "*.egg-info",
    "*.so",
)


def run(command: list[str | Path], folder: Path, **environment: str) -> str:
    """What `command` prints, run in `folder` with none of the settings of our own build."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "PYTORCH_MINIMIZE", "PIP_", "PYTEST"))
        and name not in ("DEBUG", "SANITIZE", "TESTING", "EXTENSION", "WERROR", "LD_PRELOAD")
    }
    inherited |= {"PATH": f"{ninja.BIN_DIR}{os.pathsep}{inherited['PATH']}", "USE_CUDA": "0"}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, f"{command} failed:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def copy_of_the_tree(folder: Path) -> Path:
    """Only the sources, since a build leaves its files behind, and an old one adds to an sdist."""
    return shutil.copytree(ROOT, folder / "tree", ignore=IGNORED)


def call_backend(hook: str, tree: Path, out: Path, **environment: str) -> Path:
    """What a hook of PEP 517 makes in `out`, as pip and build call it."""
    out.mkdir(exist_ok=True)
    code = f"import setuptools.build_meta as b; print('\\n' + b.{hook}({str(out)!r}))"
    return out / run([sys.executable, "-c", code], tree, **environment).splitlines()[-1]


@dataclass(frozen=True)
class Shipped:
    sdist: Path
    wheel: Path
    python: Path
    """Of an environment that has the wheel, and of this one torch, scipy and the like."""


def ship(folder: Path) -> Shipped:
    sdist = call_backend("build_sdist", copy_of_the_tree(folder), folder / "sdist")
    python = fresh_environment(WORKPLACE / "venv")
    source = unpacked(sdist, WORKPLACE)
    # Objects are kept out of the way of what must be new.
    settings = folder / "settings.cfg"
    settings.write_text(f"[build]\nbuild_temp = {WORKPLACE / 'objects'}\n")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python]
    run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder / "wheel", source],
        folder,
        DIST_EXTRA_CONFIG=str(settings),
    )
    (wheel,) = (folder / "wheel").iterdir()
    # With its requirements, none of which is to be fetched: the environment must satisfy them.
    run([*pip, "install", "--no-index", "--force-reinstall", "--no-deps", wheel], folder)
    run([*pip, "install", "--no-index", wheel], folder)
    return Shipped(sdist, wheel, python)


def unpacked(sdist: Path, folder: Path) -> Path:
    source = folder / sdist.name.removesuffix(".tar.gz")
    shutil.rmtree(source, ignore_errors=True)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return source


def fresh_environment(folder: Path) -> Path:
    """The interpreter of a new environment that sees the packages installed here.

    By their folders alone, whose .pth files are not read: one of them may lead to our sources.
    Without pip, which takes long and may bring a setuptools of its own that is too old.
    """
    run([sys.executable, "-m", "venv", "--clear", "--without-pip", folder], ROOT)
    python = folder / "bin" / "python"
    purelib = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = [path for path in sys.path if re.fullmatch("(site|dist)-packages", Path(path).name)]
    own = Path(run([python, "-c", purelib], ROOT).strip())
    (own / "installed.pth").write_text("\n".join(packages) + "\n")
    return python
