"""The pairs in C++ and by kernels on the host, against those in torch."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import emulated
import numpy as np
import pytest
import torch
from rings import DTYPES, M, assert_same, emulated_ring, goes_round

from pytorch_minimize import _C, extension
from pytorch_minimize.solvers import ring
from pytorch_minimize.solvers.ring import (
    DeviceRing,
    NativeRing,
    TorchRing,
    array_ring,
    tensor_ring,
)

HOST = torch.device("cpu")
# Below and above the lanes, blocks, chunks and threads that passes are cut into.
SIZES = (1, 3, 4, 7, 8, 9, 127, 129, 1023, 1025, 4095, 4097, 8191, 8193, 20000)

each = pytest.mark.parametrize("dtype", DTYPES)


@each
@pytest.mark.parametrize("n", SIZES)
def test_sums_and_directions(n: int, dtype: torch.dtype) -> None:
    expected = goes_round(TorchRing(M, n, dtype), n, tensors=False)
    assert_same(goes_round(NativeRing(M, n, dtype, _C), n, tensors=False), expected)
    assert_same(goes_round(TorchRing(M, n, dtype, HOST), n, tensors=True), expected)
    assert_same(goes_round(emulated_ring(n, dtype), n, tensors=True), expected)


@each
def test_what_they_are(dtype: torch.dtype) -> None:
    """By plain formulas, of the pairs as they are kept."""
    n, rng = 50, np.random.default_rng(0)
    found = NativeRing(M, n, dtype, _C)
    g, before, d = rng.standard_normal((3, n))
    last = d.copy()
    slope = found.turn(ring.Change(0.5, np.array([2.0, -1.0]), 0, 0.25), g, before, d)
    w = found.rows(2).double().numpy()
    np.testing.assert_allclose(w, [0.25 * last, g - before], rtol=1e-6)
    np.testing.assert_allclose(d, -(0.5 * g + 2.0 * w[0] - w[1]), rtol=1e-13)
    assert slope == pytest.approx(g @ d)
    after = rng.standard_normal(n)
    y = after - g
    scalars = [after @ d, after @ after, y @ y, y @ after, abs(after).max()]
    expected = np.concatenate([w @ after, w @ y, scalars])
    np.testing.assert_allclose(found.sums(2, after, g, d), expected, rtol=1e-12)


@each
def test_the_same_bits_whatever_the_number_of_threads(dtype: torch.dtype) -> None:
    n, found = 100_000, []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)  # set back by conftest.py
        found.append(goes_round(NativeRing(M, n, dtype, _C), n, tensors=False))
    for other in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("make", [NativeRing, None])
def test_only_one_pair_and_the_direction_are_written(make: Any) -> None:
    n = 33
    found = make(M, n, torch.float64, _C) if make else emulated_ring(n)
    vectors: list[Any] = list(np.random.default_rng(0).standard_normal((3, n)))
    if make is None:
        vectors = [torch.from_numpy(v) for v in vectors]
    g, before, d = vectors
    kept = [np.asarray(g).copy(), np.asarray(before).copy()]
    rows = found.rows(2 * M)
    rows.fill_(torch.nan)
    rows[:4] = 0.0
    found.turn(ring.Change(1.0, np.zeros(4), 1, 1.0), g, before, d)
    assert torch.isfinite(rows[:4]).all()
    assert torch.isnan(rows[4:]).all()
    assert rows[2:4].any()
    assert not rows[:2].any()
    assert all(np.array_equal(a, b) for a, b in zip(kept, (g, before), strict=True))


def test_python_is_chosen_as_for_the_bridge(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = TorchRing if extension.native is None else NativeRing
    assert isinstance(array_ring(M, 5, torch.float64), chosen)
    monkeypatch.setattr(ring, "native", None)
    assert isinstance(array_ring(M, 5, torch.float64), TorchRing)


def test_the_kernels_are_used_where_there_are_some(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(tensor_ring(M, 5, torch.float64, HOST), TorchRing)
    library = SimpleNamespace(
        has_kernels=lambda device: device == HOST,
        device_pair_sums=_C.device_pair_sums,
        device_pair_turn=_C.device_pair_turn,
    )
    monkeypatch.setattr(ring, "native", library)
    assert isinstance(tensor_ring(M, 5, torch.float64, HOST), DeviceRing)
    assert isinstance(tensor_ring(M, 5, torch.float64, torch.device("meta")), TorchRing)


W, V = np.zeros((4, 5)), np.ones(5)


@pytest.mark.parametrize(
    ("w", "rows", "v", "error", "said"),
    [
        (W, 5, V, ValueError, "at least 5 rows"),
        (W[:, :3], 2, V[:3], ValueError, "a contiguous array"),
        (W.astype(int), 2, V, TypeError, "float64 or float32, got .* dtype int64"),
        (W, 2, V[:4], ValueError, r"shape \(5,\)"),
        (W, 2, V.astype(np.float32), TypeError, "float64 array"),
        (W[0], 2, V, ValueError, "at least 2 rows"),
    ],
)
def test_other_arrays_are_refused(
    w: Any, rows: int, v: Any, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        _C.pair_sums(w, rows, v, v, v)
    with pytest.raises(error):
        _C.pair_turn(w, 1.0, np.zeros(rows + rows % 2), 0, 1.0, v, v, v.copy())


def test_what_is_not_to_be_written_is_refused() -> None:
    locked = W.copy()
    locked.flags.writeable = False
    with pytest.raises(ValueError, match="not writeable"):
        _C.pair_turn(locked, 1.0, np.zeros(2), 0, 1.0, V, V, V.copy())
    with pytest.raises(ValueError, match="a slot below 1, got 1"):
        _C.pair_turn(W.copy(), 1.0, np.zeros(2), 1, 1.0, V, V, V.copy())
    with pytest.raises(ValueError, match="a contiguous direction"):
        _C.pair_turn(W.copy(), 1.0, np.zeros(2), 0, 1.0, V, V, np.ones(10)[::2])


@pytest.mark.parametrize(
    ("w", "rows", "v", "error"),
    [
        (torch.zeros(4, 5), 6, torch.ones(5, dtype=torch.float64), ValueError),
        (torch.zeros(4, 5, dtype=torch.int32), 2, torch.ones(5, dtype=torch.float64), ValueError),
        (torch.zeros(5, 4).T, 2, torch.ones(5, dtype=torch.float64), ValueError),
        (torch.zeros(4, 5), 2, torch.ones(5), (TypeError, ValueError)),
        (torch.zeros(4, 5), 2, V, TypeError),
    ],
)
def test_other_tensors_are_refused(w: Any, rows: int, v: Any, error: Any) -> None:
    kernels = emulated.testing().emulated_kernels
    with pytest.raises(error):
        _C.device_pair_sums(w, rows, v, v, v, kernels)
    weights = torch.zeros(rows, dtype=torch.float64)
    with pytest.raises(error):
        _C.device_pair_turn(w, 1.0, weights, 0, 1.0, v, v, v, kernels)


def test_a_device_without_kernels_is_refused() -> None:
    v = torch.ones(5, dtype=torch.float64)
    with pytest.raises(ValueError, match="no kernels for tensors on cpu"):
        _C.device_pair_sums(torch.zeros(4, 5), 2, v, v, v)
