"""The picture of the first page: loss against closure calls, four optimizers from the same starts.

    python -m bench.first [--calls 1500] [--seeds 3] [--out bench/results]

The Poisson equation in two dimensions by a tanh network of 501 parameters (`poisson2` of
`bench/networks.py`), in float64, with the full batch and no other optimizer before. Each is used
as a reader would: L-BFGS with 100 pairs by both, no tolerance ends a run, and of Adam the best of
three learning rates at each start.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pytorch_minimize.optim import MinimizeWrapper

from .environment import environment, headline
from .networks import PROBLEMS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["OPTIMIZERS", "course", "draw", "main"]

PROBLEM = "poisson2"
RATES = (1e-3, 3e-3, 1e-2)


class _Over(Exception):
    """The calls are used up."""


class Counted:
    """A closure of one flat parameter, and the lowest loss after each of its calls."""

    def __init__(self, loss: Callable[[Tensor], Tensor], x: torch.nn.Parameter, calls: int) -> None:
        self._loss, self._x, self._calls = loss, x, calls
        self.lowest: list[float] = []

    def __call__(self) -> Tensor:
        if len(self.lowest) >= self._calls:
            raise _Over
        self._x.grad = None
        loss = self._loss(self._x)
        loss.backward()
        self.lowest.append(min(loss.item(), self.lowest[-1] if self.lowest else math.inf))
        return loss


def _adam(rate: float) -> Callable[[torch.nn.Parameter, Counted], None]:
    def run(x: torch.nn.Parameter, closure: Counted) -> None:
        optimizer = torch.optim.Adam([x], lr=rate)
        while True:
            optimizer.step(closure)

    return run


def _lbfgs(x: torch.nn.Parameter, closure: Counted) -> None:
    optimizer = torch.optim.LBFGS(
        [x],
        max_iter=10**6,
        max_eval=10**6,
        history_size=100,
        tolerance_grad=0.0,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )
    optimizer.step(closure)


def _ours(method: str, **options: Any) -> Callable[[torch.nn.Parameter, Counted], None]:
    def run(x: torch.nn.Parameter, closure: Counted) -> None:
        options_ = {"gtol": 0.0, "maxiter": 10**6, **options}
        MinimizeWrapper([x], {"method": method, "options": options_}).step(closure)

    return run


OPTIMIZERS: Mapping[str, Sequence[Callable[[torch.nn.Parameter, Counted], None]]] = {
    "Adam": [_adam(rate) for rate in RATES],
    "torch.optim.LBFGS": [_lbfgs],
    "L-BFGS-B": [_ours("L-BFGS-B", maxcor=100, ftol=0.0, maxfun=10**6)],
    "SSBroyden": [_ours("SSBroyden")],
}
"""Name -> how it is run; of several ways the one that ends lowest counts."""


def course(name: str, seed: int, calls: int) -> list[float]:
    """The lowest loss after each call of the closure."""
    problem = PROBLEMS[PROBLEM](seed)
    courses = []
    for run in OPTIMIZERS[name]:
        x = torch.nn.Parameter(torch.tensor(problem.network.start(seed)))
        closure = Counted(problem.loss, x, calls)
        with contextlib.suppress(_Over):
            run(x, closure)
        courses.append(closure.lowest)
    return min(courses, key=lambda lowest: lowest[-1])


def row(name: str, seed: int, calls: int) -> dict[str, Any]:
    lowest = course(name, seed, calls)
    at = np.unique(np.geomspace(1, len(lowest), 80).astype(int))
    return {
        "optimizer": name,
        "seed": seed,
        "calls": len(lowest),
        "loss": lowest[-1],
        "course": [[int(i), float(f"{lowest[i - 1]:.3e}")] for i in at],
    }


def draw(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """A line for each start, named at its end; told apart in grey as well."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.subplots()
    ends: dict[str, list[tuple[int, float]]] = {}
    for found in rows:
        colour, line = _LOOKS[found["optimizer"]]
        places, losses = zip(*found["course"], strict=True)
        axes.plot(places, losses, line, color=colour, linewidth=1.6)
        ends.setdefault(found["optimizer"], []).append((places[-1], losses[-1]))
    for name, points in ends.items():
        place = max(at for at, _ in points)
        height = math.exp(sum(math.log(loss) for _, loss in points) / len(points))
        axes.annotate(
            name,
            (place, height),
            (6, 0),
            textcoords="offset points",
            va="center",
            color=_LOOKS[name][0],
        )
    axes.set(yscale="log", xlim=(0, None), xlabel="calls of the closure", ylabel="lowest loss")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return figure


_LOOKS = {
    "Adam": ("#8c6d00", ":"),
    "torch.optim.LBFGS": ("#5e3c99", "-."),
    "L-BFGS-B": ("#1f6fb4", "--"),
    "SSBroyden": ("#000000", "-"),
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--calls", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="where first.json goes")
    args = parser.parse_args(argv)
    rows = []
    for name in OPTIMIZERS:
        for seed in range(args.seeds):
            rows.append(row(name, seed, args.calls))
            print(f"{name:<18} start {seed}: {rows[-1]['loss']:.2e} after {rows[-1]['calls']}")
    if args.out:
        report = {"environment": environment(), "problem": PROBLEM, "rows": rows}
        (args.out / "first.json").write_text(json.dumps(report) + "\n", encoding="utf-8")
        print(headline(report))


if __name__ == "__main__":
    main()
