"""Random functions of one variable, and what a search does on them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pytorch_minimize.solvers.line_search import Probe, Search, send


class Line(NamedTuple):
    """A function and its derivative, falling at 0."""

    value: Callable[[float], float]
    slope: Callable[[float], float]

    def probe(self, step: float) -> Probe:
        return Probe(step, self.value(step), self.slope(step))


def lines(count: int) -> list[Line]:
    """Waves on polynomials whose lengths span ten orders."""
    rng = np.random.default_rng(0)
    found: list[Line] = []
    while len(found) < count:
        length = 10.0 ** rng.uniform(-5, 5)
        wave, phase, speed = rng.standard_normal(3) * (1.0, 3.0, 4.0)
        a, b, c = rng.standard_normal(3)

        def value(t: float, q=(length, wave, phase, speed, a, b, c)) -> float:
            length, wave, phase, speed, a, b, c = q
            z = t / length
            cubic = a * z + b * z * z + c * z**3
            return wave * math.sin(speed * z + phase) + cubic + 0.1 * z**4

        def slope(t: float, q=(length, wave, phase, speed, a, b, c)) -> float:
            length, wave, phase, speed, a, b, c = q
            z = t / length
            cubic = a + 2 * b * z + 3 * c * z * z
            return (wave * speed * math.cos(speed * z + phase) + cubic + 0.4 * z**3) / length

        if slope(0.0) < 0.0:
            found.append(Line(value, slope))
    return found


def searched(search: Search, line: Line) -> tuple[list[float], bool]:
    """The steps that a search asked for, and what it returned."""
    steps: list[float] = []
    asked = send(search, None)
    while not isinstance(asked, bool):
        steps.append(asked)
        asked = send(search, line.probe(asked))
    return steps, asked
