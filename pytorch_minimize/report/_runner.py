"""Runs the cases, one process each, one after the other, as often as asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from time import perf_counter
from typing import Any

from tqdm import tqdm

from ._cases import CASES
from ._environment import environment
from ._rows import merged

__all__ = ["measured"]

# A quick report is for looking whether all works, also where other programs have the cores:
# threads that wait for each other would take most of its minute.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def measured(names: Sequence[str], *, quick: bool, repeats: int) -> dict[str, Any]:
    """The report of these cases, ready for JSON.

    The repeats of a case lie minutes apart, so that what passes on the machine is seen in the
    spread and not taken for the figure.
    """
    chosen = [name for name in names if not quick or CASES[name].quick is not None]
    report = {"environment": environment() | {"quick": quick, "repeats": repeats}}
    jobs = [name for i in range(repeats) for name in chosen if i == 0 or CASES[name].repeats]
    answers: dict[str, list[dict[str, Any]]] = {name: [] for name in chosen}
    for name in (progress := tqdm(jobs, unit="case", dynamic_ncols=True)):
        progress.set_postfix_str(name)
        answers[name].append(_in_a_process(name, quick))
    cases = {
        name: {
            "processes": len(runs),
            "seconds": sum(run["seconds"] for run in runs),
            "threads": runs[0]["threads"],
            "rows": merged([run["rows"] for run in runs]),
        }
        for name, runs in answers.items()
    }
    return {**report, "cases": cases}


def _in_a_process(name: str, quick: bool) -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", "-m", __package__ or "", "--process", name]
    start = perf_counter()
    environ = os.environ | (_ONE_THREAD if quick else {})
    process = subprocess.run(
        command + ["--quick"] * quick, capture_output=True, text=True, check=False, env=environ
    )
    if process.returncode != 0:
        raise RuntimeError(f"case {name} failed:\n{process.stderr}")
    answer: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return {**answer, "seconds": perf_counter() - start}
