"""The global optimisers find the lowest minimum of each landscape, in both precisions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from landscapes import LANDSCAPES, Landscape
from searches import MAKE, SEARCHES, Search

# How far a float32 loss is from the true one, relative to the largest of its terms.
_FLOAT32 = 1e-6


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("search", SEARCHES, ids=str)
def test_the_lowest_minimum_is_found(search: Search, dtype: torch.dtype) -> None:
    landscape, n = search.landscape, search.n
    instance, optimizer = search.run(dtype)
    scale = max(20.0, abs(landscape.minimum(n)))
    accuracy = search.accuracy + (_FLOAT32 * scale if dtype == torch.float32 else 0.0)
    # direct goes on until its evaluations are spent, which is status 1.
    assert optimizer.res.success or (search.algorithm, optimizer.res.status) == ("direct", 1)
    assert optimizer.res.fun == pytest.approx(landscape.minimum(n), rel=0.0, abs=accuracy)
    # A landscape rises by about its curvature times the distance squared over two.
    lowest = np.resize(landscape.lowest, n)
    far = 2.0 if search.accuracy > 1e-3 else 0.05
    np.testing.assert_allclose(instance.x, lowest, rtol=0.0, atol=far)
    rounded = torch.from_numpy(optimizer.res.x).to(dtype).double().numpy()
    assert np.array_equal(instance.x, rounded)


@pytest.mark.parametrize("landscape", LANDSCAPES, ids=str)
def test_each_algorithm_finds_it_in_two_dimensions(landscape: Landscape) -> None:
    in_2d = {s.algorithm for s in SEARCHES if s.landscape is landscape and s.n == 2}
    assert in_2d == set(MAKE)


@pytest.mark.parametrize("landscape", LANDSCAPES, ids=str)
def test_the_landscapes_are_what_their_twins_say(landscape: Landscape) -> None:
    rng = np.random.default_rng(0)
    for n in landscape.dimensions:
        points = rng.uniform(*landscape.box, size=(50, n))
        ours = landscape.surface(torch.from_numpy(points)).numpy()
        np.testing.assert_allclose(ours, [landscape.twin(x) for x in points], rtol=1e-10)
        lowest = np.resize(landscape.lowest, n)
        assert landscape.twin(lowest) == pytest.approx(landscape.minimum(n), abs=1e-6)
