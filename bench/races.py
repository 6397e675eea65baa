"""Whole fits to the same loss: seconds until each contestant first evaluates one that low.

    python -m bench.fits [--seconds 20] [--rounds 2] [--out bench/results]

The loss to reach is the one that scipy's L-BFGS-B has after a number of iterations from the same
start. All contestants take turns; each is stopped as soon as it is there, or after so many seconds.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from pytorch_minimize.optim import MinimizeWrapper

from .environment import environment, headline
from .peers import OURS, PEERS, Rule, why_not
from .problems import (
    WEIGHT_DECAY,
    Problem,
    chain,
    digits,
    digits_mlp,
    gaussian_process,
    of_module,
    poisson_network,
)
from .rows import table

__all__ = ["CONTESTANTS", "main", "race"]

# How much above the loss to reach is as good, relative to it.
_AS_GOOD = 1e-3
_NO_END = 10**6


@dataclass(frozen=True)
class Course:
    """What is fitted, and how many iterations of L-BFGS-B say what loss is to be reached."""

    make: Callable[[], Problem]
    iterations: int


def large_mlp() -> Problem:
    """64 - 1000 - 900 - 10 with tanh, 975 thousand parameters, on 450 digits, with weight decay."""
    torch.manual_seed(0)
    inputs, targets = (tensor[:450] for tensor in digits(torch.float32))
    plain = of_module(
        chain((64, 1000, 900, 10)), lambda net: nn.functional.cross_entropy(net(inputs), targets)
    )

    def decay(tensors: Sequence[Tensor]) -> Tensor:
        return WEIGHT_DECAY / 2 * torch.stack([t.square().sum() for t in tensors]).sum()

    return Problem(
        plain.params,
        lambda: plain._loss() + decay(plain.params),
        lambda *tensors: plain._loss_of(*tensors) + decay(tensors),
    )


COURSES: Mapping[str, Course] = {
    "digits, MLP": Course(digits_mlp, 300),
    "MLP of a million": Course(large_mlp, 40),
    "Gaussian process": Course(gaussian_process, 25),
    "Poisson network": Course(poisson_network, 400),
}


class _Over(Exception):
    """The loss is reached, or the time is up."""


class _Raced(Problem):
    """A problem that watches the losses that it gives, and ends the fit that asks for them.

    Attributes:
        reached: seconds after which the loss was there; infinite before.
        lowest: the lowest loss so far.
    """

    def __init__(self, problem: Problem, target: float, seconds: float) -> None:
        super().__init__(problem.params, problem._loss, problem._loss_of)
        self.target, self._seconds = target, seconds
        self.begin()

    def begin(self) -> None:
        """Back to the start, and the clock to zero."""
        self.reset()
        self._begun = perf_counter()
        self.reached, self.lowest = math.inf, math.inf

    def closure(self) -> Tensor:
        return self._watched(super().closure())

    def loss_to_differentiate(self) -> Tensor:
        return self._watched(super().loss_to_differentiate())

    def loss_of(self, *tensors: Tensor) -> Tensor:
        return self._watched(super().loss_of(*tensors))

    def _watched(self, loss: Tensor) -> Tensor:
        value, now = loss.item(), perf_counter() - self._begun
        self.lowest = min(self.lowest, value)
        if value <= self.target:
            self.reached = now
            raise _Over
        if now > self._seconds:
            raise _Over
        return loss


Fit = Callable[[Problem, Rule], Any]


def _native(method: str, **options: Any) -> Fit:
    def run(problem: Problem, rule: Rule) -> None:
        stated = {"gtol": 0.0, "maxiter": rule.maxiter, **options}
        optimizer = MinimizeWrapper(problem.params, {"method": method, "options": stated})
        optimizer.step(problem.closure)

    return run


_UNENDING = {"ftol": 0.0, "maxfun": 10**9}

CONTESTANTS: Mapping[str, Fit] = {
    "ours, L-BFGS-B": PEERS[OURS].run,
    "ours, torch-L-BFGS": _native("torch-L-BFGS", **_UNENDING),
    "ours, SS-L-BFGS": _native("SS-L-BFGS", **_UNENDING),
    "ours, SS-L-BFGS, 50 pairs": _native("SS-L-BFGS", maxcor=50, **_UNENDING),
    "ours, SSBroyden": _native("SSBroyden"),
    **{name: peer.run for name, peer in PEERS.items() if name not in (OURS, "Python bridge")},
}
# Where a dense inverse Hessian is no sensible choice.
_MOST_FOR_DENSE = 5000


def race(name: str, seconds: float, rounds: int, iterations: int | None = None) -> list[Any]:
    """One course by every contestant that can be run: a row for each."""
    course = COURSES[name]
    problem = course.make()
    PEERS[OURS].run(problem, Rule(maxiter=iterations or course.iterations))
    target, _ = problem.end()
    raced = _Raced(problem, target + _AS_GOOD * abs(target), seconds)
    # The start is what the problem was made with, and not where that run has ended.
    raced._start = problem._start
    times: dict[str, list[float]] = {}
    rows: dict[str, dict[str, Any]] = {}
    for _ in range(rounds):
        for contestant, fit in CONTESTANTS.items():
            note = _refusal(contestant, raced)
            if note is not None:
                rows[contestant] = {"note": note}
                continue
            raced.begin()
            rows[contestant] = _once(raced, fit)
            times.setdefault(contestant, []).append(raced.reached)
    for contestant, measured in times.items():
        rows[contestant] = {"seconds": statistics.median(measured), **rows[contestant]}
    fastest = min(row.get("seconds", math.inf) for row in rows.values())
    shares = {c: {"/ fastest": r["seconds"] / fastest} for c, r in rows.items() if "seconds" in r}
    same = {"problem": name, "n": raced.numel, "loss to reach": raced.target}
    return [same | {"contestant": c, **row, **shares.get(c, {})} for c, row in rows.items()]


def _once(raced: _Raced, fit: Fit) -> dict[str, Any]:
    """One fit; what it came to besides its time."""
    note = "ended before"
    try:
        fit(raced, Rule(maxiter=_NO_END))
    except _Over:
        note = "" if raced.reached < math.inf else "time is up"
    except Exception as error:  # of another package's, whose answer it is
        note = "" if raced.reached < math.inf else f"{type(error).__name__}: {error}"[:80]
    found: dict[str, Any] = {"evaluations": raced.evaluations, "lowest loss": raced.lowest}
    return found | ({"note": note} if note else {})


def _refusal(contestant: str, raced: _Raced) -> str | None:
    if contestant == "ours, SSBroyden" and raced.numel > _MOST_FOR_DENSE:
        return "its inverse Hessian is dense"
    peer = PEERS.get(contestant)
    return None if peer is None else why_not(peer, partial(int))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Whole fits to the same loss.")
    parser.add_argument("--problems", nargs="*", choices=COURSES, default=[*COURSES])
    parser.add_argument("--seconds", type=float, default=12.0, help="after which a fit is ended")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--iterations", type=int, help="of L-BFGS-B, for the loss to reach")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="where fits.json goes")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    rows = []
    for name in args.problems:
        rows += race(name, args.seconds, args.rounds, args.iterations)
        print(table([row for row in rows if row["problem"] == name]), flush=True)
    report = {"environment": environment(), "threads": args.threads, "rows": rows}
    print(headline(report), f"{args.threads} threads")
    if args.out:
        finite = [
            {k: v for k, v in row.items() if not (isinstance(v, float) and math.isinf(v))}
            for row in rows
        ]
        text = json.dumps(report | {"rows": finite}, indent=1) + "\n"
        (args.out / "fits.json").write_text(text, encoding="utf-8")
