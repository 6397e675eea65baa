"""Whole fits: time, evaluations and what was reached, ours and the peers', from one start.

    python -m bench.fits

runs them to the same loss; see :mod:`bench.races`.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import threadpoolctl
import torch

from .peers import OURS, PEERS, Rule, Split, ours, why_not
from .problems import FITS, Problem, digits_mlp
from .timing import rounds_of, timed

__all__ = ["contention", "fit"]

Row = Mapping[str, Any]
Run = Callable[[Problem, Rule], Split | None]


def fit(problem: str, maxiter: int, gtol: float, rounds: int) -> list[Row]:
    """One problem by every peer: a row for each."""
    try:
        made = FITS[problem]()
    except FileNotFoundError as error:  # of the source tree, where the package was installed
        return [{"problem": problem, "peer": OURS, "note": str(error)}]
    rule = Rule(maxiter=maxiter, gtol=gtol)
    refusals = {
        name: why_not(peer, partial(_once, peer.run, made, rule)) for name, peer in PEERS.items()
    }
    runs = {name: peer.run for name, peer in PEERS.items() if refusals[name] is None}
    rows = {row["peer"]: row for row in _compare(made, rule, runs, rounds)}
    same = {"problem": problem, "n": made.numel, "dtype": _dtype(made)}
    return [same | dict(rows.get(name, {"peer": name, "note": refusals[name]})) for name in PEERS]


def contention(maxiter: int, rounds: int) -> list[Row]:
    """The digits MLP with scipy's BLAS at one thread and as it is by default."""
    problem, rule = digits_mlp(torch.float32), Rule(maxiter=maxiter)
    runs: dict[str, Run] = {}
    for name in (OURS, "straightforward", "torchmin, scipy", "botorch"):
        peer = PEERS[name]
        if why_not(peer, partial(_once, peer.run, problem, Rule(maxiter=1))) is not None:
            continue
        if name == OURS:
            runs["ours, one BLAS thread (as it is)"] = peer.run
            runs["ours, BLAS left alone"] = partial(ours, blas_threads=None)
        else:
            runs[f"{name}, one BLAS thread"] = partial(_limited, peer.run, 1)
            runs[f"{name} (as it is)"] = peer.run
    same = {"torch threads": torch.get_num_threads()}
    return [same | dict(row) for row in _compare(problem, rule, runs, rounds)]


def _limited(run: Run, threads: int, problem: Problem, rule: Rule) -> Split | None:
    with threadpoolctl.threadpool_limits(threads, user_api="blas"):
        return run(problem, rule)


def _compare(problem: Problem, rule: Rule, runs: Mapping[str, Run], rounds: int) -> list[Row]:
    """All runs take turns; the first is what the others' times are divided by."""
    splits: dict[str, list[Split]] = {name: [] for name in runs}
    ends: dict[str, Row] = {}

    def case(name: str, run: Run) -> float:
        problem.reset()
        split: Split | None = None

        def go() -> None:
            nonlocal split
            split = run(problem, rule)

        seconds = timed(go)
        if problem.closure_seconds:  # else what was run leaves backward to the peer
            splits[name].append({"closure": problem.closure_seconds} | dict(split or {}))
        evaluations = problem.evaluations
        loss, gradient = problem.end()
        ends[name] = {"evaluations": evaluations, "loss": loss, "gradient": gradient}
        return seconds

    values = rounds_of({name: partial(case, name, run) for name, run in runs.items()}, rounds)
    seconds = {name: statistics.median(times) for name, times in values.items()}
    first = next(iter(seconds.values()))
    return [
        {
            "peer": name,
            "seconds": seconds[name],
            "/ ours": seconds[name] / first,
            **ends[name],
            "ms per evaluation": 1e3 * seconds[name] / ends[name]["evaluations"],
            **_parts(splits[name]),
        }
        for name in runs
    ]


def _parts(splits: list[Split]) -> Row:
    """Medians over the rounds."""
    if not splits:
        return {}
    return {f"{part} s": statistics.median(split[part] for split in splits) for part in splits[0]}


def _once(run: Run, problem: Problem, rule: Rule) -> None:
    problem.reset()
    run(problem, rule)


def _dtype(problem: Problem) -> str:
    return str(problem.params[0].dtype).removeprefix("torch.")


if __name__ == "__main__":
    from .races import main

    main()
