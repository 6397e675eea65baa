"""What docs/which-method.md says, measured: for each leaf of its tree a small problem.

    python -m bench.choices [--out bench/results] [--leaves ...]

Counted are runs of the closure, and products with the Hessian, until the true loss is as low as
the problem asks; or the lowest loss after the budget. Only of the last leaf seconds and memory.
"""

from __future__ import annotations

import argparse
import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pytorch_minimize import optim
from pytorch_minimize.optim import MinimizeWrapper
from pytorch_minimize.scipy_minimize.methods import METHODS
from pytorch_minimize.settings import RunKeywords
from pytorch_minimize.solvers.methods import ROWS

from . import choice_problems as problems
from .choice_problems import Problem
from .environment import environment, headline
from .memory import peak_vectors
from .rows import table

__all__ = ["LEAVES", "Leaf", "main", "rows_of_leaf"]

Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class Leaf:
    """A problem, and who is tried on it.

    Attributes:
        solvers: label -> ``minimizer_args``, or the name of a class and its keywords.
        budget: runs of the closure.
    """

    make: Callable[[], Problem]
    solvers: Mapping[str, Arguments | tuple[str, Arguments]]
    budget: int


def _methods(*names: str, **options: Any) -> dict[str, Arguments]:
    return {name: {"method": name, "options": options} for name in names}


_PRECISE = {"ftol": 0.0, "gtol": 1e-12}
_TIGHT = {"L-BFGS-B": {"method": "L-BFGS-B", "options": _PRECISE | {"maxfun": 10**6}}}
_BOX = [(-5.12, 4.0)] * 5

LEAVES: Mapping[str, Leaf] = {
    "values": Leaf(
        problems.simulation,
        {
            "COBYQA": {"method": "COBYQA", "options": {"final_tr_radius": 1e-10}},
            **_methods("Powell", xtol=1e-10, ftol=1e-14),
            **_methods("Nelder-Mead", xatol=1e-10, fatol=1e-14),
            "COBYLA": {"method": "COBYLA", "tol": 1e-10},
        },
        3000,
    ),
    "noise": Leaf(
        problems.noisy,
        {
            **_methods("COBYQA", "COBYLA", "Nelder-Mead", "L-BFGS-B", "BFGS"),
            "differential evolution": (
                "DifferentialEvolutionWrapper",
                {"bounds": [(-2, 2)] * 4, "rng": 0, "polish": False},
            ),
        },
        600,
    ),
    "minima": Leaf(
        problems.rastrigin,
        {
            "differential evolution": (
                "DifferentialEvolutionWrapper",
                {"bounds": _BOX, "rng": 0, "tol": 1e-12, "maxiter": 10**4},
            ),
            "dual annealing": ("DualAnnealingWrapper", {"bounds": _BOX, "rng": 0}),
            "basin hopping": (
                "BasinHoppingWrapper",
                {"niter": 10**4, "stepsize": 2.0, "rng": 0},
            ),
            "SHGO": ("SHGOWrapper", {"bounds": _BOX, "n": 512, "sampling_method": "sobol"}),
            "DIRECT": (
                "DirectWrapper",
                {"bounds": _BOX, "maxfun": 10**5, "maxiter": 10**5, "vol_tol": 0, "len_tol": 1e-9},
            ),
            "L-BFGS-B from one start": {"method": "L-BFGS-B"},
        },
        20000,
    ),
    "constraints": Leaf(
        problems.sphere,
        {
            "SLSQP": {"method": "SLSQP", "tol": 1e-12},
            **_methods("trust-constr", gtol=1e-10, xtol=1e-12, barrier_tol=1e-10),
            "COBYQA": {"method": "COBYQA"},
            "COBYLA": {"method": "COBYLA", "tol": 1e-8},
        },
        2000,
    ),
    "bounds": Leaf(
        problems.nonnegative,
        {**_TIGHT, **_methods("TNC", "SLSQP", "torch-L-BFGS")},
        3000,
    ),
    "kinks": Leaf(
        problems.absolute,
        _methods("BFGS", "SSBroyden", "L-BFGS-B", "CG", "torch-trust-ncg", "COBYQA", "Powell"),
        3000,
    ),
    "precision": Leaf(
        problems.sine,
        {
            **_methods("SSBroyden", "SSBFGS", "BFGS", "torch-BFGS", "SS-L-BFGS", gtol=1e-12),
            "L-BFGS-B, 100 pairs": {
                "method": "L-BFGS-B",
                "options": _PRECISE | {"maxcor": 100, "maxfun": 10**6},
            },
            **_methods("CG", "torch-trust-ncg", gtol=1e-12),
        },
        3000,
    ),
    "products": Leaf(
        problems.collinear,
        {
            **_methods("torch-trust-ncg", gtol=1e-10),
            "torch-trust-ncg, nystrom=60": {
                "method": "torch-trust-ncg",
                "options": {"gtol": 1e-10, "nystrom": 60},
            },
            **_methods("torch-Newton-CG", xtol=1e-12),
            "torch-Newton-CG, nystrom=60": {
                "method": "torch-Newton-CG",
                "options": {"xtol": 1e-12, "nystrom": 60},
            },
            **_methods("BFGS", "SSBroyden", "CG", gtol=1e-10),
            **_TIGHT,
        },
        20000,
    ),
    "saddle": Leaf(
        problems.factors,
        _methods("trust-exact", "torch-trust-ncg", "torch-Newton-CG", "BFGS", "L-BFGS-B", "CG"),
        3000,
    ),
    "single": Leaf(
        problems.single,
        {
            "L-BFGS-B": {"method": "L-BFGS-B", "options": _PRECISE},
            **_methods("SSBroyden", "torch-BFGS", "CG", "torch-trust-ncg", gtol=1e-9),
        },
        3000,
    ),
}

WIDE = ("L-BFGS-B", "torch-L-BFGS", "CG", "torch-CG")
_WIDE_N, _WIDE_ITERATIONS = 1_000_000, 10


class _Reached(Exception):
    """Ends a run where the loss is as low as asked."""


def _is_here(given: Arguments | tuple[str, Arguments]) -> bool:
    """Whether the method is one of this version."""
    return isinstance(given, tuple) or given["method"].lower() in METHODS | ROWS


def _made(problem: Problem, given: Arguments | tuple[str, Arguments], budget: int) -> Any:
    limits: RunKeywords = {"max_evaluations": budget}
    if isinstance(given, tuple):
        name, keywords = given
        if name in ("DifferentialEvolutionWrapper", "DirectWrapper"):
            return getattr(optim, name)(problem.params, keywords, **limits)
        local = {"method": "L-BFGS-B"}
        return getattr(optim, name)(problem.params, local, keywords, **limits)
    more: dict[str, Any] = {}
    if problem.constraints:
        more["constraints"] = list(problem.constraints)
    if problem.bounds:
        more["bounds"] = [problem.bounds] * sum(p.numel() for p in problem.params)
    return MinimizeWrapper(problem.params, {**given, **more}, **limits)


def _count(leaf: Leaf, given: Arguments | tuple[str, Arguments]) -> dict[str, Any]:
    """Until the target, or until the budget or the method itself ends the run."""
    problem = leaf.make()
    optimizer = _made(problem, given, leaf.budget)
    runs, lowest, products = 0, math.inf, 0

    def closure() -> Tensor:
        nonlocal runs, lowest, products
        loss = problem.loss()
        runs += 1
        if problem.violation() <= 1e-6:
            lowest = min(lowest, loss.item() if problem.truth is None else problem.truth())
        products = optimizer.profile.counts.get("hessp", 0)
        if lowest <= problem.target:
            raise _Reached
        return loss

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            optimizer.step(closure)
    except _Reached:
        return {"runs": runs, "products": products, "reached": True, "loss": lowest}
    end = problem.truth() if problem.truth is not None else lowest
    return {"runs": runs, "products": products, "reached": False, "loss": end}


def rows_of_leaf(name: str) -> Iterator[dict[str, Any]]:
    """A row for each solver that this version has."""
    leaf = LEAVES[name]
    for solver, given in leaf.solvers.items():
        if _is_here(given):
            yield {"leaf": name, "solver": solver, **_count(leaf, given)}


def wide_rows() -> Iterator[dict[str, Any]]:
    """Seconds an iteration outside the closure, the shortest of three, and memory."""
    for method in WIDE:
        if not _is_here({"method": method}):
            continue
        best = math.inf
        for _ in range(3):
            problem = problems.wide(_WIDE_N)
            options = {"maxiter": _WIDE_ITERATIONS}
            optimizer = MinimizeWrapper(problem.params, {"method": method, "options": options})
            optimizer.step(problem.loss)
            outside = optimizer.profile.solver + optimizer.profile.bridge
            best = min(best, outside / optimizer.res.nit)
        vectors = peak_vectors(method, _WIDE_N)
        yield {"leaf": "wide", "solver": method, "ms": 1e3 * best, "vectors": vectors}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="The leaves of docs/which-method.md.")
    parser.add_argument("--leaves", nargs="*", choices=(*LEAVES, "wide"))
    parser.add_argument("--out", type=Path, help="where choices.json goes")
    args = parser.parse_args(argv)
    torch.set_num_threads(2)
    leaves = args.leaves or (*LEAVES, "wide")
    measured: list[dict[str, Any]] = []
    for name in leaves:
        measured += wide_rows() if name == "wide" else rows_of_leaf(name)
    report = {"environment": environment(), "threads": 2, "rows": measured}
    print(headline(report), table(measured), sep="\n")
    if args.out:
        text = json.dumps(report, indent=1) + "\n"
        (args.out / "choices.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
