"""Products with the Gauss-Newton matrix of a closure of residuals, in the place of the Hessian."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Generic

import numpy as np
import torch
from torch import Tensor

from ..bridge.interface import Bridge, V
from ..curvature.dense import identity_rows
from ..distributed.rows import Rows
from ..problem.curved import CurvedEvaluator
from ..record.profile import Profile
from ..typing import Array, Loss
from .jacobian import ResidualJacobian
from .losses import RobustLoss, Weighted
from .residuals import ResidualRunner

__all__ = ["GaussNewton", "GaussNewtonEvaluator"]


class GaussNewton(Generic[V]):
    r""":math:`v \mapsto J^T W J v`, with the weights W of a robust loss; no matrix is made.

    It is what a Newton method takes for the Hessian of the cost: positive semidefinite, and close
    to it where the residuals are small or nearly linear.

    Args:
        runner: of the closure.
        bridge: of the solver's vectors.
        jacobian: takes products out of the graph.
        loss: makes the cost.
        profile: runs of the closure are charged to ``closure``.

    Attributes:
        value: see :class:`~pytorch_minimize.curvature.strategies.Curvature`.
    """

    def __init__(
        self,
        runner: ResidualRunner,
        bridge: Bridge[V],
        jacobian: ResidualJacobian[V],
        loss: RobustLoss,
        profile: Profile,
    ) -> None:
        assert runner.residuals is not None
        self._runner, self._bridge = runner, bridge
        self._jacobian, self._loss, self._profile = jacobian, loss, profile
        self._closure = runner.residuals
        self._evaluated = False
        self._weighted: Weighted[Tensor] | None = None
        self.value: Loss | None = None

    def evaluate(self) -> Loss:
        """Run the closure: the cost, and the gradient in ``.grad``."""
        self._evaluated = True
        self._closure.measure = partial(_cost, self._loss)  # which does not hold this object
        loss = self._runner.value()
        flat = self._closure.flat
        if flat is None or not math.isfinite(loss):
            return math.nan if flat is None else loss
        residuals = flat.detach()
        self._weighted = self._loss.weighted(residuals)
        slopes = residuals if self._weighted is None else self._weighted.slopes * residuals
        self._bridge.load_grads(self._jacobian.transposed_product(flat, slopes))
        return loss

    def product(self, v: V) -> tuple[V, bool]:
        """J'WJ v, a fresh vector, and whether it is finite."""
        flat = self._graph()
        if flat is None:
            return v, False
        image = self._jacobian.product(flat, v)
        if self._weighted is not None:
            image = image * self._weighted.scale**2
        product: Any = self._jacobian.transposed_product(flat, image)
        finite = product.isfinite() if isinstance(product, Tensor) else np.isfinite(product)
        return product, bool(finite.all())

    def hessian(self) -> tuple[Array, bool]:
        """J'WJ, shape (n, n), and whether all of it is finite."""
        n = self._bridge.numel
        found = [self.product(row) for row in identity_rows(n)(0, n)]
        return np.stack([np.asarray(row) for row, _ in found]), all(ok for _, ok in found)

    def _graph(self) -> Tensor | None:
        """Of the residuals where the parameters are; the closure is run if it must be."""
        if self._closure.flat is None and not self._evaluated:
            self._profile.begin("closure", "closure")
            self.value = self.evaluate()
            self._profile.begin("curvature")
        return self._closure.flat

    def drop(self) -> None:
        """The parameters change: let go of what belongs to this point."""
        self._closure.flat = self._weighted = self.value = None
        self._evaluated = False
        self._jacobian.drop()


class GaussNewtonEvaluator(CurvedEvaluator[V]):
    """:class:`CurvedEvaluator` of a closure of residuals, which are looked at where a run ends.

    Args:
        rows: the residuals.
        loss: makes the cost of them.
        keywords: see :class:`CurvedEvaluator`.
    """

    def __init__(self, *args: Any, rows: Rows[V], loss: RobustLoss, **keywords: Any) -> None:
        super().__init__(*args, gradient=True, **keywords)
        self._rows, self._loss = rows, loss
        self.when_leaving(rows.drop)

    def residuals_at(self, x: V) -> V | None:
        """The residuals at x, and the gradient in ``.grad``; None where there are none."""
        if x is not self.x:
            self.load_point(x)
        rows = self._rows
        if not rows.has_graph and (self.here is None or self.here.finite):
            self.guard.run("closure", "closure", rows.run)
        residuals = rows.values
        if self.here is None and residuals is not None and rows.has_graph:
            slopes = self._loss.slopes(residuals)
            product = rows.transposed_product
            self.set_grads(self.guard.run("curvature", None, lambda: product(slopes)))
        return residuals


def _cost(loss: RobustLoss, flat: Tensor) -> float:
    return float(loss.cost(flat.detach().to(torch.float64)))
