"""Peak memory of a process that minimises, beyond one with a tiny problem and beyond the model.

    python -m pytorch_minimize.report._memory METHOD N

prints the peak of one method in bytes; METHOD is a peer, or "scipy" for scipy on a numpy function.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.optimize
import torch
from torch import Tensor, nn

from ._peers import PEERS, Rule, why_not
from ._problems import Problem

__all__ = ["by_size"]

Row = Mapping[str, Any]

TENSORS = 10
RULE = Rule(maxiter=10)
SCIPY = "scipy alone"
TINY = 10 * TENSORS

# What is freed then leaves the process at once, so that the peak is of what is alive: else glibc
# keeps up to 32 MB a piece, more or less of it as allocations happen to follow each other.
_EACH_ITS_OWN_PAGES = {"MALLOC_MMAP_THRESHOLD_": "1000000"}


def by_size(sizes: list[int], names: Sequence[str] = tuple(PEERS)) -> list[Row]:
    """Peak memory as n grows: in MB, and in float64 vectors of length n."""
    rows: list[Row] = []
    floors = {name: _peak_of(name, TINY) for name in (SCIPY, *names)}
    for n in sizes:
        extras = {name: _beyond(floor, n, name) for name, floor in floors.items()}
        rows += [_row(n, name, extra, extras[SCIPY]) for name, extra in extras.items()]
    return rows


def _row(n: int, name: str, extra: float | str, scipys: float | str) -> Row:
    row = {"n": n, "peer": name}
    if isinstance(extra, str) or isinstance(scipys, str):
        return row | {"note": extra}
    return row | {
        "MB": extra / 1e6,
        "vectors": extra / (8 * n),
        "vectors beyond scipy": (extra - scipys) / (8 * n),
    }


def _beyond(floor: int | str, n: int, name: str) -> float | str:
    """Bytes beyond what is there without a run: imports, parameters and gradients."""
    peak = floor if isinstance(floor, str) else _peak_of(name, n)
    if isinstance(floor, str) or isinstance(peak, str):
        return str(peak)
    return float(peak - floor - 2 * 8 * n)


def _peak_of(method: str, n: int) -> int | str:
    """Bytes, or why there are none."""
    command = [sys.executable, "-W", "ignore", "-m", __name__, method, str(n)]
    process = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | _EACH_ITS_OWN_PAGES
    )
    last = (process.stdout if process.returncode == 0 else process.stderr).strip().splitlines()
    answer = last[-1] if last else f"exit status {process.returncode}"
    return int(answer) if process.returncode == 0 and answer.isdigit() else answer


def _bowl(n: int) -> tuple[Problem, list[float]]:
    """sum w |p|^2 / 2, over tensors of different w; the gradient is all that it allocates."""
    weights = np.logspace(-2, 0, TENSORS).tolist()
    params = [nn.Parameter(torch.ones(n // TENSORS, dtype=torch.float64)) for _ in weights]

    def loss_of(*tensors: Tensor) -> Tensor:
        terms = [w / 2 * torch.dot(p, p) for w, p in zip(weights, tensors, strict=True)]
        return torch.stack(terms).sum()

    return Problem(params, lambda: loss_of(*params), loss_of, resets=False), weights


def _scipy_alone(n: int, weights: list[float]) -> None:
    column = np.array(weights)[:, None]

    def fun(x: Any) -> float:
        parts = x.reshape(TENSORS, -1)
        return float(sum(w / 2 * (p @ p) for w, p in zip(weights, parts, strict=True)))

    def jac(x: Any) -> Any:
        return (x.reshape(TENSORS, -1) * column).reshape(-1)

    options = RULE.options
    scipy.optimize.minimize(fun, np.ones(n), jac=jac, method=RULE.method, options=options)


def main(method: str, n: int) -> None:
    import resource  # not on Windows

    problem, weights = _bowl(n)
    problem.closure()
    if method == SCIPY:
        _scipy_alone(n, weights)
    else:
        refusal = why_not(PEERS[method], lambda: PEERS[method].run(problem, RULE))
        if refusal is not None:
            print(refusal)
            return
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(peak * (1 if sys.platform == "darwin" else 1024))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
