"""The search that scipy falls back to, and the two in turn as its BFGS and CG have them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from .line_search import Probe, Search, more_thuente

__all__ = ["Condition", "strong_wolfe", "wolfe"]

Condition = Callable[[], bool]
"""What the last step must satisfy besides Wolfe's conditions."""

# How close to an end of the interval a minimiser of a cubic and of a quadratic may lie, in units
# of its length; else the next one is tried, and bisection last.
_CUBIC_MARGIN, _QUADRATIC_MARGIN = 0.2, 0.1


def wolfe(
    start: Probe,
    first: float,
    c1: float = 1e-4,
    c2: float = 0.9,
    least: float = 1e-100,
    largest: float = 1e100,
    also: Condition = lambda: True,
) -> Search:
    """More and Thuente's search, and :func:`strong_wolfe` from the same first step if it fails.

    Args:
        least, largest: of the steps of the first.
        also: asked where Wolfe's conditions hold.
    """
    found = yield from more_thuente(start, first, c1, c2, least=least, largest=largest)
    if found and also():
        return True
    return (yield from strong_wolfe(start, first, c1, c2, also=also))


def strong_wolfe(
    start: Probe,
    first: float,
    c1: float = 1e-4,
    c2: float = 0.9,
    largest: float = 1e100,
    limit: int = 10,
    also: Condition = lambda: True,
) -> Search:
    """A step that satisfies the strong Wolfe conditions: doubled until they are bracketed, then
    the bracket is shortened. With scipy's constants, so that it takes scipy's steps.

    Where the loss still falls steeply after ``limit`` doublings, the last of them is accepted.

    Source: Nocedal and Wright, Numerical Optimization (2006), algorithms 3.5 and 3.6.
    """
    origin = Probe(0.0, start.value, start.slope)
    before, step = origin, min(first, largest)
    probe = yield step
    for i in range(limit):
        if probe.step == 0.0 or before.step > largest:
            return False
        sufficient = start.value + c1 * probe.step * start.slope
        if probe.value > sufficient or (i > 0 and probe.value >= before.value):
            return (yield from _zoom(start, before, probe, c1, c2, also))
        if abs(probe.slope) <= -c2 * start.slope and also():
            return True
        if probe.slope >= 0.0:
            return (yield from _zoom(start, probe, before, c1, c2, also))
        before = probe
        probe = yield min(2.0 * probe.step, largest)
    return True


class _Point(NamedTuple):
    step: float
    value: float


def _zoom(
    start: Probe,
    low: Probe,
    high: Probe,
    c1: float,
    c2: float,
    also: Condition,
    limit: int = 11,
) -> Search:
    """Shortens an interval whose lower end has sufficient decrease and falls into it."""
    third = _Point(0.0, start.value)
    for i in range(limit):
        step = _between(low, high, third if i else None)
        probe = yield step
        sufficient = start.value + c1 * probe.step * start.slope
        if probe.value > sufficient or probe.value >= low.value:
            third, high = _Point(high.step, high.value), probe
            continue
        if abs(probe.slope) <= -c2 * start.slope and also():
            return True
        if probe.slope * (high.step - low.step) >= 0.0:
            third, high = _Point(high.step, high.value), low
        else:
            third = _Point(low.step, low.value)
        low = probe
    return False


def _between(low: Probe, high: Probe, third: _Point | None) -> float:
    length = high.step - low.step
    ends = sorted((low.step, high.step))

    def is_inside(step: float, margin: float) -> bool:
        # A length that is negative widens: scipy's rule, whose steps these are to be.
        return ends[0] + margin * length <= step <= ends[1] - margin * length

    if third is not None:
        cubic = _minimiser_of_cubic(low, high, third)
        if is_inside(cubic, _CUBIC_MARGIN):
            return cubic
    quadratic = _minimiser_of_quadratic(low, high)
    return quadratic if is_inside(quadratic, _QUADRATIC_MARGIN) else low.step + 0.5 * length


def _minimiser_of_cubic(a: Probe, b: Probe, c: _Point) -> float:
    """Of the cubic with value and slope of a and the values of b and c; NaN if it has none."""
    to_b, to_c = b.step - a.step, c.step - a.step
    over_b = b.value - a.value - a.slope * to_b
    over_c = c.value - a.value - a.slope * to_c
    try:
        scale = (to_b * to_c) ** 2 * (to_b - to_c)
        cube = (to_c**2 * over_b - to_b**2 * over_c) / scale
        square = (to_b**3 * over_c - to_c**3 * over_b) / scale
        root = math.sqrt(square * square - 3.0 * cube * a.slope)
        return a.step + (root - square) / (3.0 * cube)
    except (ArithmeticError, ValueError):
        return math.nan


def _minimiser_of_quadratic(a: Probe, b: Probe) -> float:
    """Of the parabola with value and slope of a and the value of b; NaN if it has none."""
    to_b = b.step - a.step
    try:
        square = (b.value - a.value - a.slope * to_b) / (to_b * to_b)
        return a.step - a.slope / (2.0 * square)
    except ArithmeticError:
        return math.nan
