"""An evaluator that also answers for curvature: H(x) v and H(x)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from typing_extensions import NamedTuple

from ..bridge.interface import V
from ..curvature.dense import symmetrise
from ..curvature.strategies import Curvature
from ..typing import Array, Loss
from .evaluation import Evaluation
from .evaluator import Evaluator

__all__ = ["Curved", "CurvedEvaluator"]

R = TypeVar("R")


class Curved(NamedTuple, Generic[R, V]):
    """What came of a request for curvature.

    Attributes:
        result: the product or the Hessian; None where it, or the loss there, is not finite.
        finite: whether it is, as far as it was computed.
        here: what the closure gave at that point, if that is known.
        scalars: what was measured of it, where that came over with the flag.
    """

    result: R | None
    finite: bool
    here: Evaluation[V] | None
    scalars: Sequence[float] = ()


class CurvedEvaluator(Evaluator[V]):
    """:class:`Evaluator` with Hessians.

    Solvers ask for curvature at other points than the last evaluated one. At the iterate, after a
    trial point was rejected: x is loaded and the closure run again, counted as ``reload``. At a
    trial point, before its value (trust-exact): that run of the closure is then its evaluation.

    Args:
        curvature: where the products come from.
        keywords: see :class:`Evaluator`.
    """

    def __init__(self, *args: Any, curvature: Curvature[V], **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.curvature = curvature
        self._is_early = False
        self.when_leaving(self._drop)

    def product(self, x: V, v: V, measure: Callable[[V], V] | None = None) -> Curved[V, V]:
        """H(x) v, shape (n,), a fresh vector.

        Args:
            measure: product -> scalars as a vector; called where to read a scalar is to wait for
                a device, so that they come over with whether the product is finite.
        """
        if not self.space.waits:
            return self._curve(x, lambda: self.curvature.product(v))
        scalars: list[float] = []

        def read() -> tuple[V, bool]:
            product, finite = self.curvature.product(v)
            is_finite, *scalars[:] = self.space.read_product(product, measure)
            return product, finite and bool(is_finite)

        return self._curve(x, read)._replace(scalars=scalars)

    def hessian(self, x: V) -> Curved[Array, V]:
        """H(x), shape (n, n), symmetric, a fresh array."""

        def whole() -> tuple[Array, bool]:
            hessian, finite = self.curvature.hessian()
            return symmetrise(hessian) if finite else hessian, finite

        return self._curve(x, whole)

    def _curve(self, x: V, compute: Callable[[], tuple[R, bool]]) -> Curved[R, V]:
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
