r"""Searches along a line, as generators of step lengths.

A search asks for steps along a direction p from a point where the loss is ``start.value`` and its
slope :math:`g^T p` is ``start.slope``; it is sent the :class:`Probe` there and returns whether the
last probe is accepted. It knows no vectors.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import NamedTuple

__all__ = [
    "Probe",
    "Search",
    "first_trial",
    "more_thuente",
    "or_the_first",
    "send",
    "step_back",
]


class Probe(NamedTuple):
    """A step, and value and slope there; neither finite means that the closure gave none.

    The step may be shorter than the one asked for: see :func:`step_back`.
    """

    step: float
    value: float
    slope: float


Search = Generator[float, Probe, bool]

# More and Thuente's constants: how far a step may reach beyond the best one, and by how much two
# iterations together must shorten the interval.
_LEAST_REACH, _REACH = 1.1, 4.0
_SHRINK = 0.66


def first_trial(value: float, before: float, slope: float) -> float:
    r"""The first step, if the loss is to fall as it did in the last iteration.

    .. math:: \min(1,\; 2.02\,(f_k - f_{k-1}) / g^T p), \qquad 1 \text{ where that is negative}

    Example:
        >>> first_trial(1.0, 1.5, -2.02)
        0.5
    """
    guess = min(1.0, 2.02 * (value - before) / slope) if slope else 1.0
    return guess if guess >= 0.0 else 1.0


def send(search: Search, probe: Probe | None) -> float | bool:
    """The step that a search asks for next, or what it returns."""
    try:
        return next(search) if probe is None else search.send(probe)
    except StopIteration as end:
        return bool(end.value)


def step_back(search: Search, start: Probe, c1: float, most: int = 60) -> Search:
    """A search that never learns of a point that is not finite.

    Where there is one, the step is halved towards the last that was finite, and the search is told
    of the first finite one in its place. From then on a sufficient decrease is enough: along a
    line that ends at a wall there may be no point where the slope is small.

    Args:
        most: trials in a row that may fail.
    """
    good, wall = start.step, math.inf
    asked = send(search, None)
    while not isinstance(asked, bool):
        step = asked if asked < wall else good + (wall - good) / 2
        for _ in range(most):
            probe = yield step
            if math.isfinite(probe.value) and math.isfinite(probe.slope):
                break
            wall, step = step, good + (step - good) / 2
        else:
            return False
        if wall < math.inf and probe.value <= start.value + c1 * probe.step * start.slope:
            return True
        good = probe.step
        asked = send(search, probe)
    return asked


def or_the_first(
    search: Search,
    start: Probe,
    first: float,
    c1: float,
    c2: float,
    least: float = 1e-100,
    largest: float = 1e100,
) -> Search:
    """A search of Wolfe's conditions that need not begin where they hold at its first step.

    That is so in nine of ten iterations of a quasi-Newton method, and to begin is most of its time.

    Args:
        search: asks for ``first`` first, and accepts it where the conditions hold.
        least, largest: of the step, beyond which it does not begin.
    """
    asked: float | bool = first
    if not (least <= first <= largest and start.slope < 0.0):
        asked = send(search, None)
    else:
        probe = yield first
        highest = start.value + first * (c1 * start.slope)
        if -math.inf < probe.value <= highest and abs(probe.slope) <= -c2 * start.slope:
            return True
        send(search, None)
        asked = send(search, probe)
    while not isinstance(asked, bool):
        asked = send(search, (yield asked))
    return asked


@dataclass
class _Interval:
    """Two steps between which the minimiser of what is searched lies, once it is bracketed.

    Attributes:
        best: the step of the least value; its slope points towards ``other``.
        low, high: the least and the largest step to be tried next.
    """

    best: Probe
    other: Probe
    low: float
    high: float
    bracketed: bool = False


def more_thuente(
    start: Probe,
    first: float,
    c1: float = 1e-4,
    c2: float = 0.9,
    xtol: float = 1e-14,
    least: float = 1e-100,
    largest: float = 1e100,
    limit: int = 99,
) -> Search:
    r"""A step that satisfies the strong Wolfe conditions, by safeguarded cubic interpolation.

    .. math:: f(a) \le f(0) + c_1 a f'(0), \qquad |f'(a)| \le c_2 |f'(0)|

    The same steps as ``dcsrch`` of MINPACK-2, which scipy's BFGS and L-BFGS-B use. Until a step
    with sufficient decrease and a rising slope is found, it is the loss less the line of
    sufficient decrease that is interpolated where this one tells more.

    Args:
        first: the step to try first.
        xtol: of the interval's length, relative to its end; a shorter one fails.
        least, largest: of the step.
        limit: evaluations.

    Source: More and Thuente, Line search algorithms with guaranteed sufficient decrease, ACM
    Transactions on Mathematical Software 20 (1994).
    """
    origin = Probe(0.0, start.value, start.slope)
    if not (least <= first <= largest and start.slope < 0.0):
        return False
    line = c1 * start.slope
    interval = _Interval(origin, origin, 0.0, first + _REACH * first)
    width, width_before = largest - least, 2.0 * (largest - least)
    step, modified = first, True
    for _ in range(limit):
        probe = yield step
        step = probe.step
        decrease = start.value + step * line
        if modified and probe.value <= decrease and probe.slope >= 0.0:
            modified = False
        if probe.value <= decrease and abs(probe.slope) <= -c2 * start.slope:
            return True
        if _is_stuck(interval, step, xtol) or _is_at_an_end(probe, decrease, line, least, largest):
            return False
        tilt = line if modified and decrease < probe.value <= interval.best.value else 0.0
        step = _interpolate(interval, probe, tilt)
        if not math.isfinite(step):
            return False
        best, other = interval.best.step, interval.other.step
        if interval.bracketed:
            if abs(other - best) >= _SHRINK * width_before:
                step = best + 0.5 * (other - best)
            width_before, width = width, abs(other - best)
            interval.low, interval.high = min(best, other), max(best, other)
        else:
            interval.low = step + _LEAST_REACH * (step - best)
            interval.high = step + _REACH * (step - best)
        step = min(max(step, least), largest)
        if _is_stuck(interval, step, xtol):
            step = best
    return False


def _is_stuck(interval: _Interval, step: float, xtol: float) -> bool:
    """Whether a bracket has become too short to go on in."""
    low, high = interval.low, interval.high
    return interval.bracketed and (not low < step < high or high - low <= xtol * high)


def _is_at_an_end(probe: Probe, decrease: float, line: float, least: float, largest: float) -> bool:
    falls = probe.value <= decrease and probe.slope <= line
    return (probe.step == largest and falls) or (
        probe.step == least and (probe.value > decrease or probe.slope >= line)
    )


def _interpolate(interval: _Interval, probe: Probe, tilt: float) -> float:
    """The next step, the interval having become the better for this probe; NaN if there is none.

    Args:
        tilt: slope of the line that is subtracted from the values first.
    """
    best, other = _tilted(interval.best, -tilt), _tilted(interval.other, -tilt)
    probe = _tilted(probe, -tilt)
    turns = math.copysign(1.0, probe.slope) * math.copysign(1.0, best.slope) < 0.0
    turns = turns and probe.slope != 0.0 and best.slope != 0.0
    try:
        step = _next_step(interval, best, other, probe, turns)
    except (ArithmeticError, ValueError):  # a division by zero, a root of a negative number
        return math.nan
    if probe.value > best.value:
        other = probe
    else:
        best, other = probe, best if turns else other
    interval.best, interval.other = _tilted(best, tilt), _tilted(other, tilt)
    return step


def _tilted(probe: Probe, slope: float) -> Probe:
    return Probe(probe.step, probe.value + probe.step * slope, probe.slope + slope)


def _next_step(interval: _Interval, best: Probe, other: Probe, probe: Probe, turns: bool) -> float:
    """More and Thuente's four cases."""
    a, t = best.step, probe.step
    if probe.value > best.value:  # too high: the minimiser is between
        interval.bracketed = True
        cubic = _cubic(best, probe, _theta(best, probe))
        drop = (best.value - probe.value) / (t - a) + best.slope
        quadratic = a + best.slope / drop / 2.0 * (t - a)
        near = abs(cubic - a) <= abs(quadratic - a)
        return cubic if near else cubic + (quadratic - cubic) / 2.0
    if turns:  # lower, and rising: between as well
        interval.bracketed = True
        cubic, secant = _cubic(probe, best, _theta(best, probe)), _secant(probe, best)
        return cubic if abs(cubic - t) > abs(secant - t) else secant
    if abs(probe.slope) < abs(best.slope):  # lower, and less steep
        return _beyond(interval, best, other, probe)
    if interval.bracketed:  # lower, and no less steep
        return _cubic(probe, other, _theta(other, probe))
    return interval.high if t > a else interval.low


def _beyond(interval: _Interval, best: Probe, other: Probe, probe: Probe) -> float:
    """The step on from a probe whose slope is of the same sign as before, and less steep."""
    a, t = best.step, probe.step
    cubic, secant = _cubic_beyond(best, probe), _secant(probe, best)
    if cubic is None:
        cubic = interval.high if t > a else interval.low
    if not interval.bracketed:
        step = cubic if abs(cubic - t) > abs(secant - t) else secant
        return min(max(step, interval.low), interval.high)
    step = cubic if abs(cubic - t) < abs(secant - t) else secant
    end = t + _SHRINK * (other.step - t)
    return min(end, step) if t > a else max(end, step)


def _theta(old: Probe, probe: Probe) -> float:
    return 3.0 * (old.value - probe.value) / (probe.step - old.step) + old.slope + probe.slope


def _root(a: Probe, b: Probe, theta: float, *, real: bool) -> float:
    """The root of the cubic's derivative, as half the distance of its two zeros."""
    scale = max(abs(theta), abs(a.slope), abs(b.slope))
    square = (theta / scale) ** 2 - (a.slope / scale) * (b.slope / scale)
    return scale * math.sqrt(max(0.0, square) if real else square)


def _cubic(at: Probe, to: Probe, theta: float) -> float:
    """The minimiser of the cubic through two probes, counted from the first."""
    gamma = math.copysign(_root(at, to, theta, real=False), to.step - at.step)
    ratio = ((gamma - at.slope) + theta) / (((gamma - at.slope) + gamma) + to.slope)
    return at.step + ratio * (to.step - at.step)


def _cubic_beyond(best: Probe, probe: Probe) -> float | None:
    """The minimiser of that cubic, if it lies beyond the probe; None if there is none."""
    theta = _theta(best, probe)
    gamma = math.copysign(_root(best, probe, theta, real=True), best.step - probe.step)
    ratio = ((gamma - probe.slope) + theta) / ((gamma + (best.slope - probe.slope)) + gamma)
    if ratio < 0.0 and gamma != 0.0:
        return probe.step + ratio * (best.step - probe.step)
    return None


def _secant(at: Probe, to: Probe) -> float:
    return at.step + at.slope / (at.slope - to.slope) * (to.step - at.step)
