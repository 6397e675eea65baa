"""The one way into code of the user's: closures, constraints, losses of many points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from ..extension import native
from ..record.profile import Profile

__all__ = ["Guard", "PythonGuard", "SolverThreads", "make_guard"]


T = TypeVar("T")


class SolverThreads(Protocol):
    """The threads of the solver's own BLAS, held while it runs."""

    def hold(self) -> None:
        """Called before the solver goes on."""

    def release(self) -> None:
        """Called before code of the user's runs."""


class Guard(Protocol):
    """Stands around each piece of the user's code in a run; by the extension where it is built.

    While that code runs, the clock is on its part of the profile and the solver's BLAS has the
    user's own number of threads. What it raises is remembered, for solvers that keep it to
    themselves.
    """

    @property
    def error(self) -> BaseException | None:
        """What the user's code raised."""

    def run(self, part: str, what: str | None, code: Callable[[], T]) -> T:
        """What ``code`` returns; its time goes to ``part``, and it is counted as ``what``."""

    def hold(self) -> None:
        """The solver goes on: its threads are set."""

    def release(self) -> None:
        """They are given back; nothing where they were."""

    def end(self) -> None:
        """The run is over: they are given back for good, whoever calls what is left of it."""

    def remember(self, error: BaseException) -> None:
        """``error`` is on its way through the solver."""

    def check(self) -> None:
        """Raise what the solver has kept to itself: it goes on as if nothing had happened."""

    def forget(self) -> None:
        """What was raised is dealt with; kept, error and traceback would hold each other."""


class PythonGuard:
    """:class:`Guard` in Python. Note [oracle]: it does what the extension's does, in that order."""

    def __init__(self, profile: Profile, threads: SolverThreads | None) -> None:
        self._clock, self._threads = profile.clock, threads
        self.error: BaseException | None = None

    def run(self, part: str, what: str | None, code: Callable[[], T]) -> T:
        before = self._clock.part
        self.release()
        self._clock.begin(part, what)
        try:
            return code()
        except BaseException as error:
            self.error = error
            raise
        finally:
            self._clock.begin(before)
            self.hold()

    def hold(self) -> None:
        if self._threads is not None:
            self._threads.hold()

    def release(self) -> None:
        if self._threads is not None:
            self._threads.release()

    def end(self) -> None:
        self.release()
        self._threads = None

    def remember(self, error: BaseException) -> None:
        self.error = error

    def check(self) -> None:
        if self.error is not None:
            raise self.error

    def forget(self) -> None:
        self.error = None


def make_guard(profile: Profile, threads: SolverThreads | None = None) -> Guard:
    """A guard of one run; ``threads`` are the solver's, None where it has none."""
    if native is None or not isinstance(profile.clock, native.Clock):
        return PythonGuard(profile, threads)
    made: Guard = native.Guard(profile.clock, threads)
    return made
