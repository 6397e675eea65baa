"""What an iteration of dense BFGS costs outside the closure: scipy's, ours, and torchmin's.

    python -m bench.iterations [--threads 2] [--out bench/results]

The closure is a separable quadratic of n multiplications. Beside the time stands what the same
threads need to copy a matrix, in the same run: for 24 n^2 bytes, which a product and an update
take, and for the 8 n^2 that ours counts.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter
from typing import Any

import scipy.optimize
import torch

from pytorch_minimize.run.protocol import drive
from pytorch_minimize.solvers.methods import METHODS, array_solver

from .alone import Bowl, measure, options

__all__ = ["main", "rows"]

# Iterations of scipy and torchmin, whose cost grows with n^3 or whose passes are many, and of ours.
ITERATIONS = {500: (30, 200), 2000: (5, 60), 5000: (2, 30)}


Outside = Callable[[Bowl, int], int]


def _scipys(bowl: Bowl, iterations: int) -> int:
    stated = {"maxiter": iterations, "gtol": 0.0}
    res = scipy.optimize.minimize(bowl, bowl.start, jac=True, method="BFGS", options=stated)
    return int(res.nit)


def _torchmins(bowl: Bowl, iterations: int) -> int:
    import torchmin

    d = torch.from_numpy(bowl.d)
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
        stated = {"maxiter": iterations, "gtol": 0.0}
        solver = array_solver(method, stated, bowl.start.size)
        drive(solver.start(bowl.start), bowl.answer)
        while solver.done() is None:
            drive(solver.step(), bowl.answer)
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
    args = options(
        "An iteration of BFGS outside the closure.", "iterations", [*ITERATIONS]
    ).parse_args(argv)
    measure("iterations", args, lambda: rows(args.sizes))


if __name__ == "__main__":
    main()
