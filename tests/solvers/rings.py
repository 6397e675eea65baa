"""Rings of pairs, and what is done to each of them alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from emulated import testing
from runs import Array

from pytorch_minimize import _C
from pytorch_minimize.solvers.ring import Change, DeviceRing, as_tensors

DTYPES = (torch.float64, torch.float32)
M = 3


class Step(NamedTuple):
    """One iteration of a ring: sums over some rows, then a turn."""

    rows: int
    change: Change
    gradient: Array
    before: Array


def steps(n: int, count: int = 6) -> Iterator[Step]:
    """Until the ring has gone round; the last keeps no pair."""
    rng = np.random.default_rng(n)
    for i in range(count):
        used, keeps = min(i, M), i + 1 < count
        weights = rng.standard_normal(2 * (min(i + 1, M) if keeps else used))
        change = Change(0.3, weights, i % M if keeps else None, 0.7)
        yield Step(2 * used, change, *rng.standard_normal((2, n)))


def emulated_ring(n: int, dtype: torch.dtype = torch.float64) -> DeviceRing:
    """On the host by a device's kernels."""
    return DeviceRing(M, n, dtype, torch.device("cpu"), _C, testing().emulated_kernels)


def goes_round(ring: Any, n: int, *, tensors: bool, device: str = "cpu") -> list[Array]:
    """All sums, directions and slopes, and the rows at the end."""
    direction: Any = np.random.default_rng(0).standard_normal(n)
    found = []
    if tensors:
        direction = torch.from_numpy(direction).to(device)
    for step in steps(n):
        vectors: Any = step.gradient, step.before
        if tensors:
            vectors = [v.to(device) for v in as_tensors(*vectors)]
        found.append(ring.sums(step.rows, *vectors, direction))
        slope = ring.turn(step.change, *vectors, direction)
        found.append(direction.clone() if tensors else direction.copy())
        if slope is not None:
            assert np.isclose(slope, float(vectors[0] @ direction), rtol=1e-10, atol=1e-10 * n)
    found.append(ring.rows(2 * M))
    return [np.asarray(v.cpu() if isinstance(v, torch.Tensor) else v) for v in found]


def assert_same(found: list[Array], expected: list[Array]) -> None:
    for mine, its in zip(found, expected, strict=True):
        assert mine.shape == its.shape
        scale = max(1.0, float(abs(its).max(initial=0.0)))
        # A rounding to float32 may go either way.
        limit = 1e-6 if its.dtype == np.float32 else 1e-13
        assert float(abs(mine - its).max(initial=0.0)) <= limit * scale
