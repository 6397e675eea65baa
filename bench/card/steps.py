"""The steps of a check on a card, and how one is run: in a process with a limit, into a log."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .build import ROOT, toolkit

__all__ = ["Done", "Step", "run", "steps"]

_TESTS = 4  # processes side by side
_KILLED = 124


@dataclass(frozen=True)
class Step:
    """One process.

    Attributes:
        name: of its log.
        command: None where the machine has no such program.
        limit: seconds, after which it shows where it is and is killed.
        beside: it starts with the step before it, and does not wait for that.
        environment: besides what all have.
    """

    name: str
    command: list[str] | None
    limit: float
    beside: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Done:
    """What came of a step."""

    name: str
    status: int | None
    seconds: float
    last: str
    failed: list[str]

    @property
    def note(self) -> str:
        if self.status is None:
            return "not run: no such program here"
        return "ok" if self.status == 0 else f"FAILED, status {self.status}"

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "seconds": round(self.seconds, 1)}


def steps(folder: Path, place: str, tiny: bool) -> list[Step]:
    """The table, in order.

    Args:
        folder: where all of it is written.
        place: "card" or "emulated".
        tiny: only shows that all works.
    """
    card = place == "card"
    small = ["--tiny"] if tiny else []
    there = ["--place", place]
    few = ["--few"] if tiny else []
    return [
        Step("build", _module("build", str(folder)), 240),
        Step("smoke", _module("smoke", *there, *few), 90),
        *_tests(card),
        Step(
            "memcheck",
            _memcheck() if card else None,
            100,
            environment={"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"},
        ),
        Step("rates", _module("rates", *there, *small, "--json", str(folder / "rates.json")), 90),
        Step("bench", _bench(folder, [*there, *(small or ["--short"])]), 150),
        Step("pictures", _module("pictures", str(folder)), 60),
    ]


def _module(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"bench.card.{name}", *arguments]


def _bench(folder: Path, arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "bench.gpu", *arguments, "--json", str(folder / "gpu.json")]


def _tests(card: bool) -> list[Step]:
    """Those that need a card; without one, those of its kernels' code on the host."""
    files = sorted(
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("test_*.py")
        if ("mark.gpu" in path.read_text(encoding="utf-8") if card else _is_of_a_device(path))
    )
    count = _TESTS if card else 1
    # A warning of a version that is new here is to be read, not to fail what works.
    options = ["-q", "-W", "default", "-p", "no:cacheprovider", "-p", "bench.card.share"]
    options += ["--durations=4", "-o", "faulthandler_timeout=60", *(["-m", "gpu"] if card else [])]
    return [
        Step(
            f"tests-{k + 1}",
            [sys.executable, "-m", "pytest", *options, *files],
            180,
            beside=k > 0,
            environment={
                "CARD_SHARE": f"{k}/{count}",
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // count)),
            },
        )
        for k in range(count)
    ]


def _is_of_a_device(path: Path) -> bool:
    return path.name == "test_device_inverse.py"


def _memcheck() -> list[str] | None:
    """Over our own kernels alone, all of which have the namespace in their names."""
    top = toolkit() or ""
    places = [Path(top, "bin"), Path(top, "compute-sanitizer")]
    found = shutil.which("compute-sanitizer") or next(
        (
            str(place / "compute-sanitizer")
            for place in places
            if (place / "compute-sanitizer").is_file()
        ),
        None,
    )
    if found is None:
        return None
    checked = ["--tool", "memcheck", "--error-exitcode", "9", "--kernel-name", "kns=minimize"]
    return [found, *checked, *_module("smoke", "--few", "--place", "card")]


class _Running:
    """A step on its way."""

    def __init__(self, step: Step, folder: Path) -> None:
        self.step, self._log = step, folder / f"{step.name}.log"
        self._start = time.monotonic()
        self._process: subprocess.Popen[bytes] | None = None
        if step.command is None:
            return
        paths = [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "PYTHONFAULTHANDLER": "1",  # shows where it is as it is aborted
            "PYTHONUNBUFFERED": "1",
            **step.environment,
        }
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                step.command,
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self) -> Done:
        if self._process is None:
            return Done(self.step.name, None, 0.0, "", [])
        try:
            left = self.step.limit - (time.monotonic() - self._start)
            status = self._process.wait(timeout=max(0.1, left))
        except subprocess.TimeoutExpired:
            status = _KILLED
        finally:
            self._end()
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        said = [line for line in lines if line.strip()]
        failed = [line[:200] for line in lines if re.match(r"(FAILED|ERROR) ", line)]
        seconds = time.monotonic() - self._start
        return Done(self.step.name, status, seconds, said[-1][:200] if said else "", failed)

    def _end(self) -> None:
        """With all that it started."""
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGABRT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def run(together: list[Step], folder: Path) -> list[Done]:
    """These at once, each into its log."""
    return [running.wait() for running in [_Running(step, folder) for step in together]]
