"""An evaluator that also answers for curvature: H(x) v and H(x)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic

from typing_extensions import NamedTuple

from ..bridge.interface import V
from ..curvature.double_backward import identity_rows, symmetrise
from ..curvature.strategies import Curvature
from ..typing import Array, Loss
from .evaluator import Evaluation, Evaluator

__all__ = ["Curved", "CurvedEvaluator"]


class Curved(NamedTuple, Generic[V]):
    """What came of a request for curvature.

    Attributes:
        result: the product or the Hessian; None where it, or the loss there, is not finite.
        finite: whether it is, as far as it was computed.
        here: what the closure gave at that point, if that is known.
    """

    result: Array | None
    finite: bool
    here: Evaluation[V] | None


class CurvedEvaluator(Evaluator[V]):
    """:class:`Evaluator` with Hessians.

    Solvers ask for curvature at other points than the last evaluated one. At the iterate, after a
    trial point was rejected: x is loaded and the closure run again, counted as ``reload``. At a
    trial point, before its value (trust-exact): that run of the closure is then its evaluation.

    Args:
        curvature: where the products come from.
        keywords: see :class:`Evaluator`.
    """

    def __init__(self, *args: Any, curvature: Curvature, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.curvature = curvature
        self._is_early = False
        self.when_leaving(self._drop)

    def product(self, x: V, v: Array) -> Curved[V]:
        """H(x) v, shape (n,), a fresh vector."""
        return self._curve(x, lambda: self.curvature.product(v))

    def hessian(self, x: V) -> Curved[V]:
        """H(x), shape (n, n), symmetric, a fresh array."""
        n = self.bridge.numel

        def rows() -> tuple[Array, bool]:
            hessian, finite = self.curvature.products(identity_rows(n), n)
            return symmetrise(hessian) if finite else hessian, finite

        return self._curve(x, rows)

    def _curve(self, x: V, compute: Callable[[], tuple[Array, bool]]) -> Curved[V]:
        if not self._same(x, self.x):
            self.load(x)
        if self.here is not None and not self.here.finite:
            return Curved(None, True, self.here)
        result, finite = self.guard.run("curvature", None, compute)
        loss = self.curvature.value
        if loss is not None and self.here is None:
            # A run of the closure that was needed for this: its value and gradient are kept.
            self.here = self._read(loss)
            self._is_early = True
            self.profile.count("reload")
            if not self.here.finite:
                return Curved(None, True, self.here)
        return Curved(result if finite else None, finite, self.here)

    def evaluate(
        self,
        x: V,
        permit: Callable[[], None] | None = None,
        measure: Callable[[V], V] | None = None,
    ) -> Evaluation[V]:
        """As the base class does; a run that a product asked for counts now."""
        if self._is_early and self._same(x, self.x):
            self._is_early = False
            self.evaluations += 1
            self.profile.count("reload", -1)
        return super().evaluate(x, permit, measure)

    def _closure_call(self) -> None:
        """None: the closure is run for its graph, too."""

    def _run(self) -> Loss:
        return self.curvature.evaluate() if self.has_gradient else super()._run()

    def _drop(self) -> None:
        self.curvature.drop()
        self._is_early = False
