"""Many starts of a model on a card: each run is that alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from many import STARTS, rosenbrock
from torch import Tensor, nn

from pytorch_minimize.optim import MinimizeWrapper, MultiStartWrapper

pytestmark = pytest.mark.gpu

NATIVE = ("torch-BFGS", "SSBroyden", "torch-L-BFGS", "torch-CG")


def row_by_row(stacks: Sequence[Tensor]) -> Tensor:
    """Each row with the bits that it has alone."""
    return torch.stack([rosenbrock(row) for row in stacks[0]])


@pytest.mark.parametrize("method", NATIVE)
def test_a_run_is_that_of_minimize_wrapper(method: str) -> None:
    x = nn.Parameter(torch.zeros(4, dtype=torch.float64, device="cuda"))
    optimizer = MultiStartWrapper([x], {"method": method}, STARTS)
    optimizer.step(lambda: rosenbrock(x), vectorized=row_by_row)
    assert np.array_equal(x.detach().cpu().numpy(), optimizer.res.x)
    one = MinimizeWrapper([x], {"method": method})
    for res in optimizer.results:
        with torch.no_grad():
            x.copy_(torch.from_numpy(STARTS[res.run]))
        one.step(lambda: rosenbrock(x))
        assert (res.nit, res.nfev, res.status) == (one.res.nit, one.res.nfev, one.res.status)
        assert np.array_equal(res.x, one.res.x)
