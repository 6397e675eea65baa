"""Losses that weigh large residuals less, as scipy's least_squares has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic

import numpy as np
import torch
from torch import Tensor

from ..bridge.interface import V

__all__ = ["LOSSES", "RobustLoss", "Weighted"]

_EPS = float(np.finfo(np.float64).eps)

Rho = Callable[[Any, Any], tuple[Any, Any, Any]]
"""(z, module) -> rho(z) and its first two derivatives; the module is numpy or torch."""


def _huber(z: Any, xp: Any) -> tuple[Any, Any, Any]:
    inner, t = z <= 1, xp.where(z <= 1, xp.ones_like(z), z)
    return (
        xp.where(inner, z, 2 * t**0.5 - 1),
        t**-0.5,
        xp.where(inner, xp.zeros_like(z), -0.5 * t**-1.5),
    )


def _soft_l1(z: Any, xp: Any) -> tuple[Any, Any, Any]:
    t = 1 + z
    return 2 * (t**0.5 - 1), t**-0.5, -0.5 * t**-1.5


def _cauchy(z: Any, xp: Any) -> tuple[Any, Any, Any]:
    t = 1 + z
    return xp.log1p(z), 1 / t, -1 / t**2


def _arctan(z: Any, xp: Any) -> tuple[Any, Any, Any]:
    t = 1 + z**2
    return xp.arctan(z), 1 / t, -2 * z / t**2


LOSSES: dict[str, Rho | None] = {
    "linear": None,
    "huber": _huber,
    "soft_l1": _soft_l1,
    "cauchy": _cauchy,
    "arctan": _arctan,
}
"""By scipy's names; "linear" is the plain sum of squares."""


@dataclass(frozen=True)
class Weighted(Generic[V]):
    """Residuals and what makes the Jacobian's Gauss-Newton model that of a robust cost.

    Attributes:
        slopes: rho'(z), by which the cost's gradient J' (slopes r) weighs each residual.
        scale: what each row of J is multiplied by, so that J'J models the Hessian.
        residuals: so scaled that J' r of the two is the gradient.
    """

    slopes: V
    scale: V
    residuals: V


@dataclass(frozen=True)
class RobustLoss:
    r"""The cost :math:`\frac12 C^2 \sum_i \rho((r_i / C)^2)` of residuals r.

    Args:
        given: a name of :data:`LOSSES`, or the user's function of z, an array of shape (m,), which
            returns rho(z) and its first two derivatives as an array of shape (3, m).
        f_scale: C, beyond which a residual counts less.

    Example:
        >>> RobustLoss("linear").cost(np.array([3.0, 4.0]))
        12.5
        >>> RobustLoss("huber", 2.0).cost(np.array([1.0, 4.0]))
        6.5

    Source: Triggs et al., Bundle Adjustment - A Modern Synthesis (1999), as in
    :func:`scipy.optimize.least_squares`.
    """

    given: str | Callable[[Any], Any] = "linear"
    f_scale: float = 1.0

    @property
    def is_linear(self) -> bool:
        """Whether it is the plain sum of squares."""
        return self.given == "linear"

    def cost(self, residuals: V) -> Any:
        """The cost: a float for an array, a scalar for a tensor, with its graph if there is one."""
        r: Any = residuals
        if self.is_linear:
            return 0.5 * (torch.dot(r, r) if isinstance(r, Tensor) else float(np.dot(r, r)))
        rho = self._rho((r / self.f_scale) ** 2)[0]
        if isinstance(rho, Tensor):
            return 0.5 * self.f_scale**2 * rho.sum()
        return float(0.5 * self.f_scale**2 * np.sum(rho))

    def weighted(self, residuals: V) -> Weighted[V] | None:
        """What the model at these residuals is made of; None where nothing is to be scaled."""
        if self.is_linear:
            return None
        r: Any = residuals
        _, first, second = self._rho((r / self.f_scale) ** 2)
        curvature = first + 2 * (second / self.f_scale**2) * r**2
        least = torch.full_like if isinstance(r, Tensor) else np.full_like
        largest: Any = torch.maximum if isinstance(r, Tensor) else np.maximum
        scale = largest(curvature, least(curvature, _EPS)) ** 0.5
        return Weighted(first, scale, r * first / scale)

    def _rho(self, z: Any) -> tuple[Any, Any, Any]:
        if isinstance(self.given, str):
            rho = LOSSES[self.given]
            assert rho is not None
            return rho(z, torch if isinstance(z, Tensor) else np)
        found = np.asarray(self.given(_array(z)), dtype=np.float64)
        if found.shape != (3, z.shape[0]):
            raise ValueError(
                f"loss: expected the callable to return an array of shape {(3, z.shape[0])}, rho "
                f"and its first two derivatives at each z, got one of shape {found.shape}"
            )
        if not isinstance(z, Tensor):
            return found[0], found[1], found[2]
        first, second = (torch.as_tensor(part).to(z) for part in found[1:])
        # As a function of z whose derivative is the one that was given.
        value = torch.as_tensor(found[0]).to(z)
        return value + first * (z - z.detach()), first, second


def _array(z: Any) -> Any:
    return z.detach().cpu().double().numpy() if isinstance(z, Tensor) else z
