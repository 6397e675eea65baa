"""Asking and telling."""

from __future__ import annotations

import pytest

from pytorch_minimize.run.protocol import Answer, Stage, Trial, drive


class Closed(Exception):
    pass


def doubling(told: list[float], closed: list[bool]) -> Stage[float]:
    try:
        for x in (1.0, 2.0):
            answer = yield Trial(x)
            told.append(answer.value)
    finally:
        closed.append(True)


def test_every_trial_gets_its_answer() -> None:
    told, closed = [], []
    drive(doubling(told, closed), lambda trial: Answer(10 * trial.x, trial.x, True))
    assert (told, closed) == ([10.0, 20.0], [True])


@pytest.mark.parametrize("error", [Closed, StopIteration, KeyboardInterrupt])
def test_what_the_evaluation_raises_passes_through(error: type[BaseException]) -> None:
    told, closed = [], []

    def evaluate(trial: Trial[float]) -> Answer[float]:
        if trial.x == 2.0:
            raise error
        return Answer(0.0, trial.x, True)

    with pytest.raises(error):
        drive(doubling(told, closed), evaluate)
    assert (told, closed) == ([0.0], [True])


def test_a_stage_may_ask_nothing() -> None:
    def silent() -> Stage[float]:
        yield from ()

    drive(silent(), lambda trial: pytest.fail("nothing was asked"))
