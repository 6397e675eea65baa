"""Searches along a line against scipy's own, step by step."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from lines import Line, lines, searched
from scipy.optimize import _linesearch as scipy_search
from scipy.optimize._dcsrch import DCSRCH

from pytorch_minimize.solvers.line_search import (
    Probe,
    first_trial,
    more_thuente,
    or_the_first,
    step_back,
)
from pytorch_minimize.solvers.zoom import strong_wolfe, wolfe

FIRSTS = (1.0, 1e-4, 37.0)


class Recorded:
    """A line that scipy searches, and where it did."""

    def __init__(self, line: Line) -> None:
        self.line, self.steps = line, []

    def value(self, step: float) -> float:
        self.steps.append(step)
        return self.line.value(step)


@pytest.mark.parametrize("first", FIRSTS)
def test_more_thuente_takes_the_steps_of_scipys(first: float) -> None:
    accepted = 0
    for line in lines(300):
        recorded, start = Recorded(line), line.probe(0.0)
        scipys = DCSRCH(recorded.value, line.slope, 1e-4, 0.9, 1e-14, 1e-100, 1e100)
        with np.errstate(all="ignore"):
            step, *_ = scipys(first, phi0=start.value, derphi0=start.slope)
        steps, found = searched(more_thuente(start, first), line)
        assert steps == pytest.approx(recorded.steps, rel=1e-9)
        assert found == (step is not None)
        accepted += found
    assert accepted > 250


@pytest.mark.parametrize("tight", [(1e-4, 0.9), (1e-4, 1e-3), (0.4, 0.41)])
def test_more_thuente_keeps_to_its_conditions(tight: tuple[float, float]) -> None:
    c1, c2 = tight
    for line in lines(300):
        start = line.probe(0.0)
        steps, found = searched(more_thuente(start, 1.0, c1, c2), line)
        end = line.probe(steps[-1])
        if found:
            assert end.value <= start.value + c1 * end.step * start.slope
            assert abs(end.slope) <= -c2 * start.slope


@pytest.mark.parametrize("first", FIRSTS)
def test_strong_wolfe_takes_the_steps_of_scipys(first: float) -> None:
    accepted = 0
    for line in lines(300):
        recorded, start = Recorded(line), line.probe(0.0)
        # What scipy's first step is comes from the value before.
        before = start.value - first * start.slope / 2.02 if first <= 1 else None
        expected_first = first_trial(start.value, before, start.slope) if before else 1.0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            step, *_ = scipy_search.scalar_search_wolfe2(
                recorded.value, line.slope, start.value, before, start.slope, amax=1e100
            )
        steps, found = searched(strong_wolfe(start, expected_first), line)
        assert steps == pytest.approx(recorded.steps, rel=1e-7)
        assert found == (step is not None)
        accepted += found
    assert accepted > 250


def test_the_second_search_follows_the_first() -> None:
    # Falls for ever, so that the first reaches its largest step and fails.
    line = Line(lambda t: -t, lambda t: -1.0)
    steps, _ = searched(wolfe(line.probe(0.0), 1.0), line)
    first, _ = searched(more_thuente(line.probe(0.0), 1.0), line)
    second, _ = searched(strong_wolfe(line.probe(0.0), 1.0), line)
    assert steps == first + second


@pytest.mark.parametrize("slope", [0.0, 1.0, math.nan])
def test_a_direction_that_does_not_fall_is_no_line(slope: float) -> None:
    assert searched(more_thuente(Probe(0.0, 1.0, slope), 1.0), lines(1)[0]) == ([], False)


@pytest.mark.parametrize(
    ("value", "before", "slope", "first"),
    [(1.0, 2.0, -4.04, 0.5), (1.0, 9.0, -1.0, 1.0), (2.0, 1.0, -1.0, 1.0), (1.0, 1.0, -1.0, 0.0)],
)
def test_the_first_trial(value: float, before: float, slope: float, first: float) -> None:
    assert first_trial(value, before, slope) == pytest.approx(first)


class TestStepBack:
    """A log that ends at 1: -x - log(1 - x) and the like."""

    @staticmethod
    def walled(at: float) -> Line:
        def value(t: float) -> float:
            return -t - 0.01 * at * math.log(at - t) if t < at else math.nan

        def slope(t: float) -> float:
            return -1.0 + 0.01 * at / (at - t) if t < at else math.nan

        return Line(value, slope)

    @pytest.mark.parametrize("at", [0.9, 1e-3, 1e-9])
    def test_the_search_sees_finite_points_only(self, at: float) -> None:
        line, seen = self.walled(at), []

        def spy() -> object:
            asked = 1.0
            while True:
                probe = yield asked
                seen.append(probe)
                asked = 4 * probe.step
                if len(seen) > 5:
                    return False

        steps, _ = searched(step_back(spy(), line.probe(0.0), c1=math.inf), line)
        assert len(seen) > 5
        assert all(math.isfinite(probe.value) for probe in seen)
        assert max(steps) == 1.0
        walls = [step for step in steps if step >= at]
        assert walls == sorted(set(walls), reverse=True), "no step back leads further out"

    def test_sufficient_decrease_is_enough_at_a_wall(self) -> None:
        cliff = Line(lambda t: -t if t < 0.7 else math.inf, lambda t: -1.0)
        start = cliff.probe(0.0)
        steps, found = searched(step_back(wolfe(start, 1.0), start, 1e-4), cliff)
        assert (steps, found) == ([1.0, 0.5], True)

    def test_it_gives_up_where_nothing_is_finite(self) -> None:
        start = Probe(0.0, 1.0, -1.0)
        nothing = Line(lambda t: math.nan, lambda t: math.nan)
        steps, found = searched(step_back(wolfe(start, 1.0), start, 1e-4), nothing)
        assert not found
        assert len(steps) == 60

    def test_it_changes_nothing_where_all_is_finite(self) -> None:
        for line in lines(50):
            start = line.probe(0.0)
            plain = searched(wolfe(start, 1.0), line)
            assert searched(step_back(wolfe(start, 1.0), start, 1e-4), line) == plain


class TestTheFirstStepAlone:
    def test_it_changes_nothing(self) -> None:
        accepted = 0
        for line in lines(200):
            start = line.probe(0.0)
            for first in (1.0, 0.1, 0.0):
                plain = searched(step_back(wolfe(start, first), start, 1e-4), line)
                search = step_back(wolfe(start, first), start, 1e-4)
                assert searched(or_the_first(search, start, first, 1e-4, 0.9), line) == plain
                accepted += plain[1] and len(plain[0]) == 1
        assert accepted > 20

    @pytest.mark.parametrize("value", [math.nan, -math.inf, math.inf])
    def test_what_is_not_finite_is_never_accepted(self, value: float) -> None:
        start = Probe(0.0, 1.0, -1.0)
        wall = Line(lambda t: value if t > 0.6 else -t, lambda t: -1.0 if t > 0.6 else 0.0)
        search = step_back(wolfe(start, 1.0), start, 1e-4)
        steps, found = searched(or_the_first(search, start, 1.0, 1e-4, 0.9), wall)
        assert found
        assert steps == [1.0, 0.5]

    def test_a_rising_line_is_not_searched(self) -> None:
        start = Probe(0.0, 1.0, 1.0)
        search = wolfe(start, 1.0)
        steps, found = searched(or_the_first(search, start, 1.0, 1e-4, 0.9), Line(abs, abs))
        plain = searched(wolfe(start, 1.0), Line(abs, abs))
        assert (steps, found) == plain
