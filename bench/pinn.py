r"""What self-scaled updates are for: losses of small tanh networks after a number of evaluations.

    python -m bench.pinn [--evaluations 1500] [--seeds 3] [--out bench/results]

Four problems: two functions of one variable fitted by 193 parameters, and the Poisson equation in
one and two dimensions, the boundary values being built in. All in float64, from Glorot's start,
with the full batch and no Adam before. Then the equations with points that are drawn anew, the
inverse Hessian being kept (warm) or not (cold).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.optimize
import torch

from pytorch_minimize.run.protocol import Answer, Solver, Trial, drive
from pytorch_minimize.solvers.limited_methods import LIMITED
from pytorch_minimize.solvers.methods import METHODS, array_solver
from pytorch_minimize.typing import Array

from .environment import environment, headline
from .networks import PROBLEMS, REDRAWN, Problem
from .rows import table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["SOLVERS", "Run", "main"]

BATCHES, A_BATCH = 6, 250  # draws of points, and evaluations with each


class _Over(Exception):
    """The evaluations are used up."""


class Run:
    """Counts evaluations, and keeps the lowest loss and where it was.

    Attributes:
        losses: the lowest so far, after each evaluation.
        iterations: told by the solver.
    """

    def __init__(self, problem: Problem, evaluations: int) -> None:
        self.losses: list[float] = []
        self.iterations = 0
        self.best = math.inf
        self.x = np.empty(0)
        self._problem, self._evaluations = problem, evaluations

    def __call__(self, x: Array) -> tuple[float, Array]:
        if len(self.losses) >= self._evaluations:
            raise _Over
        value, gradient = self._problem.evaluate(x)
        if value < self.best:
            self.best, self.x = value, x.copy()
        self.losses.append(self.best)
        return value, gradient

    def counted(self, x: Any = None) -> None:
        self.iterations += 1


def _scipy(method: str, **options: Any) -> Callable[[Run, Array, int], None]:
    def run(run: Run, start: Array, limit: int) -> None:
        options_ = {"maxiter": limit, "gtol": 0.0, **options}
        scipy.optimize.minimize(
            run, start, jac=True, method=method, callback=run.counted, options=options_
        )

    return run


def _torch_lbfgs(run: Run, start: Array, limit: int) -> None:
    x = torch.nn.Parameter(torch.tensor(start))
    optimizer = torch.optim.LBFGS(
        [x],
        max_iter=limit,
        max_eval=10 * limit,
        history_size=100,
        tolerance_grad=0.0,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> float:
        value, gradient = run(x.detach().numpy())
        x.grad = torch.from_numpy(gradient)
        return value

    try:
        optimizer.step(closure)
    finally:
        run.iterations = optimizer.state[x].get("n_iter", 0)


def solved(solver: Solver[Array], run: Run, start: Array) -> None:
    """Runs one of our solvers until it ends or the evaluations are used up."""

    def evaluate(trial: Trial[Array]) -> Answer[Array]:
        value, gradient = run(trial.x)
        finite = math.isfinite(value) and bool(np.isfinite(gradient).all())
        scalars = trial.measure(gradient).tolist() if finite and trial.measure else ()
        return Answer(value, gradient, finite, scalars)

    try:
        drive(solver.start(start), evaluate)
        while solver.done() is None:
            drive(solver.step(), evaluate)
    finally:
        run.iterations = solver.nit


def native(method: str, **options: Any) -> Callable[[Run, Array, int], None]:
    """A solver of ours, on numpy's vectors."""

    def run(run: Run, start: Array, limit: int) -> None:
        options_ = {"gtol": 0.0, "maxiter": limit, **options}
        solved(array_solver(method, options_, start.size), run, start)

    return run


def limited(method: str, **options: Any) -> Callable[[Run, Array, int], None]:
    """One of ours of limited memory, which no tolerance ends."""

    def run(run: Run, start: Array, limit: int) -> None:
        options_ = {"gtol": 0.0, "ftol": 0.0, "maxfun": 10**6, "maxiter": limit, **options}
        solved(LIMITED[method].make(options_, start.size, None, None), run, start)

    return run


SOLVERS: Mapping[str, Callable[[Run, Array, int], None]] = {
    "scipy L-BFGS-B, m = 10": _scipy("L-BFGS-B", maxcor=10, ftol=0.0, maxfun=10**6),
    "scipy L-BFGS-B, m = 100": _scipy("L-BFGS-B", maxcor=100, ftol=0.0, maxfun=10**6),
    "torch.optim.LBFGS, m = 100": _torch_lbfgs,
    **{f"{name}, m = 100": limited(name, maxcor=100) for name in LIMITED},
    "scipy BFGS": _scipy("BFGS"),
    **{name: native(name) for name in METHODS},
    "SSBroyden, Hager-Zhang": native("SSBroyden", line_search="hager-zhang"),
}


def measured(problem: str, solver: str, seed: int, evaluations: int) -> dict[str, Any]:
    made = PROBLEMS[problem](seed)
    run, before = Run(made, evaluations), perf_counter()
    with contextlib.suppress(_Over):
        SOLVERS[solver](run, made.network.start(seed), evaluations)
    # What is at hand at a tenth of the run, and so on: enough for a picture.
    at = np.unique(np.linspace(0, len(run.losses) - 1, 61).astype(int))
    return {
        "problem": problem,
        "solver": solver,
        "seed": seed,
        "loss": run.best,
        "relative L2": made.relative_error(run.x),
        "evaluations": len(run.losses),
        "evaluations an iteration": len(run.losses) / max(1, run.iterations),
        "seconds": perf_counter() - before,
        "course": [[int(i) + 1, float(f"{run.losses[i]:.3e}")] for i in at],
    }


def redrawn(name: str, method: str, seed: int, *, warm: bool) -> dict[str, Any]:
    """The error after points were drawn anew several times."""
    made = REDRAWN[name](seed)
    x, h = made.network.start(seed), None
    for batch in range(BATCHES):
        problem = REDRAWN[name](1000 * (seed + 1) + batch)
        options = {"gtol": 0.0, "maxiter": A_BATCH}
        solver = array_solver(method, options, x.size, warm=h if warm else None)
        with contextlib.suppress(_Over):
            solved(solver, Run(problem, A_BATCH), x)
        x, h = solver.x, solver.fields()["hess_inv"]
    return {
        "problem": name,
        "solver": method,
        "seed": seed,
        "start": "warm" if warm else "cold",
        "relative L2": made.relative_error(x),
    }


def draw(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """The lowest loss against evaluations, a panel for each problem, a line for each seed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.0, 7.0), layout="constrained")
    panels = dict(zip(PROBLEMS, figure.subplots(2, 2).flat, strict=True))
    looks = dict(zip(SOLVERS, _LOOKS, strict=True))
    for row in rows:
        colour, line = looks[row["solver"]]
        places, losses = zip(*row["course"], strict=True)
        label = row["solver"] if row["seed"] == 0 else None
        panels[row["problem"]].plot(places, losses, line, color=colour, linewidth=1.3, label=label)
    for name, axes in panels.items():
        axes.set(yscale="log", title=name, xlabel="evaluations", ylabel="lowest loss")
        axes.grid(alpha=0.3)
    handles = panels[next(iter(PROBLEMS))].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=4)
    return figure


# Ours are the solid ones; told apart in grey as well.
_LOOKS = (
    ("#a6a6a6", ":"),
    ("#b8860b", ":"),
    ("#01665e", "-."),
    ("#80cdc1", "-."),
    ("#35978f", "-"),
    ("#d6604d", "--"),
    ("#4393c3", "--"),
    ("#8c510a", "-"),
    ("#000000", "-"),
    ("#c51b7d", "-"),
)


def _goals(rows: Sequence[Mapping[str, Any]], warm: Sequence[Mapping[str, Any]]) -> list[str]:
    """What must hold, as measured."""
    found = []
    losses = {(row["problem"], row["seed"], row["solver"]): row["loss"] for row in rows}
    for ours in ("SSBFGS", "SSBroyden"):
        mine = [row for row in rows if row["solver"] == ours]
        lower = [
            row["loss"] <= 1e-2 * losses.get((row["problem"], row["seed"], "scipy BFGS"), 0.0)
            for row in mine
        ]
        most = max((row["evaluations an iteration"] for row in mine), default=math.nan)
        found.append(
            f"{ours}: at most 1e-2 of scipy BFGS's loss in {sum(lower)} of {len(lower)}; "
            f"at most {most:.3f} evaluations an iteration"
        )
    for row in rows:
        if row["solver"] == "SS-L-BFGS, m = 100":
            where = row["problem"], row["seed"]
            shares = [
                f"{row['loss'] / losses[(*where, other)]:.2g} of {other}'s"
                for other in ("torch-L-BFGS, m = 100", "scipy L-BFGS-B, m = 100")
                if (*where, other) in losses
            ]
            found.append(f"SS-L-BFGS on {where[0]}, start {where[1]}: loss {', '.join(shares)}")
    errors = {tuple(row[key] for key in _NAMED): row["relative L2"] for row in warm}
    for (*run, start), error in errors.items():
        if start == "warm":
            ratio = error / errors[(*run, "cold")]
            found.append(f"{', '.join(map(str, run))}: warm has {ratio:.2g} of cold's error")
    return found


_NAMED = ("problem", "solver", "seed", "start")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Losses of small networks, by solver.")
    parser.add_argument("--evaluations", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--problems", nargs="*", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--solvers", nargs="*", choices=SOLVERS, default=list(SOLVERS))
    parser.add_argument("--out", type=Path, help="where pinn.json and pinn.png go")
    args = parser.parse_args(argv)
    rows = []
    for problem in args.problems:
        for solver in args.solvers:
            for seed in range(args.seeds):
                rows.append(measured(problem, solver, seed, args.evaluations))
                shown = {key: value for key, value in rows[-1].items() if key != "course"}
                print(table([shown]).splitlines()[-1], flush=True)
    warm = [
        redrawn(name, method, seed, warm=is_warm)
        for name in REDRAWN
        for method in METHODS
        for seed in range(args.seeds)
        for is_warm in (True, False)
    ]
    print(table(warm))
    print("\n".join(_goals(rows, warm)))
    if args.out:
        report = {"environment": environment(), "rows": rows, "redrawn": warm}
        (args.out / "pinn.json").write_text(json.dumps(report) + "\n", encoding="utf-8")
        draw(rows).savefig(args.out / "pinn.png", dpi=110)
        print(headline(report))


if __name__ == "__main__":
    main()
