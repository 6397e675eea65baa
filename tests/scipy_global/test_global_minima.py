"""The global optimisers find the lowest minimum, in both precisions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from searches import QUICK, SEARCHES, Search

# How far a float32 loss is from the true one, relative to the largest of its terms.
_FLOAT32 = 1e-6


RUNS = [(s, torch.float64) for s in SEARCHES] + [(s, torch.float32) for s in QUICK.values()]


# The SLSQP of scipy 1.15 leaves the bounds by a rounding.
@pytest.mark.filterwarnings("ignore:Values in x were outside bounds:RuntimeWarning")
@pytest.mark.parametrize(("search", "dtype"), RUNS, ids=str)
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
