"""An objective that also answers for curvature: flat x -> H(x) v and H(x)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..bridge.vectors import as_vector, same_values
from ..curvature.double_backward import identity_rows, symmetrise
from ..curvature.positive_definite import shift_to_positive_definite
from ..curvature.strategies import Curvature
from ..typing import Array, Loss
from .objective import Evaluation, Objective

__all__ = ["CurvedObjective"]


class CurvedObjective(Objective):
    """:class:`Objective` with Hessians.

    Solvers ask for curvature at other points than the last evaluated one. At the iterate, after a
    trial point was rejected: x is loaded and the closure run again, counted as ``reload``. At a
    trial point, before its value (trust-exact): that run of the closure is then its evaluation.

    Where the value at x is not finite, or a product is not, the Hessian of |x|^2 / 2 stands in.

    Args:
        curvature: where the products come from.
        positive_definite: ``hess`` is shifted by a multiple of the identity where its Cholesky
            factorisation fails, and counted as ``shift``.
        keywords: see :class:`Objective`.
    """

    def __init__(
        self, *args: Any, curvature: Curvature, positive_definite: bool = False, **keywords: Any
    ) -> None:
        super().__init__(*args, **keywords)
        self.curvature = curvature
        self._positive_definite = positive_definite
        self._is_early = False

    def hessp(self, x: Array, v: Array, *args: Any) -> Array:
        """H(x) v, shape (n,); a fresh array."""
        # trust-constr probes with zero vectors of int8.
        v = as_vector(v)
        if v.any():
            product = self._curve("hessp", x, lambda: self.curvature.product(v), v.copy)
        else:
            self.profile.begin("bridge", "hessp")
            product = np.zeros_like(v)
        self.profile.begin("solver")
        return product

    def hess(self, x: Array, *args: Any) -> Array:
        """H(x), shape (n, n), symmetric; a fresh array."""
        n = self.bridge.numel
        hessian = self._curve(
            "hess", x, lambda: self.curvature.products(identity_rows(n), n), lambda: np.eye(n)
        )
        self.profile.begin("curvature")
        hessian = symmetrise(hessian)
        if self._positive_definite:
            hessian, shift = shift_to_positive_definite(hessian)
            self.profile.count("shift", int(shift > 0.0))
        self.profile.begin("solver")
        return hessian

    def _curve(
        self,
        what: str,
        x: Array,
        compute: Callable[[], tuple[Array, bool]],
        harmless: Callable[[], Array],
    ) -> Array:
        self.profile.begin("bridge", what)
        x = as_vector(x)
        if self.before_evaluation is not None:
            self.before_evaluation()
        if not same_values(x, self._x):
            self.profile.count("reload")
            self.load(x)
        if self._is_known_nonfinite:
            return harmless()
        self.blas.release()
        self.profile.begin("curvature")
        try:
            result, finite = compute()
        except BaseException as error:
            self.error = error
            raise
        finally:
            self.profile.begin("bridge")
            self.blas.hold()
        self._take_early()
        if self._is_known_nonfinite:
            return harmless()
        if not finite:
            self._note_nonfinite("a Hessian with NaN or inf", "that it is the identity")
            return harmless()
        return result

    def _take_early(self) -> None:
        """File the value and gradient of a run of the closure that a product asked for."""
        loss = self.curvature.value
        if loss is not None and self._here is None:
            self._take(loss)
            self._is_early = True

    def evaluate(self, x: Array) -> Evaluation:
        """As the base class does; a run that a product asked for counts now."""
        if self._is_early and self.is_at(as_vector(x)):
            self._is_early = False
            self.evaluations += 1
            self.profile.count("reload", -1)
        return super().evaluate(x)

    def _run(self) -> Loss:
        if not self.has_gradient:
            return super()._run()
        return self.curvature.evaluate()

    @property
    def _is_known_nonfinite(self) -> bool:
        return self._here is not None and not self._here.finite

    def _leave(self) -> None:
        super()._leave()
        self.curvature.drop()
        self._is_early = False
