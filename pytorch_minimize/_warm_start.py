"""The inverse Hessian that one BFGS run hands to the next."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

__all__ = ["usable_inverse"]

_logger = logging.getLogger("pytorch_minimize")


def usable_inverse(hess_inv: object, n: int) -> NDArray[np.float64] | None:
    """``hess_inv`` made symmetric, or None where BFGS would refuse it.

    BFGS checks ``hess_inv0`` for symmetry and by Cholesky; rounding in n^2 updates can cost it
    either. It is dropped as well where it is of another size.
    """
    if not isinstance(hess_inv, np.ndarray) or hess_inv.shape != (n, n):
        return None
    symmetric: NDArray[np.float64] = 0.5 * (hess_inv + hess_inv.T)
    if np.isfinite(symmetric).all() and _is_positive_definite(symmetric):
        return symmetric
    _logger.info("warm start: the last inverse Hessian is not positive definite; dropped")
    return None


def _is_positive_definite(symmetric: NDArray[np.float64]) -> bool:
    try:
        np.linalg.cholesky(symmetric)
    except np.linalg.LinAlgError:
        return False
    return True
