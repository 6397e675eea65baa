"""Small tanh networks as functions of a flat vector: fits and Poisson equations to be solved."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pytorch_minimize.typing import Array

__all__ = ["PROBLEMS", "REDRAWN", "Network", "Problem"]


class Jet(NamedTuple):
    """A function at points: values (count,), gradients (d, count) and Laplacian (count,)."""

    value: Tensor
    slopes: Tensor
    laplacian: Tensor


class Network:
    """A tanh network on a flat vector of parameters, which knows its derivatives in its inputs."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self._shapes = list(zip(sizes[1:], sizes[:-1], strict=True))
        self.n = sum(rows * columns + rows for rows, columns in self._shapes)

    def start(self, seed: int) -> Array:
        """Glorot's uniform weights, and no biases."""
        rng = np.random.default_rng(seed)
        parts = []
        for rows, columns in self._shapes:
            reach = math.sqrt(6.0 / (rows + columns))
            parts += [rng.uniform(-reach, reach, rows * columns), np.zeros(rows)]
        return np.concatenate(parts)

    def _layers(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        layers, at = [], 0
        for rows, columns in self._shapes:
            weight = x[at : at + rows * columns].view(rows, columns)
            at += rows * columns
            layers.append((weight, x[at : at + rows, None]))
            at += rows
        return layers

    def values(self, x: Tensor, points: Tensor) -> Tensor:
        """At points of shape (d, count)."""
        *hidden, (weight, bias) = self._layers(x)
        for inner, shift in hidden:
            points = torch.tanh(inner @ points + shift)
        return (weight @ points + bias)[0]

    def jet(self, x: Tensor, points: Tensor) -> Jet:
        """Values and derivatives, carried forward from layer to layer."""
        d, count = points.shape
        value = points
        slopes = torch.eye(d, dtype=points.dtype)[:, :, None].expand(d, d, count)
        laplacian = torch.zeros_like(points)
        layers = self._layers(x)
        for i, (weight, bias) in enumerate(layers):
            value, laplacian = weight @ value + bias, weight @ laplacian
            slopes = torch.einsum("oi,dic->doc", weight, slopes)
            if i + 1 < len(layers):
                value = torch.tanh(value)
                first = 1.0 - value * value
                laplacian = first * laplacian - 2.0 * value * first * slopes.square().sum(0)
                slopes = first * slopes
        return Jet(value[0], slopes[:, 0], laplacian[0])


@dataclass(frozen=True)
class Problem:
    """A loss of flat parameters, and how far the network is from what it is to be.

    Attributes:
        network: holds the parameters.
        loss: at parameters.
        found: the function that parameters stand for, at points of a test grid.
        exact: what it is to be there.
    """

    network: Network
    loss: Callable[[Tensor], Tensor]
    found: Callable[[Tensor], Tensor]
    exact: Tensor

    def evaluate(self, x: Array) -> tuple[float, Array]:
        point = torch.tensor(x, requires_grad=True)
        loss = self.loss(point)
        (gradient,) = torch.autograd.grad(loss, point)
        return loss.item(), gradient.numpy()

    @torch.no_grad()
    def relative_error(self, x: Array) -> float:
        return float((self.found(torch.tensor(x)) - self.exact).norm() / self.exact.norm())


def grid(d: int, side: int, low: float = 0.0) -> Tensor:
    line = torch.linspace(low, 1.0, side, dtype=torch.float64)
    return torch.stack([axis.reshape(-1) for axis in torch.meshgrid([line] * d, indexing="ij")])


def fit(function: Callable[[Tensor], Tensor]) -> Callable[[int], Problem]:
    """Least squares on 200 points of [-1, 1]."""

    def made(seed: int) -> Problem:
        network = Network((1, 64, 1))
        points, tests = grid(1, 200, -1.0), grid(1, 1001, -1.0)
        data = function(points[0])
        return Problem(
            network,
            lambda x: (network.values(x, points) - data).square().mean(),
            lambda x: network.values(x, tests),
            function(tests[0]),
        )

    return made


def distance(points: Tensor) -> Jet:
    """4^d prod x (1 - x), which a network is multiplied by to be zero on the boundary."""
    factors, rises = 4.0 * points * (1.0 - points), 4.0 - 8.0 * points
    d = len(points)
    others = [factors[[j for j in range(d) if j != i]].prod(0) for i in range(d)]
    slopes = torch.stack([rises[i] * others[i] for i in range(d)])
    return Jet(factors.prod(0), slopes, -8.0 * torch.stack(others).sum(0))


def times(edge: Jet, u: Jet) -> Jet:
    """A function of x times one of 2 x - 1, whose slopes double."""
    return Jet(
        edge.value * u.value,
        edge.slopes * u.value + 2.0 * edge.value * u.slopes,
        edge.laplacian * u.value
        + 4.0 * (edge.slopes * u.slopes).sum(0)
        + 4.0 * edge.value * u.laplacian,
    )


def poisson(d: int, waves: float, count: int) -> Callable[[int], Problem]:
    r""":math:`\Delta u = f` on the unit cube, u = prod sin(waves pi x_i), zero on the boundary."""
    speed = waves * math.pi

    def exact(points: Tensor) -> Tensor:
        return torch.sin(speed * points).prod(0)

    def made(seed: int) -> Problem:
        network = Network((d, 20, 20, 1))
        generator = torch.Generator().manual_seed(seed)
        points = torch.rand(d, count, dtype=torch.float64, generator=generator)
        tests, edge = grid(d, 1001 if d == 1 else 61), distance(points)
        source, far = -d * speed**2 * exact(points), distance(tests).value

        def loss(x: Tensor) -> Tensor:
            u = times(edge, network.jet(x, 2.0 * points - 1.0))
            return (u.laplacian - source).square().mean()

        return Problem(
            network, loss, lambda x: far * network.values(x, 2.0 * tests - 1.0), exact(tests)
        )

    return made


def nonlinear(count: int) -> Callable[[int], Problem]:
    r"""That of examples/pinn.py: :math:`-\Delta u + u^3 = f`, three hidden layers of 12."""

    def exact(points: Tensor) -> Tensor:
        x, y = points
        return torch.sin(math.pi * x) * torch.sin(2.0 * math.pi * y) * torch.exp(x - y)

    def laplacian(points: Tensor) -> Tensor:
        x, y = math.pi * points[0], 2.0 * math.pi * points[1]
        along_x = (1.0 - math.pi**2) * torch.sin(x) + 2.0 * math.pi * torch.cos(x)
        along_y = (1.0 - 4.0 * math.pi**2) * torch.sin(y) - 4.0 * math.pi * torch.cos(y)
        both = along_x * torch.sin(y) + torch.sin(x) * along_y
        return both * torch.exp(points[0] - points[1])

    def made(seed: int) -> Problem:
        network = Network((2, 12, 12, 12, 1))
        points = torch.rand(
            2, count, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
        )
        edge, far = distance(points), distance(grid(2, 61)).value
        source = exact(points) ** 3 - laplacian(points)

        def loss(x: Tensor) -> Tensor:
            u = times(edge, network.jet(x, 2.0 * points - 1.0))
            return (u.value**3 - u.laplacian - source).square().mean()

        def found(x: Tensor) -> Tensor:
            return far * network.values(x, 2.0 * grid(2, 61) - 1.0)

        return Problem(network, loss, found, exact(grid(2, 61)))

    return made


PROBLEMS: Mapping[str, Callable[[int], Problem]] = {
    "sine": fit(lambda x: torch.sin(4.0 * math.pi * x)),
    "runge": fit(lambda x: 1.0 / (1.0 + 25.0 * x * x)),
    "poisson1": poisson(1, 4.0, 200),
    "poisson2": poisson(2, 1.0, 400),
}

# Those whose points are drawn at random.
REDRAWN: Mapping[str, Callable[[int], Problem]] = {
    "poisson1": PROBLEMS["poisson1"],
    "poisson2": PROBLEMS["poisson2"],
    "nonlinear": nonlinear(800),
}
