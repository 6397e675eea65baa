"""An evaluator of residuals: where the parameters are, and r and J there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Generic

import numpy as np
import torch
from torch import Tensor

from ..bridge.interface import V
from ..problem.evaluator import Evaluator
from ..typing import Loss
from .jacobian import ResidualJacobian
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
        jacobian: takes Jacobians out of graphs; of vectors of this evaluator's kind.
        more: see :class:`Evaluator`.
    """

    def __init__(
        self,
        runner: ResidualRunner,
        *more: Any,
        loss: RobustLoss,
        jacobian: ResidualJacobian[V],
        **keywords: Any,
    ) -> None:
        super().__init__(runner, *more, gradient=False, **keywords)
        assert runner.residuals is not None
        self.jacobian = jacobian
        self.loss, self._closure = loss, runner.residuals
        self._closure.measure = self._measure
        self._values: V | None = None
        self.linearised: Linearised[V] | None = None
        self.when_leaving(self._drop)

    @property
    def count(self) -> int | None:
        """How many residuals there are; None before the first run that gave some."""
        return self._closure.count

    @property
    def values(self) -> V | None:
        """The residuals at the parameters' point, a fresh vector; None where they are not known."""
        return self._values

    def linearise(self, x: V, *, matrix: bool = True) -> Linearised[V]:
        """Residuals, Jacobian and gradient at x, where the closure is run only if it must be.

        Args:
            matrix: take J; where False, the gradient alone, by one product.
        """
        known = self.linearised
        fits = known is not None and (known.jacobian is not None or not matrix)
        if fits and known is not None and self._same(x, known.x):
            return known
        flat = self.graph_at(x)
        if flat is None or self._values is None:
            return self._nowhere()
        found = self.guard.run("curvature", None, lambda: self._linearise(flat, matrix))
        self.linearised = found
        return found

    def take(self, x: V, jacobian: Any) -> None:
        """Note the user's own Jacobian at x, dense or not, and the gradient that it makes."""
        if not self._same(x, self.x) or self._values is None:
            self.graph_at(x)
        residuals: Any = self._values
        if residuals is None:
            return
        weighted = self.loss.weighted(residuals)
        slopes = residuals if weighted is None else weighted.slopes * residuals
        gradient: Any = np.asarray(jacobian.T @ slopes).reshape(-1)
        self.linearised = self._noted(None, gradient)

    def graph_at(self, x: V) -> Tensor | None:
        """The residuals at x with their graph; None where the closure gives none there."""
        if not self._same(x, self.x):
            self.load(x)
        if self._closure.flat is None and (self.here is None or self.here.finite):
            self.profile.count("reload")
            loss: Loss = self.guard.run("closure", "closure", self._run)
            again = self._read(loss)
            if self.here is None:
                self.here = again
        return self._closure.flat

    def transposed_product(self, x: V, u: Any) -> V:
        """J(x)'u, a fresh vector."""
        flat = self.graph_at(x)
        return self.guard.run("curvature", None, lambda: self._transposed(flat, u))

    def product(self, x: V, v: V) -> V:
        """J(x) v, a fresh vector."""
        flat = self.graph_at(x)
        if flat is None:
            return self._all_nan()
        return self.guard.run(
            "curvature", None, lambda: self._as_vector(self.jacobian.product(flat, v))
        )

    def close(self) -> None:
        super().close()
        self._closure.measure = lambda flat: math.nan  # which holds the evaluator
        self._drop()
        self.linearised = None

    def _linearise(self, flat: Tensor, matrix: bool) -> Linearised[V]:
        residuals: Any = self._values
        weighted = self.loss.weighted(residuals)
        slopes = residuals if weighted is None else weighted.slopes * residuals
        jacobian: Any = self.jacobian.matrix(flat) if matrix else None
        with np.errstate(invalid="ignore", over="ignore"):  # which is looked at below
            gradient = slopes @ jacobian if matrix else self._transposed(flat, slopes)
        if matrix:  # the graph has done its duty, and its memory is the solver's now
            self._closure.flat = None
        return self._noted(jacobian, gradient)

    def _noted(self, jacobian: Any, gradient: V) -> Linearised[V]:
        """What is known where the parameters are, with the gradient in ``.grad``."""
        # As .grad holds it, so that what is restored after a callback is the same.
        self.bridge.load_grads(gradient)
        gradient = self.bridge.flatten_grads()
        finite = _is_finite(gradient) and (jacobian is None or _is_finite(jacobian))
        if self.here is not None:
            self.here = self.here._replace(gradient=gradient)
        residuals: Any = self._values
        return Linearised(self.x, residuals, jacobian, gradient, finite)

    def _transposed(self, flat: Tensor | None, u: Any) -> V:
        if flat is None:
            return self.bridge.flatten([None] * len(self.bridge.params))
        return self.jacobian.transposed_product(flat, torch.as_tensor(u))

    def _nowhere(self) -> Linearised[V]:
        """Where the closure gives no residuals."""
        gradient: Any = self.bridge.flatten([None] * len(self.bridge.params))
        nan = self._all_nan()
        return Linearised(self.x, nan, None, gradient + math.nan, finite=False)

    def _all_nan(self) -> V:
        return self.space.as_vector([math.nan] * (self.count or 1))

    def _measure(self, flat: Tensor) -> float:
        values = self._as_vector(flat)
        self._values = values
        return float(self.loss.cost(values))

    def _as_vector(self, flat: Tensor) -> V:
        """A fresh vector of float64, where the solver's are."""
        like: Any = self.x
        if isinstance(like, Tensor):
            vector: Any = flat.detach().to(like, copy=True)
        else:
            vector = flat.detach().to("cpu", torch.float64, copy=True).numpy()
        found: V = vector
        return found

    def _run(self) -> Loss:
        self._values = None
        return super()._run()

    def _closure_call(self) -> None:
        """None: the closure is run for its residuals."""

    def _drop(self) -> None:
        self._closure.flat = None
        self._values = None
        self.jacobian.drop()


def _is_finite(values: Any) -> bool:
    return bool(
        values.isfinite().all() if isinstance(values, Tensor) else np.isfinite(values).all()
    )
