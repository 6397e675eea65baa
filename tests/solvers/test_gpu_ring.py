"""The pairs on a card: the bits of its kernels on the host, in three launches an iteration."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from profiled import profiler
from rings import DTYPES, M, emulated_ring, goes_round
from torch import nn

from pytorch_minimize import _C, extension
from pytorch_minimize.optim import MinimizeWrapper
from pytorch_minimize.solvers.ring import DeviceRing, TorchRing, tensor_ring

pytestmark = pytest.mark.gpu

CARD = torch.device("cuda")


def test_a_run_on_the_card_uses_the_kernels() -> None:
    chosen = TorchRing if extension.native is None else DeviceRing
    assert isinstance(tensor_ring(M, 5, torch.float64, CARD), chosen)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 127, 129, 4095, 4097, 100_000])
def test_the_same_bits_as_on_the_host(n: int, dtype: torch.dtype) -> None:
    card = goes_round(DeviceRing(M, n, dtype, CARD, _C), n, tensors=True, device="cuda")
    host = goes_round(emulated_ring(n, dtype), n, tensors=True)
    assert all(np.array_equal(a, b) for a, b in zip(card, host, strict=True))


def test_launches() -> None:
    n = 5000
    ring = DeviceRing(M, n, torch.float64, CARD, _C)
    goes_round(ring, n, tensors=True, device="cuda")
    g, before, d = torch.randn(3, n, dtype=torch.float64, device=CARD).unbind()
    torch.cuda.synchronize()
    with profiler([torch.profiler.ProfilerActivity.CUDA]) as profile:
        ring.sums(2 * M, g, before, d)
        torch.cuda.synchronize()
    ran = [event.name for event in profile.events() if event.device_type.name == "CUDA"]
    assert len(ran) == 2
    assert "parts_kernel" in ran[0]
    assert "sums_kernel" in ran[1]


@pytest.mark.parametrize("method", ["torch-L-BFGS", "SS-L-BFGS"])
@pytest.mark.parametrize("bounds", [None, (-0.5, 0.25)])
def test_a_fit_there_ends_as_on_the_host(method: str, bounds: tuple[float, float] | None) -> None:
    ends = []
    for device in ("cpu", "cuda"):
        x = nn.Parameter(torch.zeros(300, dtype=torch.float64, device=device))
        scale = torch.linspace(1.0, 30.0, 300, dtype=torch.float64, device=device)
        optimizer = MinimizeWrapper([{"params": [x], "bounds": bounds}], {"method": method})
        optimizer.step(lambda x=x, scale=scale: (scale * (x - scale / 40.0).square()).sum())
        assert optimizer.res.success
        ends.append(x.detach().cpu())
    assert torch.allclose(*ends, atol=1e-5)
