"""Runs the cases, one process each, one after the other, as often as asked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, TextIO

from tqdm import tqdm

from .cases import CASES
from .environment import environment, threads
from .rows import merged, to_json

__all__ = ["measure", "measured"]

# A quick report is for looking whether all works, also where other programs have the cores:
# threads that wait for each other would take most of its time.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

COMMAND = (sys.executable, "-W", "ignore", "-m", __package__ or "")
LIMIT = 900.0  # seconds of one process; the longest case takes a fifth


@dataclass
class Run:
    """What one process answered for a case: what it measured before it failed counts as well."""

    rows: list[Mapping[str, Any]] = field(default_factory=list)
    threads: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    error: str | None = None


def measured(names: Sequence[str], *, quick: bool, repeats: int) -> dict[str, Any]:
    """The report of these cases, ready for JSON.

    The repeats of a case lie minutes apart, so that what passes on the machine is seen in the
    spread and not taken for the figure. A case that fails says so in its ``errors``, and the
    others go on; Ctrl-C leaves what was measured so far, marked ``interrupted``.
    """
    chosen = [name for name in names if not quick or CASES[name].quick is not None]
    jobs = [name for i in range(repeats) for name in chosen if i == 0 or CASES[name].repeats]
    where = environment() | {"quick": quick, "repeats": repeats, "interrupted": False}
    answers: dict[str, list[Run]] = {name: [] for name in chosen}
    with tqdm(total=len(jobs), unit="case", dynamic_ncols=True) as progress:
        try:
            for name, run in _runs(jobs, quick):
                progress.set_postfix_str(name)
                answers[name].append(run)
                if run.error is not None:
                    progress.write(f"{name}: {run.error}", file=sys.stderr)
                progress.update()
        except KeyboardInterrupt:
            where["interrupted"] = True
    cases = {name: _case(runs) for name, runs in answers.items() if runs}
    return {"environment": where, "cases": cases}


def _case(runs: Sequence[Run]) -> dict[str, Any]:
    return {
        "processes": len(runs),
        "seconds": sum(run.seconds for run in runs),
        "threads": next((run.threads for run in runs if run.threads), {}),
        "errors": [run.error for run in runs if run.error is not None],
        "rows": to_json(merged([run.rows for run in runs])),
    }


def _runs(jobs: Sequence[str], quick: bool) -> Iterator[tuple[str, Run]]:
    """A process for each; a quick report has one for all, and another after one that failed."""
    waiting = list(jobs)
    while waiting:
        batch = tuple(waiting if quick else waiting[:1])
        for name, run in zip(batch, in_a_process(batch, quick), strict=False):
            waiting.pop(0)
            yield name, run


def in_a_process(names: Sequence[str], quick: bool) -> Iterator[Run]:
    """What one process answers for the cases that it comes to, the last of which may fail."""
    command = [*COMMAND, "--process", *names] + ["--quick"] * quick
    environ = os.environ | (_ONE_THREAD if quick else {})
    start, run, left = perf_counter(), Run(), len(names)
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environ,
        ) as process,
        _killed_after(LIMIT, process),
    ):
        for answer in _answers(process.stdout or ()):
            run.rows += answer.get("rows", [])
            if "threads" in answer:
                run.threads, run.seconds = answer["threads"], perf_counter() - start
                yield run
                start, run, left = perf_counter(), Run(), left - 1
        if left:
            run.error, run.seconds = _error(process.wait(), log), perf_counter() - start
            yield run


@contextmanager
def _killed_after(seconds: float, process: subprocess.Popen[str]) -> Iterator[None]:
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        process.kill()  # nothing to one that has ended


def _answers(lines: Iterable[str]) -> Iterator[Mapping[str, Any]]:
    for line in lines:
        try:
            answer = json.loads(line)
        except ValueError:  # what a package printed, or half a line of a process that was killed
            continue
        if isinstance(answer, dict):
            yield answer


def _error(status: int, log: TextIO) -> str:
    if status < 0:
        why = f": out of memory, or {LIMIT:g} s are over" * (status == -signal.SIGKILL)
        return f"killed by {signal.Signals(-status).name}{why}"
    log.seek(0)
    lines = log.read().strip().splitlines()
    return lines[-1] if lines else f"ended with status {status} and without an answer"


def measure(names: Iterable[str], quick: bool) -> None:
    """Measure cases here and write their rows to stdout, each as soon as it is known."""
    for name in names:
        case = CASES[name]
        for row in case.measure(**((quick and case.quick) or case.full)):
            print(json.dumps({"rows": [row]}), flush=True)
        print(json.dumps({"threads": threads()}), flush=True)
