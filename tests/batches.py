"""What runs out of something only where many gradients are taken at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def raising_in_a_batch(error: type[Exception]) -> Callable[[Tensor], None]:
    """A hook of a tensor: raises where its gradient is a batch, as under torch.func.vmap."""

    def hook(gradient: Tensor) -> None:
        if torch._C._functorch.is_batchedtensor(gradient):
            raise error("no more of it")

    return hook
