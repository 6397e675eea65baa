"""Timing of things that are to be compared: in turns, so that they meet the same noise."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

__all__ = ["interleaved", "medians", "rounds_of", "timed"]


def timed(run: Callable[[], object], number: int = 1) -> float:
    """Mean seconds of ``number`` calls."""
    start = time.perf_counter()
    for _ in range(number):
        run()
    return (time.perf_counter() - start) / number


def rounds_of(cases: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each case returns in every round; each must have been called once before."""
    values: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            values[name].append(case())
    return values


def medians(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of each figure that all runs have.

    Example:
        >>> medians([{"us": 1.0}, {"us": 5.0}, {"us": 2.0}])
        {'us': 2.0}
    """
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def interleaved(
    cases: Mapping[str, Callable[[], object]], *, rounds: int, number: int = 1
) -> dict[str, float]:
    """Median seconds per call of each case, all run in every round after one call untimed.

    Cases that take turns meet the same noise of the machine, so that their ratios hold
    where their absolute times do not. Each time is the mean of ``number`` calls: more than one
    for cases so short that the clock would show.

    Example:
        >>> data = list(range(9))
        >>> sorted(interleaved({"sum": lambda: sum(data), "max": lambda: max(data)}, rounds=5))
        ['max', 'sum']
    """

    def clocked(case: Callable[[], object]) -> Callable[[], float]:
        return lambda: timed(case, number)

    for case in cases.values():
        case()
    values = rounds_of({name: clocked(case) for name, case in cases.items()}, rounds)
    return {name: statistics.median(times) for name, times in values.items()}
