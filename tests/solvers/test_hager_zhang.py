"""Hager and Zhang's search: its conditions, and that it goes on where a loss has no digits left."""

from __future__ import annotations

import math

import pytest
from lines import Line, lines, searched

from pytorch_minimize.solvers.hager_zhang import hager_zhang, is_acceptable
from pytorch_minimize.solvers.line_search import Probe
from pytorch_minimize.solvers.zoom import wolfe


@pytest.mark.parametrize("first", [1.0, 1e-4, 37.0])
@pytest.mark.parametrize(("c1", "c2"), [(0.1, 0.9), (0.01, 0.02)])
def test_what_it_accepts_satisfies_one_of_its_conditions(
    first: float, c1: float, c2: float
) -> None:
    accepted = 0
    for line in lines(300):
        start = line.probe(0.0)
        steps, found = searched(hager_zhang(start, first, c1, c2), line)
        assert steps[0] == first
        end = line.probe(steps[-1])
        if found:
            wolfes = end.value <= start.value + c1 * end.step * start.slope
            approximately = end.slope <= (2 * c1 - 1) * start.slope
            assert end.slope >= c2 * start.slope
            assert wolfes or (approximately and end.value <= start.value + 1e-6 * abs(start.value))
        accepted += found
    assert accepted == 300


def test_the_conditions_one_by_one() -> None:
    start = Probe(0.0, 1.0, -1.0)
    assert is_acceptable(start, Probe(1.0, 0.8, -0.5), 0.1, 0.9)
    assert not is_acceptable(start, Probe(1.0, 0.8, -0.95), 0.1, 0.9), "still as steep"
    assert is_acceptable(start, Probe(1.0, 1.0 + 9e-7, 0.7), 0.1, 0.9), "by its slope"
    assert not is_acceptable(start, Probe(1.0, 1.0 + 2e-6, 0.7), 0.1, 0.9), "higher"
    assert not is_acceptable(start, Probe(1.0, 1.0, 0.9), 0.1, 0.9), "rises too steeply"


def test_it_finds_a_minimum_that_the_loss_does_not_show() -> None:
    # 1 + 1e-17 (t - 3)^2 with the rounding errors of a sum; its slope is exact.
    flat = Line(lambda t: 1.0 + 1e-15 * (t > 0), lambda t: 2e-17 * (t - 3.0))
    steps, found = searched(hager_zhang(flat.probe(0.0), 1.0), flat)
    assert found
    assert abs(flat.slope(steps[-1])) < 0.9 * abs(flat.slope(0.0))
    assert not searched(wolfe(flat.probe(0.0), 1.0), flat)[1]


def test_a_first_step_of_nothing_becomes_one() -> None:
    line = lines(1)[0]
    assert searched(hager_zhang(line.probe(0.0), 0.0), line)[0][0] == 1.0


@pytest.mark.parametrize("slope", [0.0, 1.0, math.nan])
def test_a_direction_that_does_not_fall_is_no_line(slope: float) -> None:
    assert searched(hager_zhang(Probe(0.0, 1.0, slope), 1.0), lines(1)[0]) == ([], False)


def test_where_the_loss_falls_for_ever_the_last_step_is_taken() -> None:
    falling = Line(lambda t: -t, lambda t: -1.0)
    steps, found = searched(hager_zhang(falling.probe(0.0), 1.0), falling)
    assert found
    assert len(steps) == 50
    assert steps[-1] == max(steps)


def test_a_slope_that_lies_ends_it_without_a_step() -> None:
    rising = Line(lambda t: t, lambda t: -1.0)
    steps, found = searched(hager_zhang(rising.probe(0.0), 1.0), rising)
    assert not found
    assert len(steps) <= 50
