"""Gradients that a closure fills where they are, as the replay of a captured CUDA graph does."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..bridge.interface import Bridge

__all__ = ["FixedGradients"]

# What the gradients are set to before a run that is to show whether it writes into them. A run
# that adds to them is right only for the first; one that gives zeros shows only by the second.
MARKS = (0.0, 1.0)


@dataclass(frozen=True)
class FixedGradients:
    """The tensors that were in ``.grad`` at one time; None where a parameter had none.

    Example:
        >>> from pytorch_minimize.bridge.make import make_bridge
        >>> x = torch.ones(2, requires_grad=True)
        >>> x.grad = torch.ones(2)
        >>> fixed = FixedGradients.of(make_bridge([x]))
        >>> x.grad = None
        >>> fixed.attach()
        >>> x.grad
        tensor([0., 0.])
    """

    bridge: Bridge
    tensors: list[Tensor | None]

    @classmethod
    def of(cls, bridge: Bridge) -> FixedGradients | None:
        """Those of now; None if there are none, or one that has no memory of its own."""
        tensors = [param.grad for param in bridge.params]
        found = [grad for grad in tensors if grad is not None]
        plain = all(g.layout == torch.strided and not g.requires_grad for g in found)
        return cls(bridge, tensors) if found and plain else None

    def attach(self, mark: float = 0.0) -> None:
        """Make them ``.grad`` again, each of their elements ``mark``."""
        for param, grad in zip(self.bridge.params, self.tensors, strict=True):
            if param.grad is not grad:
                param.grad = grad
        found = [grad for grad in self.tensors if grad is not None]
        with torch.no_grad():
            torch._foreach_zero_(found)
            if mark:
                torch._foreach_add_(found, mark)
