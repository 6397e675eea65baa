"""Replayed Hessians of closures that differentiate block by block, whatever memory allows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pytorch_minimize.optim import MinimizeWrapper


@pytest.mark.parametrize("kind", ["graph", "replay"])
@pytest.mark.parametrize("block_bytes", [1, 1000, 8000, 20_000, 1 << 26])
def test_calls_for_some_parameters_each(kind: str, block_bytes: int) -> None:
    """Their graphs differ in size, so that one takes rows where another takes products."""
    torch.manual_seed(0)
    b, a = (nn.Parameter(torch.randn(3, dtype=torch.float64)) for _ in range(2))
    data = torch.randn(400, 3, dtype=torch.float64)

    def loss_of(b: Tensor, a: Tensor) -> Tensor:
        return (data @ a).tanh().square().sum() * 0.01 + (a * b).sum() ** 2 + b.pow(4).sum()

    def closure() -> Tensor:
        loss = loss_of(b, a)
        loss.backward(inputs=[b], retain_graph=True)
        loss.backward(inputs=[a])
        return loss

    optimizer = MinimizeWrapper(
        [b, a], {"method": "trust-exact"}, curvature=kind, hessian_block_bytes=block_bytes
    )
    x = torch.cat([b, a]).detach()
    exact = torch.autograd.functional.hessian(lambda x: loss_of(x[:3], x[3:]), x)
    found = optimizer.hessian(closure) @ np.eye(6)
    np.testing.assert_allclose(found, exact.numpy(), rtol=0, atol=1e-10)
