"""The covariance of fitted parameters."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ..bridge.interface import Bridge
from ..bridge.layout import parameter_slices
from ..typing import Array

__all__ = ["Covariance", "covariance_of"]


@dataclass(frozen=True, eq=False)
class Covariance:
    r"""What the residuals say of how well the parameters are known.

    Attributes:
        matrix: :math:`s^2 (J^T J)^{-1}`, of shape (n, n), over the flat vector.
        variance: s^2, the sum of squares over the degrees of freedom m - n; 1 where the residuals
            were told to be in units of their errors.
        errors: standard errors, the square roots of the diagonal, of shape (n,).
        standard_errors: the same, one tensor for each parameter, of its shape; for a complex one
            those of the real and of the imaginary part.
        blocks: the part of ``matrix`` of each parameter alone, in its own order of elements.
        rank: of J, by the singular values that were not cut off.
    """

    matrix: Array
    variance: float
    errors: Array
    standard_errors: list[Tensor]
    blocks: list[Array]
    rank: int


def covariance_of(jacobian: Array, cost: float, bridge: Bridge, *, absolute: bool) -> Covariance:
    """The covariance at a solution.

    Singular values of J below eps max(m, n) times the largest count as zero, and what belongs to
    them is left out, as :func:`scipy.optimize.curve_fit` does. With no more residuals than
    variables s^2 is not known, and the matrix is infinite, with a warning.

    Args:
        jacobian: J, of shape (m, n).
        cost: half the sum of squares there.
        bridge: of the parameters.
        absolute: take s^2 = 1.
    """
    m, n = jacobian.shape
    _, singular, vt = np.linalg.svd(jacobian, full_matrices=False)
    kept = singular > np.finfo(np.float64).eps * max(m, n) * singular[0]
    singular, vt = singular[kept], vt[kept]
    variance = 1.0 if absolute else 2.0 * cost / (m - n) if m > n else math.inf
    if math.isinf(variance):
        warnings.warn(
            f"covariance: there are {m} residuals and {n} variables, so that the variance of the "
            f"residuals is not known; the covariance is infinite. absolute=True takes it to be 1.",
            RuntimeWarning,
            stacklevel=3,
        )
        matrix = np.full((n, n), math.inf)
    else:
        matrix = (vt.T / singular**2) @ vt * variance
    errors = np.sqrt(np.diag(matrix))
    return Covariance(
        matrix,
        variance,
        errors,
        bridge.unflatten(errors),
        [matrix[place, place] for place in parameter_slices(bridge.params)],
        int(kept.sum()),
    )
