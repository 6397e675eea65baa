"""An evaluator of residuals: where the parameters are, and r and J there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Generic

import numpy as np
from torch import Tensor

from ..bridge.interface import V
from ..distributed.rows import Rows
from ..problem.evaluator import Evaluator
from ..typing import Loss
from .losses import RobustLoss
from .residuals import ResidualRunner

__all__ = ["Linearised", "ResidualEvaluator"]


@dataclass(frozen=True, eq=False)
class Linearised(Generic[V]):
    """Residuals at a point, and how they change around it.

    Attributes:
        x: the point.
        residuals: r, of shape (m,), unweighted.
        jacobian: J, of shape (m, n), unweighted; None where products alone are taken.
        gradient: of the cost, as ``.grad`` holds it.
        finite: whether all of it is.
    """

    x: V
    residuals: V
    jacobian: Any
    gradient: V
    finite: bool


class ResidualEvaluator(Evaluator[V]):
    """:class:`Evaluator` of a closure of residuals: the value is the cost, the graph is kept.

    A Jacobian at the last point evaluated comes out of the graph of that evaluation. Elsewhere the
    closure is run once more, counted as ``reload``.

    Args:
        runner: of the closure.
        loss: makes the cost of the residuals.
        rows: the residuals and their Jacobian, in vectors of this evaluator's kind.
        more: see :class:`Evaluator`.
    """

    def __init__(
        self,
        runner: ResidualRunner,
        *more: Any,
        loss: RobustLoss,
        rows: Rows[V],
        **keywords: Any,
    ) -> None:
        super().__init__(runner, *more, gradient=False, **keywords)
        self.loss, self._rows = loss, rows
        self.linearised: Linearised[V] | None = None
        self.when_leaving(rows.drop)

    @property
    def count(self) -> int | None:
        """How many residuals there are; None before the first run that gave some."""
        return self._rows.count

    @property
    def values(self) -> V | None:
        """The residuals at the parameters' point, a fresh vector; None where they are not known."""
        return self._rows.values

    def values_at(self, x: V) -> V | None:
        """The residuals at x; None where the closure gives none there."""
        if not self._same(x, self.x) or self._rows.values is None:
            self._reach_graph(x)
        return self._rows.values

    def linearise(self, x: V, *, matrix: bool = True) -> Linearised[V]:
        """Residuals, Jacobian and gradient at x, where the closure is run only if it must be.

        Args:
            matrix: take J; where False, the gradient alone, by one product.
        """
        known = self.linearised
        fits = known is not None and (known.jacobian is not None or not matrix)
        if fits and known is not None and self._same(x, known.x):
            return known
        if not self._reach_graph(x):
            return self._nowhere()
        found = self.guard.run("curvature", None, lambda: self._linearise(matrix))
        self.linearised = found
        return found

    def take(self, x: V, jacobian: Any) -> None:
        """Note the user's own Jacobian at x, dense or not, and the gradient that it makes."""
        residuals: Any = self.values_at(x)
        if residuals is None:
            return
        gradient: Any = np.asarray(jacobian.T @ self.loss.slopes(residuals)).reshape(-1)
        self.linearised = self._noted(None, gradient)

    def transposed_product(self, x: V, u: Any) -> V:
        """J(x)'u, a fresh vector."""
        if not self._reach_graph(x):
            return self.bridge.flatten([None] * len(self.bridge.params))
        return self.guard.run("curvature", None, lambda: self._rows.transposed_product(u))

    def product(self, x: V, v: V) -> V:
        """J(x) v, a fresh vector."""
        if not self._reach_graph(x):
            return self._all_nan()
        return self.guard.run("curvature", None, lambda: self._rows.product(v))

    def close(self) -> None:
        super().close()
        self.linearised = None

    def _reach_graph(self, x: V) -> bool:
        """Be at x with the graph of the residuals there; whether there is one."""
        if not self._same(x, self.x):
            self.load(x)
        if not self._rows.has_graph and (self.here is None or self.here.finite):
            self.profile.count("reload")
            loss: Loss = self.guard.run("closure", "closure", self._run)
            again = self._read(loss)
            if self.here is None:
                self.here = again
        return self._rows.has_graph

    def _linearise(self, matrix: bool) -> Linearised[V]:
        residuals: Any = self._rows.values
        slopes = self.loss.slopes(residuals)
        jacobian: Any = self._rows.matrix() if matrix else None
        with np.errstate(invalid="ignore", over="ignore"):  # which is looked at below
            gradient = slopes @ jacobian if matrix else self._rows.transposed_product(slopes)
        return self._noted(jacobian, gradient)

    def _noted(self, jacobian: Any, gradient: V) -> Linearised[V]:
        """What is known where the parameters are, with the gradient in ``.grad``."""
        # As .grad holds it, so that what is restored after a callback is the same.
        self.bridge.load_grads(gradient)
        gradient = self.bridge.flatten_grads()
        finite = _is_finite(gradient) and (jacobian is None or _is_finite(jacobian))
        if self.here is not None:
            self.here = self.here._replace(gradient=gradient)
        residuals: Any = self._rows.values
        return Linearised(self.x, residuals, jacobian, gradient, finite)

    def _nowhere(self) -> Linearised[V]:
        """Where the closure gives no residuals."""
        gradient: Any = self.bridge.flatten([None] * len(self.bridge.params))
        nan = self._all_nan()
        return Linearised(self.x, nan, None, gradient + math.nan, finite=False)

    def _all_nan(self) -> V:
        return self.space.as_vector([math.nan] * (self.count or 1))

    def _run(self) -> Loss:
        return self._rows.run()

    def _closure_call(self) -> None:
        """None: the closure is run for its residuals."""


def _is_finite(values: Any) -> bool:
    return bool(
        values.isfinite().all() if isinstance(values, Tensor) else np.isfinite(values).all()
    )
