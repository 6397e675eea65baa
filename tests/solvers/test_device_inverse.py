"""The inverse Hessian by a device's kernels, run on host memory, against the one in numpy."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import emulated
import numpy as np
import pytest
import torch
from inverses import (
    DEVICE_SIZES,
    EPSILON,
    HOST,
    assert_close,
    changes,
    emulated_inverse,
    symmetric,
    tensors,
)

from pytorch_minimize import _C
from pytorch_minimize.solvers import inverse
from pytorch_minimize.solvers.inverse import (
    ArrayInverse,
    DeviceInverse,
    TensorInverse,
    tensor_inverse,
)


@pytest.mark.parametrize("n", DEVICE_SIZES)
@pytest.mark.parametrize("trials", [0, 1, 2])
def test_products_and_updates(n: int, trials: int) -> None:
    start = symmetric(n)
    plain, device = ArrayInverse(n, start), emulated_inverse(n, start)
    for change, s, w, v in changes(n, 6):
        for k in range(trials):
            assert_close(device.product(torch.from_numpy(v + k)), plain.product(v + k))
        plain.update(change, s, w)
        device.update(change, *tensors(s, w))
    assert_close(device.dense(), plain.dense())
    assert torch.equal(device.dense(), device.dense().T)


def test_a_product_is_that_of_the_new_matrix() -> None:
    change, s, w, v = changes(33, 1)[0]
    device = emulated_inverse(33, symmetric(33))
    device.update(change, *tensors(s, w))
    found = device.product(torch.from_numpy(v))
    assert_close(found, device.dense().numpy() @ v)
    assert torch.equal(device.product(torch.from_numpy(v)), found), "the same sums in one order"


def test_nothing_beside_the_matrix_is_written() -> None:
    n, before = 33, 3
    memory = torch.full((before + n * n + 200,), torch.nan, dtype=torch.float64)
    h = memory[before : before + n * n].view(n, n)
    h.copy_(torch.from_numpy(symmetric(n)))
    change, s, w, v = changes(n, 1)[0]
    kernels = emulated.testing().emulated_kernels
    out = _C.device_rank_two_product(h, *change, *tensors(s, w, v), kernels)
    assert torch.isfinite(out).all()
    assert torch.isfinite(h).all()
    assert torch.isfinite(memory).sum() == n * n


def test_reset_forgets_everything() -> None:
    device, (change, s, w, v) = emulated_inverse(5), changes(5, 1)[0]
    device.update(change, *tensors(s, w))
    device.reset(3.0)
    assert torch.equal(device.product(torch.from_numpy(v)), 3.0 * torch.from_numpy(v))
    assert torch.equal(device.dense(), 3.0 * torch.eye(5, dtype=torch.float64))


def test_what_was_given_is_not_written_to() -> None:
    start, (change, s, w, v) = symmetric(5), changes(5, 1)[0]
    device, copy = emulated_inverse(5, start), start.copy()
    device.update(change, *tensors(s, w))
    device.product(torch.from_numpy(v))
    assert np.array_equal(start, copy)


def test_vectors_that_are_not_one_after_the_other() -> None:
    n, kernels = 9, emulated.testing().emulated_kernels
    change, *arrays = changes(n, 1)[0]
    wide = [torch.stack((x, x), 1)[:, 0] for x in tensors(*arrays)]
    one, two = tensors(symmetric(n), symmetric(n))
    found = _C.device_rank_two_product(one, *change, *wide, kernels)
    assert torch.equal(found, _C.device_rank_two_product(two, *change, *tensors(*arrays), kernels))
    assert torch.equal(one, two)


def test_no_variables() -> None:
    nothing = torch.empty(0, dtype=torch.float64)
    assert emulated_inverse(0).product(nothing).shape == (0,)


def test_the_kernels_are_used_where_there_are_some(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(tensor_inverse(3, HOST), TensorInverse)
    assert _C.has_kernels(torch.device("cuda")) is (_C.build_info()["cuda"] is not None)
    library = SimpleNamespace(
        has_kernels=lambda device: device == HOST,
        device_product=_C.device_product,
        device_rank_two_product=_C.device_rank_two_product,
    )
    monkeypatch.setattr(inverse, "native", library)
    assert isinstance(tensor_inverse(3, HOST), DeviceInverse)
    assert isinstance(tensor_inverse(3, torch.device("meta")), TensorInverse)
    monkeypatch.setattr(inverse, "native", None)
    assert isinstance(tensor_inverse(3, HOST), TensorInverse)


EYE = torch.eye(3, dtype=torch.float64)
ONES = torch.ones(3, dtype=torch.float64)


@pytest.mark.parametrize(
    ("h", "v", "error", "message"),
    [
        (EYE, ONES[:2], ValueError, "got one of shape"),
        (EYE[:, :2], ONES, ValueError, "shape .n, n., got .* of shape .3, 2."),
        (ONES, ONES, ValueError, "expected a contiguous float64 tensor"),
        (EYE.float(), ONES, ValueError, "got CPUFloatType"),
        (torch.ones(6, 6, dtype=torch.float64)[::2, ::2], ONES, ValueError, "a contiguous"),
        (EYE, ONES.float(), TypeError, "must be a float64 tensor|float32"),
        (EYE, np.ones(3), TypeError, "got ndarray"),
        (EYE, ONES.to("meta"), ValueError, "on meta"),
    ],
)
def test_other_tensors_are_refused(h: Any, v: Any, error: type[Exception], message: str) -> None:
    kernels = emulated.testing().emulated_kernels
    with pytest.raises(error, match=message):
        _C.device_product(h, v, kernels)
    with pytest.raises(error, match=message):
        _C.device_rank_two_product(h, 1.0, 0.0, 0.0, 0.0, v, v, v, kernels)


def test_a_device_without_kernels_is_refused() -> None:
    with pytest.raises(ValueError, match="no kernels for tensors on cpu"):
        _C.device_product(EYE, ONES)


def test_sums_of_one_sign_lose_no_more_than_a_tree_does() -> None:
    n = 600
    h, v = torch.full((n, n), 0.1, dtype=torch.float64), torch.ones(n, dtype=torch.float64)
    found = _C.device_product(h, v, emulated.testing().emulated_kernels)
    assert float(abs(found / (n * 0.1) - 1.0).max()) <= 8 * EPSILON
