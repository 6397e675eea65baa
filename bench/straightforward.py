"""The wrapper that one writes in an afternoon: a baseline.

One conversion per tensor and a concatenation, `jac=True`, and the threads left as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.optimize
import torch
from torch import Tensor

__all__ = ["Array", "minimize"]

Array = npt.NDArray[np.float64]


def minimize(
    params: Iterable[Tensor], closure: Callable[[], Tensor], **minimizer_args: Any
) -> scipy.optimize.OptimizeResult:
    """Minimise by scipy the loss that ``closure`` returns; it calls backward itself."""
    params = list(params)

    def load(x: Array) -> None:
        offset = 0
        with torch.no_grad():
            for p in params:
                p.copy_(torch.from_numpy(x[offset : offset + p.numel()]).view_as(p))
                offset += p.numel()

    def value_and_grad(x: Array) -> tuple[float, Array]:
        load(x)
        loss = closure()
        return loss.item(), _flatten([p.grad for p in params if p.grad is not None])

    result = scipy.optimize.minimize(value_and_grad, _flatten(params), jac=True, **minimizer_args)
    load(result.x)
    return result


def _flatten(tensors: Iterable[Tensor]) -> Array:
    parts = [tensor.detach().numpy().reshape(-1) for tensor in tensors]
    return np.concatenate(parts).astype(np.float64)
