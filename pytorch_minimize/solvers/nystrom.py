"""A preconditioner from products with a few random vectors."""

from __future__ import annotations

from collections.abc import Generator
from typing import Generic

import torch
from torch import Tensor

from ..bridge.interface import V
from ..bridge.space import Space
from ..run.protocol import Answer, Product
from .conjugate import Precondition

__all__ = ["Nystrom"]

_EPS = torch.finfo(torch.float64).eps


class Nystrom(Generic[V]):
    r"""Preconditions by a randomised approximation of H of low rank, :math:`U \Lambda U^T`.

    .. math::
        P^{-1} = I + U \left((\lambda_r + \mu)(\Lambda + \mu I)^{-1} - I\right) U^T

    where :math:`\lambda_r` is the least eigenvalue found: H + mu I, its largest eigenvalues
    brought down to the size of the rest. Eigenvalues that are not positive are left alone.

    Args:
        space: what vectors are.
        rank: products that an approximation takes; n at most is of use.
        every: iterations after which :meth:`refresh` takes new ones.
        damping: mu.
        device: of the vectors; None for arrays.

    Attributes:
        products: so many were asked for.

    Sources: Frangella, Tropp and Udell, SIAM Journal on Matrix Analysis and Applications 44
    (2023), algorithm 2.1 and section 5; for Hessians that are indefinite Rathore, Lei, Frangella,
    Lu and Udell, Challenges in training PINNs (2024).
    """

    def __init__(
        self,
        space: Space[V],
        rank: int,
        every: int,
        damping: float,
        device: torch.device | None,
    ) -> None:
        self.products = 0
        self._space, self._every, self._damping = space, every, damping
        self._rank = rank
        self._device = torch.device("cpu") if device is None else device
        self._generator = torch.Generator(self._device).manual_seed(0)
        self._made_at: int | None = None
        self._rows: Tensor | None = None  # U', shape (r, n)
        self._weights: Tensor | None = None

    def refresh(self, nit: int, x: V) -> Generator[Product[V], Answer[V], None]:
        """A new approximation, at x, if it is time for one."""
        if self._made_at is not None and nit - self._made_at < self._every:
            return
        self._made_at = nit
        self._rows = self._weights = None
        n = self._space.size(x)
        tests = torch.randn(
            n,
            min(self._rank, n),
            generator=self._generator,
            dtype=torch.float64,
            device=self._device,
        )
        basis = torch.linalg.qr(tests).Q.T.contiguous()
        del tests
        products = torch.empty_like(basis)
        for row, product in zip(basis, products, strict=True):
            answer = yield Product(x, self._space.as_vector(row))
            product.copy_(torch.as_tensor(answer.gradient))
            self.products += 1
        self._rows, eigenvalues = _approximated(basis, products)
        if len(eigenvalues):
            shifted = eigenvalues + self._damping
            self._weights = shifted.min() / shifted - 1.0

    def as_precondition(self) -> Precondition[V] | None:
        """None where no eigenvalue is known that is positive."""
        return None if self._weights is None else self._applied

    def _applied(self, v: V) -> V:
        assert self._rows is not None
        assert self._weights is not None
        given = torch.as_tensor(v)
        inside = self._weights * (self._rows @ given)
        return self._space.as_vector(torch.addmv(given, self._rows.T, inside))


def _approximated(basis: Tensor, products: Tensor) -> tuple[Tensor, Tensor]:
    """U', shape (k, n), and the k eigenvalues that are positive, of H as its products show it.

    Args:
        basis: r orthonormal rows q.
        products: the rows H q.
    """
    core = basis @ products.T
    values, vectors = torch.linalg.eigh((core + core.T) / 2.0)
    # H shifted, so that what is taken for it is positive definite beyond rounding.
    rounding = _EPS * basis.shape[1] ** 0.5 * torch.linalg.matrix_norm(products)
    shift = rounding - values.min().clamp(max=0.0)
    roots = (values + shift).clamp(min=rounding).rsqrt()
    factor = roots[:, None] * (vectors.T @ (products + shift * basis))
    orthonormal, small = torch.linalg.qr(factor.T)
    left, singular, _ = torch.linalg.svd(small)
    eigenvalues = singular.square() - shift
    kept = eigenvalues > _EPS * eigenvalues.max()
    return left[:, kept].T @ orthonormal.T, eigenvalues[kept]
