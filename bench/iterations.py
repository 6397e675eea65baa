"""What an iteration of dense BFGS costs outside the closure: scipy's, ours, and torchmin's.

    python -m bench.iterations [--threads 2] [--out bench/results]

The closure is a separable quadratic of n multiplications. Beside the time stands what the same
threads need to copy a matrix, in the same run: for 24 n^2 bytes, which a product and an update
take, and for the 8 n^2 that ours counts.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import scipy.optimize
import torch
from threadpoolctl import threadpool_limits

from pytorch_minimize.run.protocol import Answer, Trial, drive
from pytorch_minimize.solvers.methods import METHODS, array_solver
from pytorch_minimize.typing import Array

from .environment import environment, headline
from .rows import table

__all__ = ["main", "rows"]

# Iterations of scipy and torchmin, whose cost grows with n^3 or whose passes are many, and of ours.
ITERATIONS = {500: (30, 200), 2000: (5, 60), 5000: (2, 30)}


class Bowl:
    """sum d x^2 / 2 with a condition of 1e6, and the seconds that it took."""

    def __init__(self, n: int) -> None:
        self.seconds = 0.0
        self.start = np.ones(n)
        self._d = np.geomspace(1e-3, 1e3, n)

    def __call__(self, x: Array) -> tuple[float, Array]:
        before = perf_counter()
        gradient = self._d * x
        value = 0.5 * float(gradient @ x)
        self.seconds += perf_counter() - before
        return value, gradient


Outside = Callable[[Bowl, int], int]


def _scipys(bowl: Bowl, iterations: int) -> int:
    options = {"maxiter": iterations, "gtol": 0.0}
    res = scipy.optimize.minimize(bowl, bowl.start, jac=True, method="BFGS", options=options)
    return int(res.nit)


def _torchmins(bowl: Bowl, iterations: int) -> int:
    import torchmin

    d = torch.from_numpy(bowl._d)
    res = torchmin.minimize(
        lambda x: 0.5 * (d * x * x).sum(),
        torch.from_numpy(bowl.start),
        method="bfgs",
        max_iter=iterations,
        tol=0.0,
    )
    return int(res.nit)


def _ours(method: str) -> Outside:
    def run(bowl: Bowl, iterations: int) -> int:
        options = {"maxiter": iterations, "gtol": 0.0}
        solver = array_solver(method, options, bowl.start.size)

        def evaluate(trial: Trial[Array]) -> Answer[Array]:
            value, gradient = bowl(trial.x)
            assert trial.measure is not None
            return Answer(value, gradient, True, trial.measure(gradient).tolist())

        drive(solver.start(bowl.start), evaluate)
        while solver.done() is None:
            drive(solver.step(), evaluate)
        return solver.nit

    return run


def _seconds(run: Outside, n: int, iterations: int) -> float:
    """The shortest of three runs, an iteration."""
    best = math.inf
    for _ in range(3):
        bowl, before = Bowl(n), perf_counter()
        nit = run(bowl, iterations)
        best = min(best, (perf_counter() - before - bowl.seconds) / max(1, nit))
    return best


def copied(n: int) -> float:
    """Bytes a second of a matrix copied by torch's threads, read and written."""
    source, best = torch.ones(n, n, dtype=torch.float64), math.inf
    target = torch.empty_like(source)
    for _ in range(7):
        before = perf_counter()
        target.copy_(source)
        best = min(best, perf_counter() - before)
    return 16 * n * n / best


def rows(sizes: Sequence[int]) -> Iterator[dict[str, Any]]:
    for n in sizes:
        few, many = ITERATIONS[n]
        scipys, bandwidth = _seconds(_scipys, n, few), copied(n)
        found = {"scipy BFGS": scipys}
        if importlib.util.find_spec("torchmin") is not None:
            found["torchmin bfgs"] = _seconds(_torchmins, n, few)
        found |= {name: _seconds(_ours(name), n, many) for name in METHODS}
        for name, seconds in found.items():
            row = {"n": n, "solver": name, "ms": 1e3 * seconds, "times scipy": scipys / seconds}
            if name in METHODS:
                row["of 24 n^2 copied"] = seconds * bandwidth / (24 * n * n)
                row["of 8 n^2 copied"] = seconds * bandwidth / (8 * n * n)
            yield row


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="An iteration of BFGS outside the closure.")
    parser.add_argument("--sizes", type=int, nargs="*", choices=ITERATIONS, default=[*ITERATIONS])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="where iterations.json goes")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    with threadpool_limits(args.threads):
        measured = list(rows(args.sizes))
    report = {"environment": environment(), "threads": args.threads, "rows": measured}
    print(headline(report), f"{args.threads} threads", table(measured), sep="\n")
    if args.out:
        text = json.dumps(report, indent=1) + "\n"
        (args.out / "iterations.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
