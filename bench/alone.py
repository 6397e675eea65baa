"""Measurements of solvers by themselves: what they minimise, and where what was found goes."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from pytorch_minimize.run.protocol import Answer, Trial
from pytorch_minimize.typing import Array

from .environment import environment, headline
from .rows import table

__all__ = ["Bowl", "measure", "options"]


class Bowl:
    """sum d x^2 / 2 with a condition of 1e6, and the seconds that it took."""

    def __init__(self, n: int) -> None:
        self.d, self.start = np.geomspace(1e-3, 1e3, n), np.ones(n)
        self.seconds = 0.0

    def __call__(self, x: Array) -> tuple[float, Array]:
        before = perf_counter()
        gradient = self.d * x
        # Without BLAS, whose threads would still spin while the solver runs.
        value = 0.5 * float(np.einsum("i,i->", gradient, x))
        self.seconds += perf_counter() - before
        return value, gradient

    def answer(self, trial: Trial[Array]) -> Answer[Array]:
        """What a solver of ours asks for."""
        value, gradient = self(trial.x)
        assert trial.measure is not None
        return Answer(value, gradient, True, trial.measure(gradient).tolist())


def options(what: str, name: str, sizes: Sequence[int]) -> argparse.ArgumentParser:
    """Sizes, threads, and a folder for ``name``.json."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--sizes", type=int, nargs="*", choices=sizes, default=[*sizes])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help=f"where {name}.json goes")
    return parser


def measure(
    name: str, args: argparse.Namespace, rows: Callable[[], Iterable[Mapping[str, Any]]]
) -> None:
    """Measure, show and write."""
    torch.set_num_threads(args.threads)
    with threadpool_limits(args.threads):
        measured = [dict(row) for row in rows()]
    report = {"environment": environment(), "threads": args.threads, "rows": measured}
    print(headline(report), f"{args.threads} threads", table(measured), sep="\n")
    if args.out:
        text = json.dumps(report, indent=1) + "\n"
        (args.out / f"{name}.json").write_text(text, encoding="utf-8")
