"""A small network fitted under constraints, with derivatives by hand for plain scipy."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from instance import Array, flat_copy
from scipy.optimize import NonlinearConstraint
from torch import Tensor, nn

from pytorch_minimize.optim import ClosureConstraint

HIDDEN = 3
TIMES = torch.linspace(-1, 1, 15, dtype=torch.float64)[:, None]
TARGETS = torch.tanh(2 * TIMES) + 0.2 * torch.cos(7 * TIMES)
GRID = torch.tensor([[-1.0], [-0.5], [0.5], [1.0]], dtype=torch.float64)
ZERO = torch.zeros(1, 1, dtype=torch.float64)
RADIUS = 3.0
RIDGE = 3e-3  # without, paths part ways along the valley's floor


class ModuleFit:
    """One layer of tanh, 10 weights, through zero, within [-1, 1] on a grid, of bounded norm."""

    def __init__(self) -> None:
        self.model = nn.Sequential(nn.Linear(1, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 1)).double()
        start = np.linspace(-1, 1, 3 * HIDDEN + 1)
        self.load(start)
        self.x0 = flat_copy(list(self.model.parameters()))

    def load(self, x: Array) -> None:
        nn.utils.vector_to_parameters(torch.tensor(x), self.model.parameters())

    def closure(self) -> Tensor:
        misfit = (self.model(TIMES) - TARGETS).square().mean()
        return cast(Tensor, misfit + RIDGE * self._norm())

    def stated(self) -> list[ClosureConstraint]:
        return [
            ClosureConstraint(lambda: self.model(ZERO), 0.0, 0.0),
            ClosureConstraint(lambda: self.model(GRID), -1.0, 1.0),
            ClosureConstraint(self._norm, None, RADIUS),
        ]

    def violation(self) -> float:
        with torch.no_grad():
            zero = self.model(ZERO).abs().item()
            beyond = (self.model(GRID).abs() - 1).max().item()
            return max(zero, beyond, self._norm().item() - RADIUS)

    def _norm(self) -> Tensor:
        return sum(p.square().sum() for p in self.model.parameters())  # type: ignore[return-value]

    # For plain scipy: the same values, and derivatives by the chain rule.

    def fun(self, x: Array) -> float:
        self.load(x)
        return self.closure().item()

    def grad(self, x: Array) -> Array:
        residual = self._outputs(TIMES, x) - TARGETS.numpy()[:, 0]
        return 2 / len(TIMES) * residual @ self._jacobian(TIMES, x) + 2 * RIDGE * x

    def hess(self, x: Array) -> Array:
        return self._second(self.closure, x)

    def for_scipy(self, with_hessian: bool) -> list[NonlinearConstraint]:
        def outputs(inputs: Tensor) -> tuple[Any, Any]:
            return (
                lambda x: self._outputs(inputs, x),
                lambda x: self._jacobian(inputs, x),
            )

        def second(of: Any) -> dict[str, Any]:
            def hess(x: Array, v: Array) -> Array:
                return self._second(lambda: torch.tensor(v) @ of().reshape(-1), x)

            return {"hess": hess} if with_hessian else {}

        (zero, zero_jac), (grid, grid_jac) = outputs(ZERO), outputs(GRID)
        zero_more, grid_more, norm_more = (second(c.fun) for c in self.stated())
        return [
            NonlinearConstraint(zero, 0.0, 0.0, jac=zero_jac, **zero_more),
            NonlinearConstraint(grid, -1.0, 1.0, jac=grid_jac, **grid_more),
            NonlinearConstraint(
                self._norm_at, -np.inf, RADIUS, jac=lambda x: 2 * x[None], **norm_more
            ),
        ]

    def _norm_at(self, x: Array) -> float:
        self.load(x)
        return self._norm().item()

    def _outputs(self, inputs: Tensor, x: Array) -> Array:
        self.load(x)
        with torch.no_grad():
            return cast(Tensor, self.model(inputs)).numpy()[:, 0].copy()

    def _jacobian(self, inputs: Tensor, x: Array) -> Array:
        """d output / d (weight, bias, out weight, out bias), one row for each input."""
        weight, bias, out = x[:HIDDEN], x[HIDDEN : 2 * HIDDEN], x[2 * HIDDEN : 3 * HIDDEN]
        t = inputs.numpy()
        hidden = np.tanh(t * weight + bias)
        inner = (1 - hidden**2) * out
        return np.hstack([inner * t, inner, hidden, np.ones_like(t)])

    def _second(self, value: Any, x: Array) -> Array:
        self.load(x)
        params = list(self.model.parameters())
        grads = torch.autograd.grad(value(), params, create_graph=True, materialize_grads=True)
        flat = torch.cat([g.reshape(-1) for g in grads])
        rows = [
            torch.autograd.grad(g, params, retain_graph=True, materialize_grads=True) for g in flat
        ]
        return np.stack([flat_copy(row) for row in rows])
