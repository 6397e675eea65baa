"""A closure as a function of scipy's x, converted as one would by hand: the oracle of paths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse.linalg import LinearOperator
from torch import Tensor

Array = npt.NDArray[np.float64]


class Converted:
    """Values and derivatives of what ``closure`` returns, at any x.

    x goes into the parameters, the closure runs there, and what autograd finds comes out as one
    vector of float64. Its operators are those of a step on such parameters, so that scipy is told
    the same bits as an optimizer's solver is, whatever the CPU rounds to.

    Args:
        params: what the closure computes with; moved by every call.
        closure: returns a tensor with its graph, and has not called ``backward()``.
    """

    def __init__(self, params: Sequence[Tensor], closure: Callable[[], Tensor]) -> None:
        self.params, self.closure = list(params), closure

    def at(self, x: Array) -> Tensor:
        """What the closure returns at x."""
        offset = 0
        with torch.no_grad():
            for p in self.params:
                real = torch.view_as_real(p) if p.is_complex() else p
                part = torch.tensor(x[offset : offset + real.numel()], dtype=torch.float64)
                real.copy_(part.view(real.shape))
                offset += real.numel()
        return self.closure()

    def fun(self, x: Array) -> float:
        return self.at(x).item()

    def jac(self, x: Array) -> Array:
        return flat_copy(self._grads(self.at(x)))

    def hessp(self, x: Array, v: Array) -> Array:
        """H(x) v, by differentiating the gradient."""
        return self._product(self._grads(self.at(x), create_graph=True), v)

    def hess(self, x: Array) -> Array:
        """Row by row, and then made symmetric, as it is but for rounding."""
        grads = self._grads(self.at(x), create_graph=True)
        rows = np.stack([self._product(grads, row) for row in np.eye(len(x))])
        return (rows + rows.T) * 0.5

    # Of a closure that returns several values, as a constraint's does.

    def values(self, x: Array) -> Array:
        return flat_copy([self.at(x)])

    def jacobian(self, x: Array) -> Array:
        """Row by row."""
        values = self.at(x).reshape(-1)
        return np.stack([flat_copy(self._grads(value)) for value in values])

    def weighted_hessian(self, x: Array, weights: Array) -> LinearOperator:
        """Of the sum of the values with these weights."""
        x = np.array(x)  # the solver may go on writing into its own

        def product(v: Array) -> Array:
            values = self.at(x)
            seed = torch.tensor(weights, dtype=values.dtype).view(values.shape)
            return self._product(self._grads(values, seed, create_graph=True), v.reshape(-1))

        return LinearOperator((x.size, x.size), product, dtype=np.float64)

    def _grads(
        self, output: Tensor, seed: Tensor | None = None, *, create_graph: bool = False
    ) -> tuple[Tensor, ...]:
        return torch.autograd.grad(
            output,
            self.params,
            seed,
            retain_graph=True,
            create_graph=create_graph,
            materialize_grads=True,
        )

    def _product(self, grads: Sequence[Tensor], v: Array) -> Array:
        seeds, offset = [], 0
        for p in self.params:
            real = torch.view_as_real(p) if p.is_complex() else p
            part = torch.tensor(v[offset : offset + real.numel()], dtype=real.dtype)
            offset += real.numel()
            part = part.view(real.shape)
            seeds.append(torch.view_as_complex(part) if p.is_complex() else part)
        with_graph = [(g, s) for g, s in zip(grads, seeds, strict=True) if g.requires_grad]
        if not with_graph:
            return np.zeros(len(v))
        outputs, chosen = zip(*with_graph, strict=True)
        return flat_copy(
            torch.autograd.grad(
                outputs, self.params, chosen, retain_graph=True, materialize_grads=True
            )
        )


def flat_copy(tensors: Sequence[Tensor]) -> Array:
    """The logical elements of `tensors`, row-major, one tensor after another, copied."""
    real = [torch.view_as_real(t) if t.is_complex() else t for t in tensors]
    flat = np.concatenate([t.detach().double().numpy().reshape(-1) for t in real])
    return cast(Array, flat)
