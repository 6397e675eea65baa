"""The inverse Hessian that one quasi-Newton run hands to the next."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..bridge.variables import Variables

__all__ = ["InverseHessian"]

_logger = logging.getLogger("pytorch_minimize")


@dataclass(frozen=True, eq=False)
class InverseHessian:
    """An inverse Hessian as a run left it, and the variables that it is of.

    Attributes:
        variables: those of the run.
        matrix: shape (n, n), float64, symmetric up to rounding.
    """

    variables: Variables
    matrix: NDArray[np.float64]

    @classmethod
    def of(cls, hess_inv: object, params: Iterable[Tensor]) -> InverseHessian | None:
        """From a solver's result; None where it is no matrix."""
        if not isinstance(hess_inv, np.ndarray):
            return None
        return cls(Variables.of(params), hess_inv)

    def usable(self, params: Iterable[Tensor]) -> NDArray[np.float64] | None:
        """For a run over ``params``, made symmetric; None where BFGS would refuse it.

        BFGS checks ``hess_inv0`` for symmetry and by Cholesky; rounding in n^2 updates can cost it
        either. It is dropped as well where it is of other variables.
        """
        if not self.variables.are(Variables.of(params)):
            return None
        symmetric = self._symmetric()
        if np.isfinite(symmetric).all() and _is_positive_definite(symmetric):
            return symmetric
        _logger.info("warm start: the last inverse Hessian is not positive definite; dropped")
        return None

    def as_saved(self, variables: Variables) -> dict[str, Tensor]:
        """For a state whose best point is of these variables; nothing if it is of others."""
        if not self.variables.are(variables):
            return {}
        return {"hess_inv": torch.from_numpy(self._symmetric())}

    def _symmetric(self) -> NDArray[np.float64]:
        """What is symmetric of it, a new array."""
        half: NDArray[np.float64] = 0.5 * (self.matrix + self.matrix.T)
        return half


def _is_positive_definite(symmetric: NDArray[np.float64]) -> bool:
    try:
        np.linalg.cholesky(symmetric)
    except np.linalg.LinAlgError:
        return False
    return True
