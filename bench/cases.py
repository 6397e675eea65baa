"""The table of cases: each is measured in processes of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from . import bookkeeping, bridge, curvature, fits, memory, methods, overhead, split, vectorized
from .peers import OURS, PEERS, SCIPY_PEERS
from .problems import FITS

__all__ = ["CASES", "Case"]


@dataclass(frozen=True)
class Case:
    """What one process measures.

    Attributes:
        title: what its table is headed with.
        measure: gives rows, one by one if it can; their floats are measurements.
        full, quick: its arguments in a whole report, and in one that only shows that all works;
            a case without the latter is left out there.
        repeats: whether it is worth measuring in several processes.
    """

    title: str
    measure: Callable[..., Iterable[Mapping[str, Any]]]
    full: Mapping[str, Any]
    quick: Mapping[str, Any] | None
    repeats: bool = True


def _overhead_by_size(dtype: str) -> Case:
    sizes = [100, 1000, 10_000, 100_000, 1_000_000, 10_000_000]
    return Case(
        f"Microseconds per evaluation outside the closure, {dtype}, over n",
        overhead.by_size,
        {"dtype": dtype, "sizes": sizes, "rounds": 3},
        {"dtype": dtype, "sizes": sizes[:2], "rounds": 1},
    )


def _overhead_by_tensors(numel: int, counts: list[int]) -> Case:
    return Case(
        f"Microseconds per evaluation outside the closure, n = {numel:,}, over tensors",
        overhead.by_tensors,
        {"numel": numel, "counts": counts, "dtype": "float32", "rounds": 3},
        {"numel": 1000, "counts": [1, 100], "dtype": "float32", "rounds": 1},
    )


def _fit(problem: str, maxiter: int, gtol: float) -> Case:
    return Case(
        f"{problem}: L-BFGS until the gradient is within {gtol:g}, or {maxiter} iterations",
        fits.fit,
        {"problem": problem, "maxiter": maxiter, "gtol": gtol, "rounds": 3},
        {"problem": problem, "maxiter": 3, "gtol": gtol, "rounds": 1},
    )


_ITERATIONS = {
    "digits, logistic": (500, 1e-6),
    "digits, MLP": (200, 0.0),
    "Gaussian process": (100, 1e-5),
    "Poisson network": (100, 0.0),
}

CASES: Mapping[str, Case] = {
    "bridge": Case(
        "Round trip load_params + flatten_grads, against pure Python and two copies",
        bridge.round_trips,
        {"largest": 50_000_000, "rounds": 5},
        {"largest": 1000, "rounds": 1},
    ),
    "overhead-float64": _overhead_by_size("float64"),
    "overhead-float32": _overhead_by_size("float32"),
    "overhead-tensors": _overhead_by_tensors(100_000, [1, 10, 100, 1000, 10_000]),
    "fixed": Case(
        "Microseconds that do not depend on n", split.fixed_costs, {"rounds": 40}, {"rounds": 2}
    ),
    "parts": Case(
        "Milliseconds per evaluation by part",
        split.by_part,
        {"methods": ["L-BFGS-B", "CG"], "sizes": [1000, 100_000, 1_000_000], "rounds": 5},
        {"methods": ["L-BFGS-B"], "sizes": [1000], "rounds": 2},
    ),
    **{f"fit-{name}": _fit(name, *_ITERATIONS[name]) for name in FITS},
    "contention": Case(
        "The digits MLP by L-BFGS-B, and whose BLAS threads run",
        fits.contention,
        {"maxiter": 200, "rounds": 3},
        {"maxiter": 3, "rounds": 1},
    ),
    "methods": Case(
        "Whole fits of the digits (logistic) by each method with its defaults, seconds",
        methods.by_method,
        {"problem": "digits, logistic", "methods": [*methods.METHODS], "rounds": 3},
        {"problem": "digits, logistic", "methods": ["L-BFGS-B"], "rounds": 1},
        repeats=False,
    ),
    "pools": Case(
        "Whole fits with the BLAS pools of scipy and numpy held to one thread, and left alone",
        methods.pools,
        {
            "methods": [*methods.METHODS, "SLSQP"],
            "sizes": [1000, 20_000, 300_000],
            "rounds": 2,
        },
        {"methods": ["CG"], "sizes": [1000], "rounds": 1},
        repeats=False,
    ),
    "bookkeeping": Case(
        "History, callback and limits beside a closure of 1 ms, per iteration",
        bookkeeping.shares,
        {"methods": ["L-BFGS-B", "CG"], "n": 1000, "maxiter": 200, "rounds": 5},
        {"methods": ["CG"], "n": 1000, "maxiter": 20, "rounds": 1},
    ),
    "vectorized": Case(
        "Evaluations per second of differential evolution",
        vectorized.rates,
        {"generations": 20, "rounds": 5},
        {"generations": 2, "rounds": 1},
    ),
    "products": Case(
        "One Hessian product, in gradients",
        curvature.products,
        {"models": ["logistic", "MLP", "deep"], "rounds": 9},
        {"models": ["logistic"], "rounds": 2},
    ),
    "dense": Case("A dense Hessian, seconds", curvature.dense, {"rounds": 1}, None),
    "micro-batches": Case(
        "Megabytes of tensors at the peak of a product over micro-batches",
        curvature.memory,
        {"models": ["logistic", "MLP", "deep"]},
        {"models": ["deep"]},
        repeats=False,
    ),
    "memory": Case(
        "Peak memory beyond the model, and in float64 vectors of length n",
        memory.by_size,
        {
            "methods": {"L-BFGS-B": [*PEERS], "CG": SCIPY_PEERS},
            "sizes": [1_000_000, 10_000_000],
        },
        {"methods": {"L-BFGS-B": [OURS]}, "sizes": [1_000_000]},
        repeats=False,
    ),
}
