"""All runs at once: rounds, in each of which one batch answers every run that waits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np

from ..record.profile import Profile
from ..typing import Array
from .batch import Batch, RowAnswer
from .threads import kept_filters

__all__ = ["RunWalk", "advance_together"]


class RunWalk(Protocol):
    """A run that asks for points: a thread, or a generator."""

    def resume(self, answer: RowAnswer | None) -> Array | None:
        """Let it go on with an answer; the next point that it asks for, None where it is over."""

    def abandon(self) -> None:
        """End it where it is."""

    def forget(self) -> None:
        """Keep nothing alive of what it raised."""


def advance_together(
    walks: Iterable[RunWalk], batch: Batch, profile: Profile, first: Callable[[float], None]
) -> None:
    """Run all of them to their ends.

    However it ends, no run is left in the middle, and no thread of one.

    Args:
        walks: made one by one as they begin; where they end, no further run is to begin.
        batch: evaluates the points of all that wait.
        profile: of the step.
        first: told the first loss of the first run.
    """
    begun: list[RunWalk] = []
    try:
        with kept_filters():
            waiting = []
            for walk in walks:
                begun.append(walk)
                waiting.append((walk, walk.resume(None)))
            unanswered = True
            while waiting := [(walk, x) for walk, x in waiting if x is not None]:
                profile.begin("bridge")
                answers = batch(np.stack([x for _, x in waiting if x is not None]))
                profile.count("points", len(answers))
                profile.begin("solver")
                if unanswered:
                    first(answers[0].value)
                    unanswered = False
                waiting = [
                    (walk, walk.resume(answer))
                    for (walk, _), answer in zip(waiting, answers, strict=True)
                ]
    finally:
        with kept_filters():
            _abandon(begun)


def _abandon(walks: Sequence[RunWalk]) -> None:
    """End those that are not over; an interrupt meanwhile waits until all have ended."""
    interrupt: BaseException | None = None
    for walk in walks:
        while True:
            try:
                walk.abandon()
                walk.forget()
                break
            except KeyboardInterrupt as error:
                interrupt = error
    if interrupt is not None:
        raise interrupt
