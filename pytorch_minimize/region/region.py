"""Where a solver may look, as one value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from scipy.optimize import Bounds, NonlinearConstraint

from ..bridge.vectors import clip, inwards
from ..typing import Array
from .box import completer, is_fixed

__all__ = ["Region"]

# How far outside a limit still counts as feasible, relative to the limit where that is above 1.
_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Region:
    """Bounds and constraints of one search; by default, everywhere.

    Attributes:
        bounds: on the flat vector; None for none.
        keeps_bounds: the solver evaluates nowhere outside them, save by a rounding.
        constraints: in scipy's forms, over the flat vector.
        excesses: each tells how far outside one of them the parameters' point is; None where that
            is not known. Of bounds too, where the solver does not keep them.
        multipliers: each tells how many multipliers a constraint has, once it was evaluated.

    Example:
        >>> region = Region(Bounds([0.0], [1.0]), keeps_bounds=True)
        >>> region.clip(np.array([1.0 + 1e-16 + 1e-15]))
        array([1.])
        >>> region.inwards(np.array([-2.0]), np.array([1.0]))
        array([0.])
    """

    bounds: Bounds | None = None
    keeps_bounds: bool = False
    constraints: list[Any] = field(default_factory=list)
    excesses: tuple[Callable[[], float | None], ...] = ()
    multipliers: tuple[Callable[[], int], ...] = ()

    @property
    def is_restricted(self) -> bool:
        """Whether there is anything to violate."""
        return bool(self.excesses)

    @property
    def is_fixed(self) -> bool:
        """Whether the bounds leave no variable free."""
        return is_fixed(self.bounds)

    def violation(self) -> float | None:
        """How far the parameters' point is outside; 0 inside, None while that is not known."""
        worst = 0.0
        for excess in self.excesses:
            amount = excess()
            if amount is None:
                return None
            worst = max(worst, amount)
        return worst if worst > _TOLERANCE else 0.0

    def ask(self, x: Array) -> None:
        """Have the constraints evaluated at x, the parameters' point: nothing is unknown then."""
        for constraint in self.constraints:
            if isinstance(constraint, Mapping):
                constraint["fun"](x, *constraint.get("args", ()))
            elif isinstance(constraint, NonlinearConstraint):
                constraint.fun(x)

    def clip(self, x: Array) -> Array:
        """x, put back where a rounding left the bounds that the solver keeps."""
        return clip(x, self.bounds) if self.keeps_bounds else x

    def inwards(self, gradient: Array, x: Array) -> Array:
        """The gradient at x without what only the bounds keep from leading on."""
        return gradient if self.bounds is None else inwards(gradient, x, self.bounds)

    def completer(self) -> Callable[[Array], Array] | None:
        """What puts back variables that equal bounds fix, where scipy leaves them out."""
        return completer(self.bounds)

    def count_multipliers(self) -> int:
        """How many the constraints have in all."""
        return sum(count() for count in self.multipliers)
