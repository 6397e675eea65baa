"""All runs at once: rounds, in each of which one batch answers every run that waits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from ..record.profile import Profile
from ..run.protocol import Trial
from .batch import Batch, RowAnswer
from .threads import kept_filters

__all__ = ["RunWalk", "advance_together"]


class RunWalk(Protocol):
    """A run that asks for points: a thread, or a generator."""

    def resume(self, answer: RowAnswer | None) -> Trial[Any] | None:
        """Let it go on with an answer; what it asks for next, None where it is over."""

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
            waiting: list[tuple[RunWalk, Trial[Any] | None]] = []
            for walk in walks:
                begun.append(walk)
                waiting.append((walk, walk.resume(None)))
            unanswered = True
            while asking := [(walk, trial) for walk, trial in waiting if trial is not None]:
                profile.begin("bridge")
                answers = batch([trial for _, trial in asking])
                profile.count("points", len(answers))
                profile.begin("solver")
                if unanswered:
                    first(answers[0].value)
                    unanswered = False
                waiting = [
                    (walk, walk.resume(answer))
                    for (walk, _), answer in zip(asking, answers, strict=True)
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
