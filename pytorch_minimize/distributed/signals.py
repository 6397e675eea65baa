"""Ctrl-C, and every other signal that Python answers, kept out of what processes say together."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, TypeVar

__all__ = ["HeldSignals"]

T = TypeVar("T")


class HeldSignals:
    """Lets handlers of signals run where an exception of theirs can be told to the others.

    An exception out of a handler may come up between any two bytecodes. In the midst of what
    processes do together it would leave the others waiting for a part that never comes, so that
    there a signal is only noted; it is answered where the user's or the solver's code runs again.

    As a context manager: inside, the handlers are ours and open; at the end they are the user's
    again, and what was noted is answered. In other threads than the main one Python runs no
    handlers, and nothing is done.

    Example:
        >>> before = signal.signal(signal.SIGUSR1, lambda number, frame: print("answered"))
        >>> with HeldSignals() as signals:
        ...     with signals.held():
        ...         signal.raise_signal(signal.SIGUSR1)
        ...         print("noted")
        noted
        answered
        >>> handler = signal.signal(signal.SIGUSR1, before)
    """

    def __init__(self) -> None:
        self._handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._noted: list[int] = []
        self._is_open = True

    def __enter__(self) -> HeldSignals:
        if threading.current_thread() is threading.main_thread():
            for number in signal.valid_signals():
                handler = signal.getsignal(number)
                if callable(handler):
                    self._handlers[number] = handler
                    signal.signal(number, self._answer)
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        self._is_open = False
        for number, handler in self._handlers.items():
            if signal.getsignal(number) == self._answer:  # else the closure has set one of its own
                signal.signal(number, handler)
        if error is None:
            self._answer_noted()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Inside the block signals are noted; they are answered after it, unless it raises."""
        before, self._is_open = self._is_open, False
        try:
            yield
        finally:
            self._is_open = before
        if before:
            self._answer_noted()

    def caught(self, code: Callable[[], T]) -> tuple[T | None, BaseException | None]:
        """What ``code`` returns with signals answered, or what it raises; noted before and after.

        Nothing escapes, wherever the signal comes: a handler that raises has closed the door
        behind it, so that the outer of the two handlers is not interrupted.
        """
        try:
            try:
                self._is_open = True
                self._answer_noted()
                result = code()
                self._is_open = False
                return result, None
            except BaseException as error:
                self._is_open = False
                return None, error
        except BaseException as error:
            return None, error

    def hold(self) -> None:
        """From here on signals are noted."""
        self._is_open = False

    def open(self) -> None:
        """From here on signals are answered, those first that were noted."""
        self._is_open = True
        self._answer_noted()

    def _answer_noted(self) -> None:
        while self._noted:
            self._call(self._noted.pop(0), None)

    def _answer(self, number: int, frame: FrameType | None) -> None:
        if self._is_open:
            self._call(number, frame)
        else:
            self._noted.append(number)

    def _call(self, number: int, frame: FrameType | None) -> None:
        before, self._is_open = self._is_open, False
        self._handlers[number](number, frame)
        self._is_open = before
