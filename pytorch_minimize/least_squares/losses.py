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

Values = Callable[[Any, Any], Any]
"""(z, module) -> rho(z); the module is numpy or torch."""

Slopes = Callable[[Any, Any], tuple[Any, Any]]
"""(z, module) -> the first two derivatives of rho."""


def _huber(z: Any, xp: Any) -> Any:
    return xp.where(z <= 1, z, 2 * xp.where(z <= 1, xp.ones_like(z), z) ** 0.5 - 1)


def _huber_slopes(z: Any, xp: Any) -> tuple[Any, Any]:
    inner, t = z <= 1, xp.where(z <= 1, xp.ones_like(z), z)
    return t**-0.5, xp.where(inner, xp.zeros_like(z), -0.5 * t**-1.5)


def _soft_l1(z: Any, xp: Any) -> Any:
    return 2 * ((1 + z) ** 0.5 - 1)


def _soft_l1_slopes(z: Any, xp: Any) -> tuple[Any, Any]:
    t = 1 + z
    return t**-0.5, -0.5 * t**-1.5


def _cauchy(z: Any, xp: Any) -> Any:
    return xp.log1p(z)


def _cauchy_slopes(z: Any, xp: Any) -> tuple[Any, Any]:
    t = 1 + z
    return 1 / t, -1 / t**2


def _arctan(z: Any, xp: Any) -> Any:
    return xp.arctan(z)


def _arctan_slopes(z: Any, xp: Any) -> tuple[Any, Any]:
    t = 1 + z**2
    return 1 / t, -2 * z / t**2


LOSSES: dict[str, tuple[Values, Slopes] | None] = {
    "linear": None,
    "huber": (_huber, _huber_slopes),
    "soft_l1": (_soft_l1, _soft_l1_slopes),
    "cauchy": (_cauchy, _cauchy_slopes),
    "arctan": (_arctan, _arctan_slopes),
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
        with np.errstate(over="ignore"):  # where what weighs a residual is zero then
            rho = self._values((r / self.f_scale) ** 2)
        if isinstance(rho, Tensor):
            return 0.5 * self.f_scale**2 * rho.sum()
        return float(0.5 * self.f_scale**2 * np.sum(rho))

    def slopes(self, residuals: V) -> V:
        """What the transposed Jacobian is multiplied by for the gradient of the cost."""
        weighted, r = self.weighted(residuals), residuals
        return r if weighted is None else weighted.slopes * r  # type: ignore[operator]

    def weighted(self, residuals: V, least: float = 0.0) -> Weighted[V] | None:
        """What the model at these residuals is made of; None where nothing is to be scaled.

        Args:
            least: of rho', the share that the curvature along a residual shall not be below. Far
                outliers have none, or a negative one, which scipy sets to nearly 0.
        """
        if self.is_linear:
            return None
        r: Any = residuals
        with np.errstate(over="ignore"):  # where what weighs a residual is zero then
            first, second = self._slopes((r / self.f_scale) ** 2)
            curvature = first + 2 * (second / self.f_scale**2) * r**2
            curvature = (curvature - least * first).clip(0.0) + least * first
        scale = curvature.clip(_EPS) ** 0.5
        return Weighted(first, scale, r * first / scale)

    def _values(self, z: Any) -> Any:
        """rho(z), with a graph where z has one."""
        if isinstance(self.given, str):
            return _named(self.given)[0](z, _module(z))
        found = self._users(z)
        if not isinstance(z, Tensor):
            return found[0]
        value, slope, bend = (torch.as_tensor(part).to(z) for part in found)
        step = z - z.detach()  # zero, with the derivatives of z
        return value + slope * step + 0.5 * bend.nan_to_num(0.0, 0.0, 0.0) * step * step

    def _slopes(self, z: Any) -> tuple[Any, Any]:
        """rho'(z) and rho''(z)."""
        if isinstance(self.given, str):
            return _named(self.given)[1](z, _module(z))
        found = self._users(z)
        if not isinstance(z, Tensor):
            return found[1], found[2]
        first, second = (torch.as_tensor(part).to(z) for part in found[1:])
        return first, second

    def _users(self, z: Any) -> Any:
        """What the user's function gives, an array of shape (3, m)."""
        assert callable(self.given)
        array = z.detach().cpu().double().numpy() if isinstance(z, Tensor) else z
        found = np.asarray(self.given(array), dtype=np.float64)
        if found.shape != (3, array.size):
            raise ValueError(
                f"loss: expected the callable to return an array of shape {(3, array.size)}, rho "
                f"and its first two derivatives at each z, got one of shape {found.shape}"
            )
        return found


def _named(name: str) -> tuple[Values, Slopes]:
    found = LOSSES[name]
    assert found is not None
    return found


def _module(z: Any) -> Any:
    return torch if isinstance(z, Tensor) else np
