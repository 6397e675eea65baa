"""A minimisation problem with two faces: tensors for the optimizer, functions of x for scipy.

Both faces run the same operators on the same numbers, so that in float64 an optimizer on
`Instance.params` and scipy on `Instance.fun`, `Instance.jac` walk one path, bit by bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from converted import Array, Converted, flat_copy
from torch import Tensor, nn

__all__ = ["Array", "Closure", "Instance", "Loss", "flat_copy", "join"]

Loss = Callable[[Sequence[Tensor]], Tensor]
Closure = Callable[[], Tensor]


class Model(nn.Module):
    """Parameters, and a loss that depends on nothing else."""

    def __init__(self, tensors: Sequence[Tensor], loss: Loss) -> None:
        super().__init__()
        self.weights = nn.ParameterList(tensors)
        self.loss = loss

    def forward(self) -> Tensor:
        return self.loss(list(self.weights))


class ModelClosure:
    """A closure of form 3: besides `__call__` it has a model, and the loss of a model."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def loss(self, model: Model) -> Tensor:
        return cast(Tensor, model())

    def __call__(self) -> Tensor:
        self.model.zero_grad()
        loss = self.loss(self.model)
        loss.backward()
        return loss


class Instance:
    """One problem in one dtype, with parameters of its own.

    Args:
        tensors: the start, one tensor per parameter.
        loss: the loss of tensors shaped like these.
        minimum: the least loss, where it is known.

    Attributes:
        converted: the loss as scipy alone takes it, with parameters of its own.
    """

    def __init__(self, tensors: Sequence[Tensor], loss: Loss, minimum: float | None = None) -> None:
        self.model = Model(tensors, loss)
        self.params: list[nn.Parameter] = list(self.model.parameters())
        self.loss = loss
        self.minimum = minimum
        self.x0 = self.x
        leaves = [p.detach().clone().requires_grad_() for p in self.params]
        self.converted = Converted(leaves, lambda: loss(leaves))

    @property
    def x(self) -> Array:
        """The parameters as they are now: flat, float64, a complex element is two."""
        return flat_copy(self.params)

    @property
    def grad(self) -> Array:
        """The parameters' `.grad`, laid out as `x`."""
        return flat_copy([cast(Tensor, p.grad) for p in self.params])

    def closure(self, form: int) -> Closure:
        """A closure of form 1 (it runs backward), 2 (it does not) or 3 (it has a model)."""

        def forward() -> Tensor:
            return cast(Tensor, self.model())

        with_model = ModelClosure(self.model)

        def forward_and_backward() -> Tensor:
            return with_model()

        forms: dict[int, Closure] = {1: forward_and_backward, 2: forward, 3: with_model}
        return forms[form]

    def flat(self, x: Tensor) -> Tensor:
        """The loss as a function of one flat vector, differentiable as often as one likes."""
        tensors, offset = [], 0
        for p in self.params:
            size = p.numel() * (2 if p.is_complex() else 1)
            # A clone is aligned as a parameter is, so that kernels sum in the same order.
            part = x[offset : offset + size].clone()
            offset += size
            if p.is_complex():
                part = torch.view_as_complex(part.view(-1, 2))
            tensors.append(part.view(p.shape).to(p.dtype))
        return self.loss(tensors)

    def fun(self, x: Array) -> float:
        return self.converted.fun(x)

    def jac(self, x: Array) -> Array:
        return self.converted.jac(x)

    def hess(self, x: Array) -> Array:
        """The dense Hessian at x by `torch.func`, whose last bits are not those of a step's."""
        hessian = torch.func.hessian(self.flat)(torch.tensor(x))
        return cast(Tensor, hessian).numpy()


def join(tensors: Sequence[Tensor]) -> Tensor:
    """All elements in one vector, inside the graph."""
    return torch.cat([t.reshape(-1) for t in tensors])
