"""Problems of residuals, each with parameters of its own and a twin for scipy alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import plain
import torch
from converted import Array, Converted, flat_copy
from torch import Tensor, nn

from pytorch_minimize.bridge.make import make_bridge
from pytorch_minimize.least_squares.jacobian import ResidualJacobian, Way

Residuals = Callable[[Sequence[Tensor]], Tensor]


class Case:
    """One problem: residuals of some tensors.

    Args:
        start: one tensor for each parameter.
        residuals: of tensors shaped like these.
    """

    def __init__(self, start: Sequence[Tensor], residuals: Residuals) -> None:
        self.params = [nn.Parameter(tensor.clone()) for tensor in start]
        self.residuals = residuals
        self.twins = [tensor.clone().requires_grad_() for tensor in start]
        self.converted = Converted(self.twins, lambda: residuals(self.twins))
        self.x0 = flat_copy(self.params)
        self.seen: list[tuple[float, Array]] = []

    def __call__(self) -> Tensor:
        """The closure; remembers costs and points."""
        found = self.residuals(self.params)
        self.seen.append((0.5 * float(found.detach().square().sum()), self.x))
        return found

    @property
    def x(self) -> Array:
        return flat_copy(self.params)

    @property
    def best(self) -> Array:
        return min(self.seen, key=lambda pair: pair[0])[1]

    def cost(self, x: Array) -> float:
        values = self.converted.values(x)
        return 0.5 * float(np.dot(values, values))

    def jacobian(self, x: Array, way: Way = "auto", block_bytes: int = 1 << 26) -> Array:
        """As an optimizer takes it, of the twin."""
        flat = self.converted.at(x).reshape(-1)
        bridge = make_bridge(self.twins)
        return ResidualJacobian(bridge, np.empty, block_bytes, way).matrix(flat)

    def scipys(self, **keywords: Any) -> Any:
        """scipy's own run, with the same Jacobian."""
        keywords.setdefault("jac", self.jacobian)
        return plain.call("least_squares", self.converted.values, self.x0, **keywords)


def decay(dtype: torch.dtype = torch.float64) -> Case:
    """A sum of two exponentials at 30 points, with noise: 4 variables in 2 parameters."""
    t = torch.linspace(0, 4, 30, dtype=dtype)
    noise = torch.from_numpy(np.random.default_rng(1).standard_normal(30)).to(dtype)
    y = 3.0 * torch.exp(-1.5 * t) + torch.exp(-0.3 * t) + 0.01 * noise

    def residuals(params: Sequence[Tensor]) -> Tensor:
        heights, rates = params
        return (heights * torch.exp(-rates * t[:, None])).sum(1) - y

    start = [torch.tensor([2.0, 2.0], dtype=dtype), torch.tensor([1.0, 0.1], dtype=dtype)]
    return Case(start, residuals)


def rosenbrock() -> Case:
    """As residuals: 10 (b - a^2) and 1 - a."""

    def residuals(params: Sequence[Tensor]) -> Tensor:
        a, b = params[0].unbind()
        return torch.stack([10 * (b - a**2), 1 - a])

    return Case([torch.tensor([-1.2, 1.0], dtype=torch.float64)], residuals)


def wide() -> Case:
    """Fewer residuals than variables."""
    rng = np.random.default_rng(2)
    matrix = torch.from_numpy(rng.standard_normal((4, 9)))

    def residuals(params: Sequence[Tensor]) -> Tensor:
        return torch.tanh(matrix @ params[0]) - 0.3

    return Case([torch.from_numpy(0.1 * rng.standard_normal(9))], residuals)


def network() -> Case:
    """A small network on 25 points: 13 variables in 4 parameters."""
    rng = np.random.default_rng(3)
    inputs = torch.from_numpy(rng.standard_normal((25, 1)))

    def residuals(params: Sequence[Tensor]) -> Tensor:
        w1, b1, w2, b2 = params
        return (torch.tanh(inputs @ w1 + b1) @ w2 + b2 - torch.sin(2 * inputs)).reshape(5, 5)

    shapes = [(1, 4), (4,), (4, 1), (1,)]
    return Case([torch.from_numpy(0.5 * rng.standard_normal(shape)) for shape in shapes], residuals)


CASES: dict[str, Callable[[], Case]] = {
    "decay": decay,
    "rosenbrock": rosenbrock,
    "network": network,
}
"""Those that have at least as many residuals as variables."""
