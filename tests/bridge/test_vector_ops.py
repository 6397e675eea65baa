"""What is measured of vectors, at lengths that the loops' steps and chunks do not divide."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pytorch_minimize import _C
from pytorch_minimize.bridge import vectors

LENGTHS = [0, 1, 3, 15, 16, 17, 33, (1 << 14) - 1, (1 << 14) + 5, 300_001]


@pytest.fixture(params=LENGTHS)
def pair(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.random.default_rng(0).standard_normal((2, request.param))
    return a, b


def test_distances_are_within_a_rounding(pair: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = pair
    exact = math.sqrt(math.fsum((a - b) ** 2))
    assert _C.distance(a, b) == pytest.approx(exact, rel=1e-14)
    assert vectors.python_distance(a, b) == pytest.approx(exact, rel=1e-14)


def test_one_pass_gives_what_two_do(pair: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = pair
    assert _C.compare_and_measure(a, a.copy(), b) == (True, _C.distance(a, b))
    for i in {0, a.size - 1} if a.size else ():
        other = a.copy()
        other[i] = np.nextafter(a[i], 9.0)
        assert _C.compare_and_measure(a, other, b) == (False, _C.distance(a, b))


def test_the_largest_is_found_wherever_it_is(pair: tuple[np.ndarray, np.ndarray]) -> None:
    v, _ = pair
    assert _C.largest(v) == vectors.python_largest(v)
    for i in {0, v.size // 2, v.size - 1} if v.size else ():
        for value in (9.0, -9.0, -np.inf):
            w = v.copy()
            w[i] = value
            assert _C.largest(w) == abs(value)
