"""What an iteration of limited memory costs outside the closure: scipy's, torch's and ours.

    python -m bench.limited [--threads 2] [--out bench/results]

The closure is a separable quadratic of n multiplications, whose own time is taken off. Iterations
are counted from when all ten pairs are there. Beside the time stands what it is in vectors of n
float64 that the same threads copy in the same run, read and written.

Torch has so many threads, and BLAS one: at more, those of numpy and scipy fight torch's, which is
what every optimizer of this package keeps from happening.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter
from typing import Any

import scipy.optimize
import torch
from torch import Tensor

from pytorch_minimize.optim import MinimizeWrapper
from pytorch_minimize.run.protocol import drive
from pytorch_minimize.solvers.limited_methods import LIMITED

from .alone import Bowl, measure, options

__all__ = ["main", "rows"]

PAIRS = 10
# Iterations that are timed, by n.
ITERATIONS = {10**4: 200, 10**5: 100, 10**6: 24, 10**7: 6}
_WARM = PAIRS + 2


class Paced(Bowl):
    """With the time of each iteration."""

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self._marks = [(perf_counter(), 0.0)]

    def iterated(self, *_: Any) -> None:
        """One more iteration is over."""
        self._marks.append((perf_counter(), self.seconds))

    def per_iteration(self) -> float:
        """Seconds outside the closure, once all pairs are there."""
        (start, before), (end, after) = self._marks[_WARM], self._marks[-1]
        return (end - start - (after - before)) / (len(self._marks) - 1 - _WARM)


def _scipys(bowl: Paced, iterations: int) -> None:
    stated = {"maxiter": iterations, "gtol": 0.0, "ftol": 0.0, "maxcor": PAIRS}
    scipy.optimize.minimize(
        bowl, bowl.start, jac=True, method="L-BFGS-B", options=stated, callback=bowl.iterated
    )


def _torchmins(bowl: Paced, iterations: int) -> None:
    import torchmin

    d = torch.from_numpy(bowl.d)

    def fun(x: Tensor) -> Tensor:
        return 0.5 * (d * x * x).sum()

    torchmin.minimize(
        fun,
        torch.from_numpy(bowl.start),
        method="l-bfgs",
        max_iter=iterations,
        tol=0.0,
        options={"history_size": PAIRS, "gtol": 0.0},
        callback=bowl.iterated,
    )


def _parameter(bowl: Paced) -> tuple[torch.nn.Parameter, Callable[[], Tensor]]:
    x, d = torch.nn.Parameter(torch.from_numpy(bowl.start.copy())), torch.from_numpy(bowl.d)

    def closure() -> Tensor:
        before = perf_counter()
        with torch.no_grad():
            x.grad = d * x
            value = 0.5 * (x.grad @ x)
        bowl.seconds += perf_counter() - before
        return value

    return x, closure


def _torchs(bowl: Paced, iterations: int) -> None:
    x, closure = _parameter(bowl)
    optimizer = torch.optim.LBFGS(
        [x],
        max_iter=_WARM,
        max_eval=10 * iterations,
        history_size=PAIRS,
        tolerance_grad=0.0,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )
    optimizer.step(closure)
    for _ in range(_WARM):
        bowl.iterated()
    optimizer.param_groups[0]["max_iter"] = iterations - _WARM
    optimizer.step(closure)
    for _ in range(iterations - _WARM):
        bowl.iterated()


def _ours(method: str, **options: Any) -> Callable[[Paced, int], None]:
    """The solver alone, on arrays."""

    def run(bowl: Paced, iterations: int) -> None:
        stated = {"maxcor": PAIRS, "maxiter": iterations, "gtol": 0.0, "ftol": 0.0, **options}
        solver = LIMITED[method].make(stated, bowl.start.size, None, None)
        drive(solver.start(bowl.start), bowl.answer)
        while solver.done() is None:
            before = solver.nit
            drive(solver.step(), bowl.answer)
            if solver.nit > before:
                bowl.iterated()

    return run


def _wrapped(method: str, **options: Any) -> Callable[[Paced, int], None]:
    """As an optimizer, with everything that a run does besides."""

    def run(bowl: Paced, iterations: int) -> None:
        x, closure = _parameter(bowl)
        stated = {"maxcor": PAIRS, "maxiter": iterations, "gtol": 0.0, "ftol": 0.0, **options}
        args = {"method": method, "options": stated, "callback": bowl.iterated}
        MinimizeWrapper([x], args).step(closure)

    return run


CASES: dict[str, Callable[[Paced, int], None]] = {
    "scipy L-BFGS-B": _scipys,
    "torch.optim.LBFGS": _torchs,
    "torchmin l-bfgs": _torchmins,
    "torch-L-BFGS": _ours("torch-L-BFGS"),
    "torch-L-BFGS, float32 pairs": _ours("torch-L-BFGS", history_dtype="float32"),
    "SS-L-BFGS": _ours("SS-L-BFGS"),
    "torch-L-BFGS, as an optimizer": _wrapped("torch-L-BFGS"),
    "L-BFGS-B, as an optimizer": _wrapped("L-BFGS-B"),
}


def copied(n: int) -> float:
    """Seconds in which torch's threads copy a vector of n float64."""
    source = torch.ones(max(n, 10**6), dtype=torch.float64)
    target, best = torch.empty_like(source), float("inf")
    for _ in range(9):
        before = perf_counter()
        target.copy_(source)
        best = min(best, perf_counter() - before)
    return best * n / source.numel()


def rows(sizes: Sequence[int], rounds: int = 3) -> Iterator[dict[str, Any]]:
    """The best of some rounds, in each of which all take turns."""
    for n in sizes:
        names = [
            name
            for name in CASES
            if name != "torchmin l-bfgs" or importlib.util.find_spec("torchmin") is not None
        ]
        found: dict[str, float] = {}
        for _ in range(rounds):
            for name in names:
                bowl = Paced(n)
                CASES[name](bowl, _WARM + ITERATIONS[n])
                found[name] = min(found.get(name, float("inf")), bowl.per_iteration())
        vector = copied(n)
        for name, seconds in found.items():
            yield {
                "n": n,
                "solver": name,
                "ms": 1e3 * seconds,
                "of scipy": seconds / found["scipy L-BFGS-B"],
                "of torch.optim.LBFGS": seconds / found["torch.optim.LBFGS"],
                "vectors copied": seconds / vector,
            }


def main(argv: Sequence[str] | None = None) -> None:
    parser = options("An iteration of L-BFGS outside the closure.", "limited", [*ITERATIONS])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args(argv)
    measure("limited", args, lambda: rows(args.sizes, args.rounds))


if __name__ == "__main__":
    main()
