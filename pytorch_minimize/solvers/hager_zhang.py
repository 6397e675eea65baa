"""Hager and Zhang's search, whose second test goes on where the loss has no digits left."""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import NamedTuple

from .line_search import Probe, Search, send

__all__ = ["hager_zhang", "is_acceptable"]

# Of the paper: how far a loss may rise in the approximate test, by how much an interval is to
# shrink before it is bisected, and the growth of the step while there is no bracket.
_RISE, _SHRINK, _GROWTH = 1e-6, 0.66, 5.0


class _Interval(NamedTuple):
    """Ends with a falling and a rising slope; at the first the loss is no higher than allowed."""

    low: Probe
    high: Probe


_Part = Generator[float, Probe, _Interval]


def is_acceptable(start: Probe, probe: Probe, c1: float, c2: float) -> bool:
    r"""The Wolfe conditions, or the approximate ones, which compare slopes only:

    .. math:: c_2 f'(0) \le f'(a) \le (2 c_1 - 1) f'(0), \qquad f(a) \le f(0) + 10^{-6} |f(0)|

    Example:
        >>> is_acceptable(Probe(0, 1.0, -1.0), Probe(1.0, 1.0, 0.0), 0.1, 0.9)
        True
    """
    if probe.slope < c2 * start.slope:
        return False
    if probe.value - start.value <= c1 * probe.step * start.slope:
        return True
    flat = probe.slope <= (2.0 * c1 - 1.0) * start.slope
    return flat and probe.value <= _highest(start)


def hager_zhang(
    start: Probe, first: float, c1: float = 0.1, c2: float = 0.9, limit: int = 50
) -> Search:
    """A step that satisfies one of the two sets of conditions of :func:`is_acceptable`.

    Where the loss still falls steeply after ``limit`` steps, the last of them is accepted.

    Args:
        first: the step to try first; 1 where it is 0, which is the guess once a loss stands still.

    Source: Hager and Zhang, A new conjugate gradient method with guaranteed descent and an
    efficient line search, SIAM Journal on Optimization 16 (2005); ACM TOMS 32 (2006).
    """
    if not start.slope < 0.0:
        return False
    steps = _steps(Probe(0.0, start.value, start.slope), first or 1.0)
    asked = send(steps, None)
    for _ in range(limit):
        if isinstance(asked, bool) or not math.isfinite(asked):
            break
        probe = yield asked
        if is_acceptable(start, probe, c1, c2):
            return True
        asked = send(steps, probe)
    else:
        enough = probe.value - start.value <= c1 * probe.step * start.slope
        return enough and probe.slope < c2 * start.slope
    return False


def _highest(start: Probe) -> float:
    return start.value + _RISE * abs(start.value)


def _steps(start: Probe, first: float) -> Search:
    """Steps that close in on a minimiser, each of which the caller tests."""
    interval = yield from _bracket(start, first)
    while interval.low.step < interval.high.step:
        before = interval.high.step - interval.low.step
        interval = yield from _double_secant(start, interval)
        if interval.high.step - interval.low.step > _SHRINK * before:
            middle = 0.5 * (interval.low.step + interval.high.step)
            interval = yield from _updated(start, interval, middle)
        if interval.high.step - interval.low.step >= before:
            return False
    return False


def _bracket(start: Probe, first: float) -> _Part:
    low, step = start, first
    while True:
        probe = yield step
        if probe.slope >= 0.0:
            return _Interval(low, probe)
        if probe.value > _highest(start):
            return (yield from _bisected(start, _Interval(low, probe)))
        low, step = probe, _GROWTH * probe.step


def _bisected(start: Probe, interval: _Interval) -> _Part:
    """Where the slope at the higher end falls still, but the loss is too high there."""
    low, high = interval
    while True:
        step = 0.5 * (low.step + high.step)
        if not low.step < step < high.step:
            return _Interval(low, low)
        probe = yield step
        if probe.slope >= 0.0:
            return _Interval(low, probe)
        if probe.value <= _highest(start):
            low = probe
        else:
            high = probe


def _updated(start: Probe, interval: _Interval, step: float) -> _Part:
    """The part of an interval that a step inside cuts off."""
    if not interval.low.step < step < interval.high.step:
        return interval
    probe = yield step
    if probe.slope >= 0.0:
        return _Interval(interval.low, probe)
    if probe.value <= _highest(start):
        return _Interval(probe, interval.high)
    return (yield from _bisected(start, _Interval(interval.low, probe)))


def _double_secant(start: Probe, interval: _Interval) -> _Part:
    """A secant step, and one more from the end that it moved."""
    middle = _secant(interval.low, interval.high)
    shorter = yield from _updated(start, interval, middle)
    if shorter.high.step == middle:
        again = _secant(interval.high, shorter.high)
    elif shorter.low.step == middle:
        again = _secant(interval.low, shorter.low)
    else:
        return shorter
    return (yield from _updated(start, shorter, again))


def _secant(a: Probe, b: Probe) -> float:
    """Where the line through two slopes is zero; NaN, which is in no interval, if it never is."""
    rise = b.slope - a.slope
    return (a.step * b.slope - b.step * a.slope) / rise if rise else math.nan
