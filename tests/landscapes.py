"""Functions with many minima whose lowest is known; for the global optimisers.

The boxes are not symmetric about the minima, lest a centre or a grid line hit them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import torch
from instance import Instance, join
from torch import Tensor

Surface = Callable[[Tensor], Tensor]


@dataclasses.dataclass(frozen=True)
class Landscape:
    """A function of n variables, on tensors whose last dimension holds them.

    Attributes:
        surface: (..., n) -> (...).
        box: low and high of each variable.
        minimum: n -> the least value in the box.
        lowest: where a variable is at the minimum, if that is the same for all.
    """

    name: str
    surface: Surface
    box: tuple[float, float]
    minimum: Callable[[int], float]
    lowest: tuple[float, ...]

    def __str__(self) -> str:
        return self.name

    def bounds(self, n: int) -> list[tuple[float, float]]:
        return [self.box] * n

    def instance(self, n: int, dtype: torch.dtype = torch.float64) -> Instance:
        """Two parameters, the first of one variable, that start well off the minimum."""
        low, high = self.box
        start = torch.linspace(0.62, 0.81, n, dtype=dtype) * (high - low) + low
        return Instance(
            [start[:1].reshape(()).clone(), start[1:].clone()],
            lambda tensors: self.surface(join(tensors)),
            self.minimum(n),
        )


def _ackley(x: Tensor) -> Tensor:
    spread = -20 * torch.exp(-0.2 * torch.sqrt((x * x).mean(-1)))
    ripple = -torch.exp(torch.cos(2 * torch.pi * x).mean(-1))
    return spread + ripple + (20 + np.e)


def _rastrigin(x: Tensor) -> Tensor:
    return (x * x - 10 * torch.cos(2 * torch.pi * x) + 10).sum(-1)


def _eggholder(x: Tensor) -> Tensor:
    a, b = x[..., 0], x[..., 1] + 47
    return -b * torch.sin((a / 2 + b).abs().sqrt()) - a * torch.sin((a - b).abs().sqrt())


def _styblinski_tang(x: Tensor) -> Tensor:
    return (x**4 - 16 * x * x + 5 * x).sum(-1) / 2


ACKLEY = Landscape("ackley", _ackley, (-6.0, 5.0), lambda n: 0.0, (0.0,))
RASTRIGIN = Landscape("rastrigin", _rastrigin, (-5.12, 4.3), lambda n: 0.0, (0.0,))
EGGHOLDER = Landscape(
    "eggholder",
    _eggholder,
    (-512.0, 512.0),
    lambda n: -959.6406627208506,
    (512.0, 404.2318051137),
)
STYBLINSKI_TANG = Landscape(
    "styblinski-tang",
    _styblinski_tang,
    (-5.0, 4.5),
    lambda n: -39.16616570377142 * n,
    (-2.903534027771177,),
)
