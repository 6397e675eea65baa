"""The inverse Hessian on a card: the bits of its kernels on the host, in one launch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from inverses import DEVICE_SIZES, changes, emulated_inverse, symmetric, tensors
from profiled import profiler

from pytorch_minimize import _C, extension
from pytorch_minimize.optim import MinimizeWrapper
from pytorch_minimize.solvers.inverse import DeviceInverse, TensorInverse, tensor_inverse

pytestmark = pytest.mark.gpu

CARD = torch.device("cuda")


def card_inverse(n: int, device: torch.device = CARD) -> DeviceInverse:
    return DeviceInverse(n, device, torch.from_numpy(symmetric(n)), _C)


def test_a_run_on_the_card_uses_the_kernels() -> None:
    chosen = TensorInverse if extension.native is None else DeviceInverse
    assert isinstance(tensor_inverse(3, CARD), chosen)


@pytest.mark.parametrize("n", [*DEVICE_SIZES, 2000])
def test_the_same_bits_as_on_the_host(n: int) -> None:
    """Each fma is written out, and each sum has one order: nothing is left to a compiler."""
    host, card = emulated_inverse(n, symmetric(n)), card_inverse(n)
    for change, *arrays in changes(n, 3):
        s, w, v = tensors(*arrays)
        assert torch.equal(card.product(v.to(CARD)).cpu(), host.product(v))
        host.update(change, s, w)
        card.update(change, s.to(CARD), w.to(CARD))
        assert torch.equal(card.product(v.to(CARD)).cpu(), host.product(v))
    assert torch.equal(card.dense().cpu(), host.dense())
    assert torch.equal(card.dense(), card.dense().T)


def test_one_launch() -> None:
    card, (change, *arrays) = card_inverse(257), changes(257, 1)[0]
    s, w, v = (x.to(CARD) for x in tensors(*arrays))
    card.product(v)
    torch.cuda.synchronize()
    with profiler([torch.profiler.ProfilerActivity.CUDA]) as profile:
        card.update(change, s, w)
        card.product(v)
        torch.cuda.synchronize()
    ran = [event.name for event in profile.events() if event.device_type.name == "CUDA"]
    assert len(ran) == 1
    assert "rank_two_kernel" in ran[0]


def test_the_current_stream_is_used() -> None:
    n = 1000
    card, (change, *arrays) = card_inverse(n), changes(n, 1)[0]
    expected = TensorInverse(n, CARD, torch.from_numpy(symmetric(n)))
    s, w, v = (x.to(CARD) for x in tensors(*arrays))
    expected.update(change, s, w)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        late = torch.zeros_like(v)
        torch.cuda._sleep(50_000_000)
        late.copy_(v)
        card.update(change, s, w)
        found = card.product(late)
        late.zero_()
    stream.synchronize()
    torch.testing.assert_close(found, expected.product(v), rtol=1e-12, atol=1e-10)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one CUDA card or none")
def test_a_card_that_is_not_the_current_one() -> None:
    other = torch.device("cuda", 1)
    one, two = card_inverse(65), card_inverse(65, other)
    change, *arrays = changes(65, 1)[0]
    for inverse, device in ((one, CARD), (two, other)):
        s, w, _ = (x.to(device) for x in tensors(*arrays))
        inverse.update(change, s, w)
    assert torch.equal(one.dense().cpu(), two.dense().cpu())


@pytest.mark.parametrize("method", ["torch-BFGS", "SSBFGS", "SSBroyden"])
def test_a_run(method: str) -> None:
    found = []
    for device in ("cpu", "cuda"):
        x = torch.linspace(-1.0, 1.0, 40, dtype=torch.float64, device=device, requires_grad=True)
        weights = torch.linspace(1.0, 30.0, 40, dtype=torch.float64, device=device)
        optimizer = MinimizeWrapper([x], {"method": method})
        optimizer.step(lambda x=x, weights=weights: (weights * (x.cosh() - 0.1 * x)).sum())
        assert optimizer.res.success
        found.append(optimizer.res.x)
    np.testing.assert_allclose(found[0], found[1], rtol=0, atol=1e-6)
