"""The nearest Hessian, on the line H + shift I, that a Cholesky factorisation accepts."""

from __future__ import annotations

import numpy as np
import scipy.linalg

from ..typing import Array

__all__ = ["shift_to_positive_definite"]

# Where H is zero, so that a gradient over the shift, and its square, stay finite.
_LEAST_SCALE = 1e-84


def shift_to_positive_definite(hessian: Array) -> tuple[Array, float]:
    r"""H + s I with the smallest s >= 0 for which Cholesky passes, up to rounding.

    Args:
        hessian: symmetric, shape (n, n).

    Returns:
        ``hessian`` itself and 0 if Cholesky passes, else a new matrix and s, a few roundings
        above -lambda_min.

    Example:
        >>> shifted, s = shift_to_positive_definite(np.diag([2.0, -1.0]))
        >>> round(s, 9)
        1.0
        >>> shift_to_positive_definite(np.eye(2))[1]
        0.0
    """
    if _passes_cholesky(hessian):
        return hessian, 0.0
    eigenvalues = np.linalg.eigvalsh(hessian)
    scale = max(float(np.abs(eigenvalues).max()), _LEAST_SCALE)
    rounding = float(np.finfo(np.float64).eps) * scale
    shift = -float(eigenvalues[0])
    while True:
        shift += rounding
        shifted = hessian + shift * np.eye(len(hessian))
        if _passes_cholesky(shifted):
            return shifted, shift
        rounding *= 2.0


def _passes_cholesky(matrix: Array) -> bool:
    """By the call that dogleg makes, since another factorisation may round differently."""
    try:
        scipy.linalg.cho_factor(matrix)
    except np.linalg.LinAlgError:
        return False
    return True
