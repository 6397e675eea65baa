"""A solver that calls its function, as something that asks and is told: a thread as coroutine."""

from __future__ import annotations

import contextlib
import contextvars
import threading
import warnings
from collections.abc import Callable, Iterator
from time import sleep
from typing import Any, Generic, TypeVar

from ..run.protocol import Trial
from ..typing import Array
from .batch import RowAnswer

__all__ = ["Abandoned", "Asks", "ThreadedWalk", "kept_filters"]

R = TypeVar("R")

_PATIENCE = 1000  # milliseconds, for a thread to begin


class Abandoned(BaseException):
    """Raised in the thread of a run that nobody waits for any more; no ``except Exception``
    of a solver's holds it up."""


class Asks:
    """Something to be done by the thread that called ``step``."""

    def __init__(self, code: Callable[[], Any]) -> None:
        self._code = code

    def __call__(self) -> Callable[[], Any]:
        """Do it; returns what gives its value, or raises what it raised, where it was wanted."""
        try:
            value = self._code()
        except BaseException as error:
            raised = error  # the name of an except clause ends with it
            if not isinstance(error, Exception):  # an interrupt is for who waits here
                raise

            def raising() -> Any:
                raise raised

            return raising
        return lambda: value


class ThreadedWalk(Generic[R]):
    """A run in a thread of its own, which goes on only while this object's user waits for it.

    Exactly one thread runs at a time, so that nothing which runs share needs a lock. What torch
    and numpy keep for each thread is the default, with the context variables of the maker. Filters
    of warnings belong to the process, and scipy changes them around searches along a line, inside
    which it asks: they are put back wherever the threads change over.

    Args:
        run: does all of it; calls :meth:`ask` and :meth:`call` of this object.
        name: of the thread.

    Attributes:
        result: what ``run`` returned.

    Example:
        >>> walk = ThreadedWalk(lambda walk: walk.ask(np.ones(2)).value + 1.0, "run 0")
        >>> walk.resume(None).x
        array([1., 1.])
        >>> walk.resume(RowAnswer(41.0, None, True)), walk.result
        (None, 42.0)
    """

    result: R

    def __init__(self, run: Callable[[ThreadedWalk[R]], R], name: str) -> None:
        self._run = run
        self._go, self._came = threading.Lock(), threading.Lock()
        self._go.acquire()
        self._came.acquire()
        self._said: Any = None
        self._error: BaseException | None = None
        self._started = self._abandoned = self._over = False
        self._filters: tuple[Any, ...] | None = None
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._begin,), name=name, daemon=True
        )

    def resume(self, answer: RowAnswer | None) -> Trial[Array] | None:
        """Let the run go on with an answer, to where it asks again.

        Returns:
            What it asks for; None where it is over.

        Raises:
            What the run raised.
        """
        said: Any = answer
        while isinstance(asked := self._switch(said), Asks):
            said = asked()
        if self._over:
            self._thread.join()
            if self._error is not None:
                raise self._error
            return None
        trial: Trial[Array] = asked
        return trial

    def ask(self, x: Array) -> RowAnswer:
        """In the thread: what the round gives at x."""
        answer: RowAnswer = self._wait(Trial(x))
        return answer

    def call(self, code: Callable[[], Any]) -> Any:
        """In the thread: what ``code`` returns or raises in the thread that waits."""
        return self._wait(Asks(code))()

    def abandon(self) -> None:
        """End the run wherever it is. Only once it has is the thread that waits to go on."""
        self._abandoned = True
        if not self._started:
            return
        with contextlib.suppress(RuntimeError):  # it was told to go on already
            self._go.release()
        # An interrupt of its start may have come before it, or while it was on its way.
        for _ in range(_PATIENCE):
            try:
                return self._thread.join()
            except RuntimeError:  # it has not begun
                sleep(1e-3)

    def forget(self) -> None:
        """Keep nothing alive of what was raised; it and its traceback would hold each other. Nor of
        the run, which holds this object."""
        self._error = None
        self._run = _over

    def _switch(self, said: Any) -> Any:
        """Hand over to the thread, and wait until it hands back."""
        outside = _filters()
        if self._filters is not None:
            _set_filters(self._filters)
        self._said = said
        try:
            if not self._started:
                self._started = True
                self._start()
            else:
                self._go.release()
            self._came.acquire()
        finally:
            inside = _filters()
            changed = any(a is not b for a, b in zip(inside, outside, strict=True))
            self._filters = inside if changed else None
            if changed:
                _set_filters(outside)
        return self._said

    def _start(self) -> None:
        try:
            self._thread.start()
        except RuntimeError:  # there can be no more threads
            self._started = False
            raise

    def _wait(self, said: Any) -> Any:
        """In the thread: hand back, and wait until it is to go on."""
        if not self._abandoned:
            self._said = said
            self._came.release()
            self._go.acquire()
        if self._abandoned:
            raise Abandoned
        return self._said

    def _begin(self) -> None:
        try:
            self.result = self._run(self)
        except BaseException as error:
            self._error = error
        self._over = True
        if not self._abandoned:
            self._came.release()


def _over(walk: ThreadedWalk[Any]) -> Any:
    raise Abandoned


# What catch_warnings keeps and puts back.
_OF_WARNINGS = ("filters", "showwarning", "_showwarnmsg_impl")


def _filters() -> tuple[Any, ...]:
    return tuple(getattr(warnings, name, None) for name in _OF_WARNINGS)


def _set_filters(found: tuple[Any, ...]) -> None:
    for name, value in zip(_OF_WARNINGS, found, strict=True):
        if value is not None:
            setattr(warnings, name, value)
    mutated = getattr(warnings, "_filters_mutated", None)  # what was decided is looked up anew
    if mutated is not None:
        mutated()


@contextlib.contextmanager
def kept_filters() -> Iterator[None]:
    """Whatever threads that end inside the block put back, the filters are the caller's again."""
    outside = _filters()
    try:
        yield
    finally:
        _set_filters(outside)
