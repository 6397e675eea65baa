"""What each block of threads is given, and where a tensor has its reals: the arithmetic alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from emulated import emulated

from pytorch_minimize.bridge.python import PythonBridge

_C_testing = pytest.importorskip("pytorch_minimize._C_testing", reason="built without it")
CHUNK = _C_testing.CHUNK_REALS


def test_chunks_cover_every_real_once() -> None:
    rng = np.random.default_rng(0)
    edges = [1, 2, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK]
    for _ in range(2000):
        count = rng.integers(1, 12)
        reals = [int(rng.choice([*edges, rng.integers(1, 5 * CHUNK)])) for _ in range(count)]
        rows = _C_testing.chunks(reals)
        assert rows[:, 2].min() >= 1
        assert rows[:, 2].max() <= CHUNK
        for piece, n in enumerate(reals):
            of_piece = rows[rows[:, 0] == piece]
            assert of_piece[0, 1] == 0
            assert np.array_equal(of_piece[1:, 1], of_piece[:-1, 1] + of_piece[:-1, 2])
            assert of_piece[-1, 1] + of_piece[-1, 2] == n
        # Equal shares, but for the last of each piece.
        assert len(rows) == sum(math.ceil(n / CHUNK) for n in reals)


@pytest.mark.parametrize("reals", [2**31 - 1, 2**31, 2**31 + 1, 2**32 + 5, 2**33 + CHUNK])
def test_chunks_of_more_than_two_to_the_31(reals: int) -> None:
    rows = _C_testing.chunks([3, reals, 7])
    middle = rows[1:-1]
    assert np.array_equal(middle[:, 1], np.arange(math.ceil(reals / CHUNK)) * CHUNK)
    assert middle[:, 2].sum() == reals
    assert (middle[:-1, 2] == CHUNK).all()
    assert rows[[0, -1]].tolist() == [[0, 0, 3], [2, 0, 7]]


def test_ten_thousand_small_tensors_are_as_many_blocks() -> None:
    rows = _C_testing.chunks([100] * 10_000)
    assert np.array_equal(rows[:, 0], np.arange(10_000))
    assert (rows[:, 2] == 100).all()


def exact_offset(dims: list[tuple[int, int]], k: int) -> int:
    """In Python's own integers."""
    offset = 0
    for size, stride in reversed(dims):
        k, index = divmod(k, size)
        offset += index * stride
    return offset


def test_offsets_of_random_layouts() -> None:
    rng = np.random.default_rng(1)
    for _ in range(3000):
        rank = int(rng.integers(1, 9))
        dims = [(int(rng.integers(1, 9)), int(rng.integers(-50, 5000))) for _ in range(rank)]
        reals = math.prod(size for size, _ in dims)
        indices = sorted({0, reals - 1, *map(int, rng.integers(0, reals, 20))})
        assert _C_testing.offsets(dims, indices) == [exact_offset(dims, k) for k in indices]


def test_offsets_of_more_than_two_to_the_31() -> None:
    rng = np.random.default_rng(2)
    for _ in range(3000):
        rank = int(rng.integers(1, 5))
        # On both sides of 2^32, where the width of the division changes.
        bits = rng.dirichlet(np.ones(rank)) * rng.choice([31.0, 31.99, 32.0, 32.01, 40.0])
        dims = [(max(1, round(2**b)), int(rng.integers(0, 2 ** rng.integers(1, 20)))) for b in bits]
        reals = math.prod(size for size, _ in dims)
        indices = [k for k in (0, 2**31 - 1, 2**31, 2**32 - 1, 2**32, reals - 1) if 0 <= k < reals]
        indices += map(int, rng.integers(0, reals, 10))
        assert _C_testing.offsets(dims, indices) == [exact_offset(dims, k) for k in indices]


@pytest.mark.parametrize("reals", [2**32 - 1, 2**32, 2**32 + 1])
def test_offsets_where_the_division_widens(reals: int) -> None:
    dims = [(reals, 3)]
    indices = [0, 1, reals - 2, reals - 1]
    assert _C_testing.offsets(dims, indices) == [3 * k for k in indices]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_runs_of_every_alignment(dtype: torch.dtype) -> None:
    """16 bytes by one access where tensor and flat vector allow it, and every real once."""
    torch.manual_seed(3)
    for before in range(3):  # the flat vector's alignment
        for offset in range(9):  # the tensor's
            for n in (1, 2, 7, 8, 9, 31, CHUNK - 1, CHUNK + 9):
                memory = torch.randn(offset + n + 9, dtype=torch.float64).to(dtype)
                kept = memory.clone()
                param = memory[offset : offset + n].requires_grad_()
                first = torch.randn(before, dtype=torch.float64, requires_grad=True)
                bridge, oracle = emulated(0)([first, param]), PythonBridge([first, param])
                x = oracle.flatten_params()
                assert np.array_equal(bridge.flatten_params(), x)
                bridge.load_params(1.5 * x)
                kept[offset : offset + n] = torch.from_numpy(1.5 * x[before:]).to(dtype)
                assert torch.equal(memory, kept)  # and nothing on either side
