"""Gradients that a closure fills where they are, as the replay of a captured CUDA graph does."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..bridge.interface import Bridge

__all__ = ["FixedGradients"]


@dataclass(frozen=True)
class FixedGradients:
    """The tensors that a captured graph fills; None for a parameter that it fills none of.

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
    def of(cls, bridge: Bridge) -> FixedGradients:
        """Those that are in ``.grad`` now.

        Raises:
            RuntimeError: there are none, or one that no graph can have filled.
        """
        tensors = [param.grad for param in bridge.params]
        found = [grad for grad in tensors if grad is not None]
        if not found or any(g.layout != torch.strided or g.requires_grad for g in found):
            got = "none" if not found else "one that is sparse or requires grad"
            raise RuntimeError(
                f"captured_graph=True: expected the tensors that the graph fills in .grad when "
                f"step() begins, got {got}. They are there after the capture; zero_grad() takes "
                f"them away, zero_grad(set_to_none=False) does not."
            )
        return cls(bridge, tensors)

    def attach(self) -> None:
        """Make them ``.grad`` again, all zeros."""
        for param, grad in zip(self.bridge.params, self.tensors, strict=True):
            if param.grad is not grad:
                param.grad = grad
        found = [grad for grad in self.tensors if grad is not None]
        with torch.no_grad():
            torch._foreach_zero_(found)
