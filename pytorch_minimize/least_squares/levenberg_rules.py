"""How Levenberg-Marquardt runs, and what its statuses mean."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .losses import RobustLoss

__all__ = ["MESSAGES", "LevenbergRules"]

MESSAGES = {
    -3: "The residuals or the Jacobian at the start are not finite.",
    0: "The maximum number of function evaluations is exceeded.",
    1: "`gtol` termination condition is satisfied.",
    2: "`ftol` termination condition is satisfied.",
    3: "`xtol` termination condition is satisfied.",
    4: "Both `ftol` and `xtol` termination conditions are satisfied.",
}
"""As scipy's least_squares, with statuses of the same meaning."""


@dataclass(frozen=True)
class LevenbergRules:
    """How one run goes.

    Attributes:
        ftol, xtol, gtol: as scipy's; None does not test.
        x_scale: "jac", or the scale of each variable.
        max_nfev: evaluations at most; None for 100 n.
        damping: the first, in units of J'J's diagonal.
        geodesic: correct each step for the curvature along it, for one evaluation more.
        loss: of the residuals.
    """

    ftol: float | None = 1e-8
    xtol: float | None = 1e-8
    gtol: float | None = 1e-8
    x_scale: Any = "jac"
    max_nfev: int | None = None
    damping: float = 1e-3
    geodesic: bool = False
    loss: RobustLoss = field(default_factory=RobustLoss)
