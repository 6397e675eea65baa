"""What stands in the place of curvature and residuals of this process: those of all."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic

from ..bridge.interface import V
from ..record.profile import Profile
from ..typing import Array, Loss
from .messages import Command
from .partners import Curvature
from .rows import Rows

if TYPE_CHECKING:
    from .leader import Leader

__all__ = ["SharedCurvature", "SharedRows"]


class SharedCurvature:
    """Products with the Hessian of the whole loss; see `Curvature` in `curvature/strategies.py`.

    Processes multiply where they all have evaluated: elsewhere they do that first.

    Attributes:
        value: the loss, where a product needed an evaluation before it.
    """

    def __init__(self, leader: Leader[Any], own: Curvature, profile: Profile) -> None:
        self._leader, self._own, self._profile = leader, own, profile
        self._at: Any = None
        self.value: Loss | None = None

    def evaluate(self) -> Loss:
        """The loss; the gradient is the leader's."""
        value = self._leader.curved()
        self._at = self._leader.where()
        return value

    def product(self, v: Array) -> tuple[Array, bool]:
        """H v, shape (n,), a fresh array; and whether all of it is finite."""
        self._require_evaluation()
        return self._leader.products(Command.PRODUCT, v)

    def hessian(self) -> tuple[Array, bool]:
        """A fresh matrix whose symmetric part is H; and whether all of it is finite."""
        self._require_evaluation()
        hessian, finite = self._leader.products(Command.HESSIAN)
        n = math.isqrt(len(hessian))
        return hessian.reshape(n, n), finite

    def drop(self) -> None:
        """The parameters change, or the run is over."""
        self._at = self.value = None
        self._own.drop()

    def _require_evaluation(self) -> None:
        if not (self._at is self._leader.where() and self._leader.is_at(self._at)):
            self._profile.begin("closure", "closure")
            self.value = self.evaluate()
            self._profile.begin("curvature")


class SharedRows(Generic[V]):
    """The residuals of all processes, those of the leader first; see :class:`Rows`.

    Args:
        leader: evaluates in all of them.
        own: of the closure here.
        cost: of all residuals.
    """

    def __init__(self, leader: Leader[V], own: Rows[V], cost: Callable[[V], Any]) -> None:
        self._leader, self._own, self._cost = leader, own, cost
        self.values: V | None = None
        self.has_graph = False

    @property
    def count(self) -> int | None:
        """How many there are in all; None before all have given some."""
        return self._leader.row_count

    def run(self) -> float:
        """Run the closure in all processes: the cost."""
        self.values, self.has_graph = None, False
        self.values = self._leader.rows()
        if self.values is None:
            return math.nan
        cost = float(self._cost(self.values))
        self.has_graph = math.isfinite(cost)
        return cost

    def empty(self, count: int) -> V:
        """Memory for so many rows of a Jacobian."""
        return self._own.empty(count)

    def matrix(self, out: V | None = None) -> V:
        """J, which no process keeps a graph of then."""
        assert self.count is not None
        out = self.empty(self.count) if out is None else out
        self.has_graph = False
        self._leader.jacobian(out)
        return out

    def product(self, v: V) -> V:
        """J v, a fresh vector."""
        return self._leader.image(v)

    def transposed_product(self, u: Any) -> V:
        """J'u, a fresh vector."""
        return self._leader.pulled(u)

    def drop(self) -> None:
        """The parameters change, or the run is over."""
        self.values, self.has_graph = None, False
        self._own.drop()
