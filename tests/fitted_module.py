"""A small network fitted under constraints."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
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
        self.x0 = np.linspace(-1, 1, 3 * HIDDEN + 1)
        nn.utils.vector_to_parameters(torch.tensor(self.x0), self.model.parameters())

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
