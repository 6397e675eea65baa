"""Forks runs that write checkpoints, and kills each after the seconds that it is told.

Reads lines "trial seconds", writes the exit code of each child. Seconds count from the moment
at which the first checkpoint is there.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import torch
from problems import rosenbrock

from pytorch_minimize.optim import MinimizeWrapper

torch.set_num_threads(1)


def run(file: Path, max_evaluations: int | None = None) -> None:
    instance = rosenbrock()
    endless = {"maxfev": 10**9, "maxiter": 10**9, "xatol": 0.0, "fatol": -1.0}
    MinimizeWrapper(
        instance.params,
        {"method": "Nelder-Mead", "options": endless},
        checkpoint=(file, 0),
        max_evaluations=max_evaluations,
    ).step(instance.closure(2))


run(Path(sys.argv[1]) / "warm.pt", max_evaluations=2)  # what is slow once is done before the forks

for line in sys.stdin:
    trial, seconds = line.split()
    file = Path(sys.argv[1]) / f"{trial}.pt"
    child = os.fork()
    if child == 0:
        run(file)
        os._exit(0)
    while not file.exists():
        time.sleep(0.001)
    time.sleep(float(seconds))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
