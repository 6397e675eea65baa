"""The wrapper that one writes in an afternoon, as the baseline of bench/fit.py.

numpy.concatenate and torch.from_numpy for every tensor, `jac=True`, and one setting of
threads for every library in the process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.optimize
import torch
from torch import Tensor


def minimize(
    params: Sequence[Tensor], closure: Callable[[], Tensor], **minimizer_args: Any
) -> scipy.optimize.OptimizeResult:
    """Minimise `closure`, which must not call backward, over `params` by scipy."""

    def load(x: np.ndarray) -> None:
        offset = 0
        with torch.no_grad():
            for p in params:
                part = x[offset : offset + p.numel()].reshape(p.shape)
                p.copy_(torch.from_numpy(part))
                offset += p.numel()

    def value_and_grad(x: np.ndarray) -> tuple[float, np.ndarray]:
        load(x)
        for p in params:
            p.grad = None
        loss = closure()
        loss.backward()
        grads = [p.grad.numpy().reshape(-1) for p in params if p.grad is not None]
        return loss.item(), np.concatenate(grads).astype(np.float64)

    x0 = np.concatenate([p.detach().numpy().reshape(-1) for p in params]).astype(np.float64)
    result = scipy.optimize.minimize(value_and_grad, x0, jac=True, **minimizer_args)
    load(result.x)
    return result
