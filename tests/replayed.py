"""A closure that replays a captured graph, as far as anybody can see."""

from __future__ import annotations

import torch
from instance import Instance
from torch import Tensor


class Replayed:
    """A closure whose tensors are those of its capture; no autograd shows in its replays.

    Args:
        adds: the gradients are added to what is there, not overwritten.
        spent: the loss has the graph of its capture, which backward() has been through.
    """

    def __init__(self, instance: Instance, *, adds: bool = False, spent: bool = False) -> None:
        self.instance, self.adds, self.runs = instance, adds, 0
        loss = instance.loss(instance.params)
        loss.backward()
        self.loss = loss if spent else loss.detach()
        self.grads = [param.grad for param in instance.params]

    def __call__(self) -> Tensor:
        self.runs += 1
        leaves = [param.detach().requires_grad_() for param in self.instance.params]
        loss = self.instance.loss(leaves)
        for fixed, grad in zip(self.grads, torch.autograd.grad(loss, leaves), strict=True):
            assert fixed is not None
            # No version counter moves where a kernel writes.
            fixed.data.add_(grad) if self.adds else fixed.data.copy_(grad)
        self.loss.data.copy_(loss.detach())
        return self.loss

    def assert_in_place(self) -> None:
        for param, fixed in zip(self.instance.params, self.grads, strict=True):
            assert param.grad is fixed
