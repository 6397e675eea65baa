"""Peak memory of a process that minimises, beyond one with a small problem and beyond the model.

    python -m bench.memory PEER N METHOD

prints the peak in bytes; PEER may be "scipy alone", for scipy on a numpy function.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.optimize
import torch
from torch import Tensor, nn

from .peers import OURS, PEERS, Rule, why_not
from .problems import Problem

__all__ = ["by_size", "peak_bytes", "peak_vectors"]

Row = Mapping[str, Any]

TENSORS = 10
SCIPY = "scipy alone"
SMALL = 100_000  # all that a run ever starts and imports is there with it, threads included

# What is freed then leaves the process at once, so that the peak is of what is alive: else glibc
# keeps up to 32 MB a piece, more or less of it as allocations happen to follow each other.
_EACH_ITS_OWN_PAGES = {"MALLOC_MMAP_THRESHOLD_": "200000"}


def by_size(methods: Mapping[str, Sequence[str]], sizes: Sequence[int]) -> Iterator[Row]:
    """Peak memory as n grows: in MB, and in float64 vectors of length n.

    Args:
        methods: scipy's name of each, and who is measured with it beside scipy alone.
    """
    for method, names in methods.items():
        floors = {name: _peak_of(name, SMALL, method) for name in (SCIPY, *names)}
        for n in sizes:
            extras = {name: _beyond(floor, n, name, method) for name, floor in floors.items()}
            for name, extra in extras.items():
                yield {"method": method} | dict(_row(n, name, extra, extras[SCIPY]))


def peak_vectors(method: str, n: int) -> float | None:
    """float64 vectors of length n that a run of ours takes beyond parameters and gradients."""
    extra = _beyond(_peak_of(OURS, SMALL, method), n, OURS, method)
    return None if isinstance(extra, str) else extra / (8 * (n - SMALL))


def _row(n: int, name: str, extra: float | str, scipys: float | str) -> Row:
    row = {"n": n, "peer": name}
    if isinstance(extra, str) or isinstance(scipys, str):
        return row | {"note": str(extra)}
    return row | {
        "MB": extra / 1e6,
        "vectors": extra / (8 * (n - SMALL)),
        "vectors beyond scipy": (extra - scipys) / (8 * (n - SMALL)),
    }


def _beyond(floor: int | str, n: int, name: str, method: str) -> float | str:
    """Bytes beyond those of a small run, parameters and gradients."""
    peak = floor if isinstance(floor, str) else _peak_of(name, n, method)
    if isinstance(floor, str) or isinstance(peak, str):
        return str(peak)
    return float(peak - floor - 2 * 8 * (n - SMALL))


def _peak_of(name: str, n: int, method: str) -> int | str:
    """Bytes, or why there are none."""
    command = [sys.executable, "-W", "ignore", "-m", __name__, name, str(n), method]
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


def _scipy_alone(n: int, weights: list[float], rule: Rule) -> None:
    column = np.array(weights)[:, None]

    def fun(x: Any) -> float:
        parts = x.reshape(TENSORS, -1)
        return float(sum(w / 2 * (p @ p) for w, p in zip(weights, parts, strict=True)))

    def jac(x: Any) -> Any:
        return (x.reshape(TENSORS, -1) * column).reshape(-1)

    options = rule.options
    scipy.optimize.minimize(fun, np.ones(n), jac=jac, method=rule.method, options=options)


def main(name: str, n: int, method: str) -> None:
    problem, weights = _bowl(n)
    problem.closure()
    rule = Rule(maxiter=10, method=method)
    if name == SCIPY:
        _scipy_alone(n, weights, rule)
    else:
        refusal = why_not(PEERS[name], lambda: PEERS[name].run(problem, rule))
        if refusal is not None:
            print(refusal)
            return
    print(peak_bytes())


def peak_bytes() -> int:
    """Bytes that this process had at most."""
    status = Path("/proc/self/status")
    if status.exists():
        # Linux hands the parent's maximum down into what getrusage tells, but not into this.
        lines = status.read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
