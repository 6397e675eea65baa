"""Conjugate gradients for H p = -g, a product at a time; with a preconditioner or none."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from typing import Generic

from ..bridge.interface import V
from ..bridge.space import Space
from ..run.protocol import Answer, Product

__all__ = ["Conjugate", "Precondition"]

Precondition = Callable[[V], V]
"""v -> P^-1 v, a new vector; P is symmetric and positive definite."""


class Conjugate(Generic[V]):
    r"""Minimises the model :math:`g^T z + z^T H z / 2` from z = 0, of which it knows products H d.

    With r = H z + g, :math:`y = P^{-1} r` and :math:`\gamma = r^T y`, one iteration is

    .. math::
        \alpha = \gamma / d^T H d, \quad z \leftarrow z + \alpha d, \quad r \leftarrow r + \alpha
        H d, \quad d \leftarrow -y + (\gamma_+ / \gamma)\, d

    in two halves: :meth:`multiply` finds the curvature :math:`d^T H d`, and whoever likes it goes
    on to :meth:`take`. All scalars of an iteration come with its product: a device is waited for
    once.

    Args:
        space: what vectors are.
        x, gradient: the point whose Hessian H is, and g.
        order: of the norm of r, 1 or 2.
        precondition: by P; None for the identity.
        damping: times the identity is added to H.

    Attributes:
        solution, direction: z and d; both are written in place.
        size: the norm of r; NaN before the first iteration.
        taken: iterations.
        curvature: along the direction.
        decrease: how much lower the model is than at 0.
        slope: g'z, summed up.
    """

    def __init__(
        self,
        space: Space[V],
        x: V,
        gradient: V,
        *,
        order: int,
        precondition: Precondition[V] | None = None,
        damping: float = 0.0,
    ) -> None:
        self._space, self._x, self._g = space, x, gradient
        self._order, self._damping = order, damping
        self._precondition = precondition
        self._r = gradient
        y = gradient if precondition is None else precondition(gradient)
        self._gamma_there = space.dot(gradient, y)
        self.direction = space.combined([-1.0], [y])
        self.solution = space.zeros_like(gradient)
        self.size = self.curvature = self._gamma = math.nan
        self.taken, self.decrease, self.slope = 0, 0.0, 0.0
        self._zz = self._zd = 0.0  # z'Pz and z'Pd
        self._dd = math.nan  # d'Pd

    def multiply(self) -> Generator[Product[V], Answer[V], float]:
        """The curvature along the direction; asks for one product."""
        answer = yield Product(self._x, self.direction, self._measure)
        self._gamma, self.curvature, self._next_gamma, size, self._along = answer.scalars
        self._next_size = math.sqrt(size) if self._order == 2 else size
        if not self.taken:
            self._dd = self._gamma
        return self.curvature

    def take(self) -> None:
        """Go to the model's minimum along the direction, and turn this."""
        step, share = self._gamma / self.curvature, self._next_gamma / self._gamma
        self._space.add(self.solution, step, self.direction)
        self._space.turn(self.direction, share, self._next_y)
        self._r, self._gamma_there, self.size = (
            self._next_r,
            self._next_gamma_there,
            self._next_size,
        )
        self.decrease += step * self._gamma / 2.0
        self.slope += step * self._along
        self._zz += step * (2.0 * self._zd + step * self._dd)
        self._zd = share * (self._zd + step * self._dd)
        self._dd = self._next_gamma + share * share * self._dd
        self.taken += 1

    def leave(self, step: float) -> None:
        """Go so far along the direction, and no further."""
        self._space.add(self.solution, step, self.direction)
        self.decrease -= self.change(step)
        self.slope += step * self._along

    def change(self, step: float) -> float:
        """Of the model, so far along the direction."""
        return step * (step * self.curvature / 2.0 - self._gamma)

    @property
    def steepest(self) -> float:
        """The step of the length that it would have, were the curvature not negative."""
        return -self._gamma / self.curvature

    @property
    def reach(self) -> float:
        """How far from 0, in the norm of P, :meth:`take` would come."""
        step = self._gamma / self.curvature
        return math.sqrt(self._zz + step * (2.0 * self._zd + step * self._dd))

    def steps_to(self, radius: float) -> tuple[float, float]:
        """Both steps along the direction at whose end z has that length, in the norm of P.

        Sources of the recurrences for z'Pz, z'Pd and d'Pd: Conn, Gould and Toint, Trust-Region
        Methods (2000), section 7.5; of the roots without cancellation: Golub and Van Loan.
        """
        zz, zd, dd = self._zz, self._zd, self._dd
        if self._precondition is None and not self._space.waits:  # known without rounding's drift
            dot, z, d = self._space.dot, self.solution, self.direction
            zz, zd, dd = float(dot(z, z)), float(dot(z, d)), float(dot(d, d))
        b, c = 2.0 * zd, zz - radius**2
        sum_of_roots = b + math.copysign(math.sqrt(b * b - 4.0 * dd * c), b)
        first, second = -sum_of_roots / (2.0 * dd), -2.0 * c / sum_of_roots
        return min(first, second), max(first, second)

    def _measure(self, product: V) -> V:
        """gamma, d'Hd, and of the next iterate gamma and |r|_1 or |r|_2^2; and g'd."""
        space, d = self._space, self.direction
        if self._damping:
            product = space.stepped(product, self._damping, d)
        curvature = space.dot(d, product)
        step = space.ratio(self._gamma_there, curvature)
        self._next_r = r = space.moved(self._r, step, product)
        self._next_y = y = r if self._precondition is None else self._precondition(r)
        self._next_gamma_there = space.dot(r, y)
        size = self._next_gamma_there if y is r else space.dot(r, r)
        if self._order == 1:
            size = space.norm(r, 1.0)
        return space.scalars(
            [self._gamma_there, curvature, self._next_gamma_there, size, space.dot(self._g, d)]
        )
