"""One small problem for each leaf of docs/which-method.md."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pytorch_minimize.optim import ClosureConstraint

from .networks import PROBLEMS

__all__ = ["Problem"]

_F64 = torch.float64


@dataclass(frozen=True)
class Problem:
    """What is minimised, and when it is solved.

    Attributes:
        params: of the model.
        loss: computed from their values.
        target: a true loss at which it counts as solved.
        truth: the loss without noise; None where that is the loss itself.
        violation: how far outside the constraints the parameters are.
        constraints: of the problem, for ``minimizer_args``.
        bounds: of every parameter, low and high.
    """

    params: list[Tensor]
    loss: Callable[[], Tensor]
    target: float
    truth: Callable[[], float] | None = None
    violation: Callable[[], float] = field(default=lambda: 0.0)
    constraints: tuple[Any, ...] = ()
    bounds: tuple[float | None, float | None] | None = None


def _normal(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=_F64)


def simulation() -> Problem:
    """A damped oscillation of four unknowns, computed outside autograd."""
    t = np.linspace(0.0, 6.0, 60)
    x = nn.Parameter(torch.tensor([0.8, 0.3, 1.6, 0.2], dtype=_F64), requires_grad=False)

    def course(a: float, decay: float, speed: float, phase: float) -> np.ndarray:
        return np.asarray(a * np.exp(-decay * t) * np.cos(speed * t + phase))

    data = course(1.0, 0.4, 2.0, 0.5)
    return Problem(
        [x], lambda: torch.tensor(float(np.mean((course(*x.tolist()) - data) ** 2))), 1e-10
    )


def noisy() -> Problem:
    """A bowl of four variables; value and gradient are seen through noise, drawn at each run."""
    x = nn.Parameter(torch.full((4,), 1.0, dtype=_F64))
    scales = torch.tensor([1.0, 2.0, 4.0, 8.0], dtype=_F64)
    generator = torch.Generator().manual_seed(0)

    def bowl() -> Tensor:
        return (scales * (x - 0.3).square()).sum()

    def loss() -> Tensor:
        noise = torch.randn(5, generator=generator, dtype=_F64)
        return bowl() + 2e-2 * (noise[0] + (x * noise[1:]).sum())

    return Problem([x], loss, 1e-4, truth=lambda: bowl().item())


def rastrigin() -> Problem:
    """Five variables, 11^5 minima in the box."""
    x = nn.Parameter(torch.tensor([3.1, -2.2, 3.3, -3.4, 1.8], dtype=_F64))

    def loss() -> Tensor:
        return (x.square() - 10.0 * torch.cos(2 * math.pi * x) + 10.0).sum()

    return Problem([x], loss, 1e-6, bounds=(-5.12, 4.0))


def sphere() -> Problem:
    """The point of a sphere's cap nearest to one outside: 12 variables, two constraints."""
    centre = torch.linspace(0.5, 2.0, 12, dtype=_F64)
    x = nn.Parameter(torch.linspace(1.0, 0.0, 12, dtype=_F64))

    def inequality() -> Tensor:
        return x[:6].sum()

    def equality() -> Tensor:
        return x.square().sum()

    def violation() -> float:
        return max(abs(equality().item() - 1.0), inequality().item() - 0.4)

    constraints = (ClosureConstraint(equality, 1.0, 1.0), ClosureConstraint(inequality, None, 0.4))
    return Problem(
        [x],
        lambda: (x - centre).square().sum(),
        _SPHERE + 1e-6,
        violation=violation,
        constraints=constraints,
    )


def nonnegative() -> Problem:
    """Least squares in 200 variables that are not to be negative; half of them end at zero."""
    a, wanted = _normal(1, 300, 200), _normal(2, 200)
    b = a @ wanted.clamp(min=0.0) - a @ (-wanted).clamp(min=0.0) * 0.05
    x = nn.Parameter(torch.ones(200, dtype=_F64))
    return Problem(
        [x], lambda: (a @ x - b).square().mean(), _NONNEGATIVE * (1 + 1e-6), bounds=(0.0, None)
    )


def absolute() -> Problem:
    """A regression in absolute values, ten unknowns, of which outliers take nothing."""
    a, wanted = _normal(3, 60, 10), _normal(4, 10)
    b = a @ wanted
    b[:6] += 3.0 * _normal(5, 6)
    least = (a @ wanted - b).abs().mean().item()
    x = nn.Parameter(torch.zeros(10, dtype=_F64))
    return Problem([x], lambda: (a @ x - b).abs().mean(), least + 1e-7)


def sine() -> Problem:
    """The fit of a sine by a tanh network of 193 parameters in float64."""
    made = PROBLEMS["sine"](0)
    x = nn.Parameter(torch.tensor(made.network.start(0)))
    return Problem([x], lambda: made.loss(x), 1e-7)


def collinear() -> Problem:
    """Logistic regression on 200 features, nearly dependent: the condition is 4e5."""
    n, m = 200, 1000
    turn = torch.linalg.qr(_normal(6, n, n))[0]
    a = _normal(7, m, n) @ (turn * torch.logspace(0, -4, n, dtype=_F64)) @ turn.T
    sign = torch.sign(a @ _normal(8, n) + 2.0 * _normal(9, m))
    x = nn.Parameter(torch.zeros(n, dtype=_F64))

    def loss() -> Tensor:
        return nn.functional.softplus(-sign * (a @ x)).mean() + 1e-7 * x.square().sum()

    return Problem([x], loss, _COLLINEAR * (1 + 1e-7))


def factors() -> Problem:
    """A matrix of rank 2 as a product, from near the saddle at zero: 36 variables."""
    data = _normal(10, 10, 2) @ _normal(11, 2, 8)
    left, right = (nn.Parameter(1e-3 * _normal(12 + i, k, 2)) for i, k in enumerate((10, 8)))
    return Problem([left, right], lambda: (left @ right.T - data).square().sum(), 1e-8)


def single() -> Problem:
    """A network of 661 parameters in float32."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(1, 20), nn.Tanh(), nn.Linear(20, 29), nn.Tanh(), nn.Linear(29, 1))
    points = torch.linspace(-1, 1, 200)[:, None]
    data = torch.sin(2 * math.pi * points)
    return Problem(list(net.parameters()), lambda: (net(points) - data).square().mean(), 1e-5)


def wide(n: int = 1_000_000) -> Problem:
    """A separable bowl of a million variables, whose closure costs next to nothing."""
    weights = torch.logspace(-1.5, 1.5, n, dtype=_F64)
    x = nn.Parameter(torch.ones(n, dtype=_F64))
    return Problem([x], lambda: (weights * x.square()).sum() / 2, 0.0)


# The minima, by SLSQP with ftol=1e-15, L-BFGS-B with gtol=1e-12 and trust-exact with gtol=1e-14.
_SPHERE = 13.561144075028718
_NONNEGATIVE = 0.1376916545086406
_COLLINEAR = 0.26446402081991954
