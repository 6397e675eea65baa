"""Steps of a damped linear least-squares problem, for one matrix and many dampings."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Damped"]

# Of the Gram matrix, by the diagonal of its Cholesky factor; beyond it half of the digits are gone.
_ILL_CONDITIONED = 1e10


class Damped:
    r"""Solves :math:`\min_s |J s + r|^2 + \lambda |D s|^2` for one J.

    In the variables :math:`D s`, by a Cholesky factorisation of J'J or of JJ', whichever is
    smaller, to which the damping is added. Where that is too ill-conditioned, by a QR
    factorisation of J (or J') with the damping below it.

    Args:
        jacobian: J, of shape (m, n); not written to.
        lengths: D, of shape (n,), positive.
        held: variables that do not move, a mask of shape (n,); None for none.

    Attributes:
        factorised: how many times by QR.
    """

    def __init__(self, jacobian: Tensor, lengths: Tensor, held: Tensor | None = None) -> None:
        self._lengths, self._held = lengths, held
        self._matrix = jacobian / lengths
        if held is not None:
            self._matrix[:, held] = 0.0
        rows, columns = jacobian.shape
        self._tall = rows >= columns
        a = self._matrix
        self._gram = a.T @ a if self._tall else a @ a.T
        self.factorised = 0

    def step(self, residuals: Tensor, damping: float) -> Tensor:
        """s, of shape (n,)."""
        a = self._matrix
        scaled = self._normal(residuals, damping)
        if scaled is None:
            self.factorised += 1
            scaled = self._orthogonal(residuals, damping)
        found = scaled if self._tall else a.T @ scaled
        return -found / self._lengths

    def _normal(self, residuals: Tensor, damping: float) -> Tensor | None:
        """By Cholesky; None where that would lose too many digits."""
        gram = self._gram.clone()
        gram.diagonal().add_(damping)
        if self._tall and self._held is not None:
            gram.diagonal()[self._held] = 1.0
        factor, info = torch.linalg.cholesky_ex(gram)
        diagonal = factor.diagonal()
        ratio = (diagonal.amin() / diagonal.amax()) ** 2
        if info.item() or not ratio.item() * _ILL_CONDITIONED > 1.0:
            return None
        right = self._matrix.T @ residuals if self._tall else residuals
        found: Tensor = torch.cholesky_solve(right[:, None], factor)[:, 0]
        return found

    def _orthogonal(self, residuals: Tensor, damping: float) -> Tensor:
        """By QR."""
        a = self._matrix if self._tall else self._matrix.T
        below = torch.zeros(a.shape[1], a.shape[1], dtype=a.dtype, device=a.device)
        below.diagonal().fill_(max(damping, 1e-300) ** 0.5)
        q, r = torch.linalg.qr(torch.cat([a, below]))
        if self._tall:
            right = (q[: a.shape[0]].T @ residuals)[:, None]
            return _triangular(r, right)
        half = torch.linalg.solve_triangular(r.T, residuals[:, None], upper=False)
        return _triangular(r, half)


def _triangular(r: Tensor, right: Tensor) -> Tensor:
    found: Tensor = torch.linalg.solve_triangular(r, right, upper=True)[:, 0]
    return found
