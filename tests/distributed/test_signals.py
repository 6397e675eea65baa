"""Handlers of signals, held back and given back."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from pytorch_minimize.distributed.signals import HeldSignals

NUMBER = signal.SIGUSR1


@pytest.fixture
def answered() -> Iterator[list[int]]:
    numbers: list[int] = []
    before = signal.signal(NUMBER, lambda number, frame: numbers.append(number))
    yield numbers
    signal.signal(NUMBER, before)


def test_open_from_the_first(answered: list[int]) -> None:
    with HeldSignals():
        signal.raise_signal(NUMBER)
        assert answered == [NUMBER]


def test_what_is_noted_is_answered_at_the_end(answered: list[int]) -> None:
    with HeldSignals() as signals:
        signals.hold()
        signal.raise_signal(NUMBER)
        signal.raise_signal(NUMBER)
        assert answered == []
    assert answered == [NUMBER] * 2


def test_handlers_are_the_users_again_after_an_error(answered: list[int]) -> None:
    handler = signal.getsignal(NUMBER)

    def fail() -> None:
        with HeldSignals() as signals:
            signals.hold()
            signal.raise_signal(NUMBER)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert signal.getsignal(NUMBER) is handler
    assert answered == []  # the error is on its way


def test_a_handler_that_is_set_inside_stays(answered: list[int]) -> None:
    with HeldSignals():
        signal.signal(NUMBER, signal.SIG_IGN)
    assert signal.getsignal(NUMBER) is signal.SIG_IGN


def test_an_interrupt_is_caught_wherever_it_comes() -> None:
    with HeldSignals() as signals:
        signals.hold()
        signal.raise_signal(signal.SIGINT)
        result, error = signals.caught(lambda: pytest.fail("it was noted before"))
        assert result is None
        assert isinstance(error, KeyboardInterrupt)
        result, error = signals.caught(lambda: signal.raise_signal(signal.SIGINT))
        assert isinstance(error, KeyboardInterrupt)
        signal.raise_signal(signal.SIGINT)  # noted again
        with pytest.raises(KeyboardInterrupt):
            signals.open()
        signal.raise_signal(signal.SIGINT)  # which has closed the door behind it
        assert signals.caught(lambda: 1)[0] is None


def test_other_threads_leave_handlers_alone(answered: list[int]) -> None:
    handler, seen = signal.getsignal(NUMBER), []

    def use() -> None:
        with HeldSignals() as signals, signals.held():
            seen.append(signal.getsignal(NUMBER))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert seen == [handler]
