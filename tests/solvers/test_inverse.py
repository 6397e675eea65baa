"""The inverse Hessian in C++ and in torch against the one in numpy, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from inverses import assert_close, changes, symmetric
from runs import run, tanh_fit

from pytorch_minimize import _C, extension
from pytorch_minimize.solvers import inverse, quasi_newton
from pytorch_minimize.solvers.inverse import (
    ArrayInverse,
    NativeInverse,
    TensorInverse,
    array_inverse,
)

# Below and above the blocks, the lanes and the parts that the passes are cut into.
SIZES = (1, 2, 3, 4, 5, 7, 8, 31, 63, 64, 65, 128, 257, 600)


class Both:
    """The same done to the one in numpy and to another."""

    def __init__(self, n: int) -> None:
        start = symmetric(n)
        self.plain = ArrayInverse(n, start)
        self.native = NativeInverse(n, start, _C)
        self.tensor = TensorInverse(n, torch.device("cpu"), torch.from_numpy(start))


@pytest.mark.parametrize("n", SIZES)
def test_products_and_updates(n: int) -> None:
    both = Both(n)
    for change, s, w, v in changes(n, 6):
        expected = both.plain.product(v)
        assert_close(both.native.product(v), expected)
        assert_close(both.tensor.product(torch.from_numpy(v)), expected)
        both.plain.update(change, s, w)
        both.native.update(change, s, w)
        both.tensor.update(change, torch.from_numpy(s), torch.from_numpy(w))
    assert_close(both.native.dense(), both.plain.dense())
    assert_close(both.tensor.dense(), both.plain.dense())
    assert np.array_equal(both.native.dense(), both.native.dense().T)


def test_updates_in_a_row_without_a_product() -> None:
    both = Both(65)
    for change, s, w, _ in changes(65, 3):
        both.plain.update(change, s, w)
        both.native.update(change, s, w)
    assert_close(both.native.dense(), both.plain.dense())


@pytest.mark.parametrize("n", [65, 600])
def test_the_same_bits_whatever_the_number_of_threads(n: int) -> None:
    (change, s, w, v), start = changes(n, 1)[0], symmetric(n)
    found = []
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)  # set back by conftest.py
        h = start.copy()
        found.append((_C.rank_two_product(h, *change, s, w, v), h, _C.symmetric_product(start, v)))
    for other in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_what_is_above_the_diagonal_does_not_matter() -> None:
    n = 65
    change, s, w, v = changes(n, 1)[0]
    clean, dirty = symmetric(n), symmetric(n)
    dirty[np.triu_indices(n, 1)] = np.nan
    assert np.array_equal(_C.symmetric_product(clean, v), _C.symmetric_product(dirty, v))
    expected = _C.rank_two_product(clean, *change, s, w, v)
    assert np.array_equal(_C.rank_two_product(dirty, *change, s, w, v), expected)
    assert np.isnan(dirty[np.triu_indices(n, 1)]).all()
    assert np.array_equal(np.tril(clean), np.tril(np.nan_to_num(dirty)))


@pytest.mark.parametrize("make", [ArrayInverse, lambda n: NativeInverse(n, None, _C)])
def test_reset_forgets_everything(make: Callable[[int], Any]) -> None:
    made = make(5)
    change, s, w, v = changes(5, 1)[0]
    made.update(change, s, w)
    made.reset(3.0)
    assert np.array_equal(made.product(v), 3.0 * v)
    assert np.array_equal(made.dense(), 3.0 * np.eye(5))


def test_python_is_chosen_as_for_the_bridge(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = ArrayInverse if extension.native is None else NativeInverse
    assert isinstance(array_inverse(3), chosen)
    monkeypatch.setattr(inverse, "native", None)
    assert isinstance(array_inverse(3), ArrayInverse)


def test_runs_agree_while_rounding_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    rules = quasi_newton.Rules(update="SSBroyden-2", maxiter=25)
    one, _ = run(tanh_fit(8), rules)
    monkeypatch.setattr(inverse, "native", None)
    two, _ = run(tanh_fit(8), rules)
    np.testing.assert_allclose(one.x, two.x, rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    ("h", "v", "error"),
    [
        (np.eye(3), np.ones(2), ValueError),
        (np.ones((3, 2)), np.ones(3), ValueError),
        (np.ones(3), np.ones(3), ValueError),
        (np.eye(3, dtype=np.float32), np.ones(3), TypeError),
        (np.asfortranarray(np.arange(9.0).reshape(3, 3)), np.ones(3), TypeError),
        (np.eye(3), np.ones(3, dtype=np.float32), TypeError),
        (np.eye(3), [1.0, 1.0, 1.0], TypeError),
    ],
)
def test_other_arrays_are_refused(h: Any, v: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        _C.symmetric_product(h, v)
    with pytest.raises(error):
        _C.rank_two_product(h, 1.0, 0.0, 0.0, 0.0, v, v, v)


def test_a_matrix_that_is_locked_is_refused() -> None:
    h = np.eye(3)
    h.flags.writeable = False
    with pytest.raises(ValueError, match="not writeable"):
        _C.rank_two_product(h, 1.0, 0.0, 0.0, 0.0, *np.ones((3, 3)))


def test_infinite_matrices_are_not_usable() -> None:
    assert inverse.usable(np.diag([np.inf, 1.0])) is None
    assert inverse.usable(np.array([[1.0, np.nan], [np.nan, 1.0]])) is None
