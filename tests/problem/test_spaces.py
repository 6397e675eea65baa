"""The core over flat vectors of both kinds: arrays, and tensors on the parameters' device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from descent import Descent
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import OptimizeResult
from torch import Tensor, nn

from pytorch_minimize.bridge.space import ARRAYS, TensorSpace
from pytorch_minimize.bridge.vectors import python_combined, python_curvature
from pytorch_minimize.extension import native

TENSORS = TensorSpace()
KINDS = ("arrays", "tensors")
BOTH = pytest.mark.parametrize("kind", KINDS)
NUMBERS = st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=8)


def made(kind: str, dtype: torch.dtype = torch.float64, **more: Any) -> tuple[Descent, Any]:
    x = nn.Parameter(torch.tensor([1.5, -0.5], dtype=dtype))
    y = nn.Parameter(torch.tensor(0.25, dtype=torch.float64))

    def closure() -> Tensor:
        return (x.double() ** 2).sum() + (x[0].double() - y) ** 4 - torch.log(1.0 - y)

    return Descent([x, y], kind, **more), closure


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_run_is_the_same_over_both(dtype: torch.dtype) -> None:
    results = []
    for kind in KINDS:
        optimizer, closure = made(kind, dtype)
        loss = optimizer.step(closure)
        res, history = optimizer.res, optimizer.history
        assert isinstance(res.x, np.ndarray)
        assert isinstance(res.jac, np.ndarray)
        assert loss == res.fun == closure()
        rounded = optimizer.np_unravel_unpack(res.x)
        assert all(map(torch.equal, optimizer._optimised(), rounded))
        results.append(
            (res.x, res.jac, res.fun, res.nit, res.nfev, history.loss, history.grad_norm)
        )
    for arrays, tensors in zip(*results, strict=True):
        assert np.array_equal(arrays, tensors)
    assert results[0][3] == 40


@BOTH
def test_the_callback_is_told_the_iterate_and_ends_the_run_there(kind: str) -> None:
    told: list[np.ndarray] = []

    def callback(intermediate_result: OptimizeResult) -> None:
        held = torch.cat([p.detach().reshape(-1) for p in optimizer._optimised()])
        assert np.array_equal(held.numpy(), intermediate_result.x)
        intermediate_result.x += 1.0  # the user's own copy
        told.append(intermediate_result.x - 1.0)
        if len(told) == 3:
            raise StopIteration

    optimizer, closure = made(kind, callback=callback)
    optimizer.step(closure)
    assert (optimizer.res.status, len(told)) == (99, 3)
    assert np.allclose(optimizer.res.x, told[-1], rtol=1e-15)


@BOTH
def test_nan_is_counted_and_never_the_end(kind: str) -> None:
    optimizer, closure = made(kind)
    optimizer.rate = 0.4
    with torch.no_grad():
        optimizer._optimised()[1].fill_(0.999)
    with pytest.warns(RuntimeWarning, match="the closure gave"):
        optimizer.step(lambda: closure() + torch.log(1.9 - optimizer._optimised()[1].abs()))
    assert optimizer.res.nonfinite > 0
    assert np.isfinite(optimizer.res.fun)


@BOTH
def test_limits_and_checkpoints(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "run.pt"
    optimizer, closure = made(kind, max_evaluations=7, checkpoint=(path, 0.0))
    optimizer.step(closure)
    assert (optimizer.res.status, optimizer.res.nfev) == (102, 7)
    other, _ = made(kind)
    other.load_state_dict(torch.load(path, weights_only=True))
    other.load_best()
    for mine, its in zip(optimizer._optimised(), other._optimised(), strict=True):
        assert torch.equal(mine, its)


@BOTH
def test_an_error_of_the_closure_leaves_the_best_point(kind: str) -> None:
    optimizer, closure = made(kind)
    seen: list[float] = []

    def failing() -> Tensor:
        if len(seen) == 5:
            raise ZeroDivisionError
        loss = closure()
        seen.append(loss.item())
        return loss

    with pytest.raises(ZeroDivisionError):
        optimizer.step(failing)
    assert closure().item() == min(seen)
    assert sum(optimizer.profile.clock.seconds.values()) == optimizer.profile.total


@given(NUMBERS, NUMBERS)
def test_both_say_the_same_of_vectors(first: list[float], second: list[float]) -> None:
    a, b = np.array(first), np.resize(np.array(second), len(first))
    s, t = torch.tensor(a), torch.tensor(b)
    assert ARRAYS.same(a, b) == TENSORS.same(s, t)
    assert TENSORS.same(s, s.clone())
    assert ARRAYS.has_nan(a) == TENSORS.has_nan(s)
    assert np.array_equal(TENSORS.to_host(s), a, equal_nan=True)
    assert np.array_equal(ARRAYS.copy(a), TENSORS.copy(s), equal_nan=True)
    if np.isfinite(a).all():
        assert ARRAYS.largest(a) == TENSORS.largest(s)
    if np.abs(a).max(initial=0) < 1e100 and np.abs(b).max(initial=0) < 1e100:
        assert ARRAYS.distance(a, b) == pytest.approx(TENSORS.distance(s, t), rel=1e-14)


def test_zeros_of_two_signs_are_two_points() -> None:
    a, b = np.array([0.0]), np.array([-0.0])
    assert not ARRAYS.same(a, b)
    assert not TENSORS.same(torch.tensor(a), torch.tensor(b))


@pytest.mark.parametrize("n", [1, 7, 100_003])
def test_a_sum_of_vectors_has_the_bits_of_numpys(n: int) -> None:
    rng = np.random.default_rng(n)
    for count in (1, 2, 3):
        c, v = rng.standard_normal(count).tolist(), list(rng.standard_normal((count, n)))
        held = [vector.copy() for vector in v]
        assert np.array_equal(ARRAYS.combined(c, v), python_combined(c, v))
        assert all(map(np.array_equal, v, held))
    apart = rng.standard_normal(2 * n)[::2]
    assert np.array_equal(ARRAYS.combined([2.0], [apart]), 2.0 * apart)


@pytest.mark.parametrize("n", [1, 7, 1000])
def test_curvature_is_the_same_in_numpy_and_torch(n: int) -> None:
    given = list(np.random.default_rng(n).standard_normal((4, n)))
    w, *sums = ARRAYS.curvature(*given)
    product, p, g, before = given
    assert np.array_equal(w, product + p)
    y = g - before
    rounding = 1e-15 * n * float(np.abs(np.array(given)).max() ** 2 + 1.0) * 8.0
    for others in (python_curvature(*given), TENSORS.curvature(*map(torch.from_numpy, given))):
        assert np.array_equal(others[0], w)
        assert np.allclose([float(each) for each in others[1:]], sums, rtol=0, atol=rounding)
    assert np.allclose([p @ y, y @ w, y @ y, g @ w], sums, rtol=0, atol=rounding)


@pytest.mark.skipif(native is None, reason="the Python bridge is chosen")
def test_the_passes_in_cpp_refuse_other_vectors() -> None:
    x = np.ones(3)
    with pytest.raises(ValueError, match="a coefficient for each"):
        native.combined([1.0], [x, x])
    with pytest.raises(ValueError, match="a coefficient for each"):
        native.combined([], [])
    for other in (np.ones(2), np.ones(3, np.float32)):
        with pytest.raises((TypeError, ValueError), match="float64 array of shape"):
            native.combined([1.0, 1.0], [x, other])
        with pytest.raises((TypeError, ValueError), match="float64 array of shape"):
            native.curvature(x, other, x, x)


def test_a_sum_of_vectors_that_nobody_else_holds() -> None:
    rows = np.arange(6.0).reshape(3, 2)
    assert np.array_equal(ARRAYS.combined([1.0, 1.0, 1.0], rows), rows.sum(0))
