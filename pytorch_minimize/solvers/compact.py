r"""The inverse form of limited memory in small matrices, from inner products of the pairs alone.

With the columns of S and Y from the oldest pair to the newest, R the upper triangle of S'Y and D
its diagonal,

.. math::
    H g = \gamma g + S c_s + Y c_y, \qquad u = R^{-1} S^T g, \quad
    c_s = R^{-T} \big((D + \gamma Y^T Y) u - \gamma Y^T g\big), \quad c_y = -\gamma u

Source: Byrd, Nocedal and Schnabel, Representations of quasi-Newton matrices and their use in
limited memory methods, Mathematical Programming 63 (1994), equation 3.13.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

import numpy as np
from scipy.linalg.lapack import dtrtrs

from ..extension import native
from ..typing import Array

__all__ = ["Compact", "NativeCompact", "Weights", "compact_of"]


_NOT_FINITE = "the pairs of limited memory are not finite"


class Weights(NamedTuple):
    """H g = gamma g + S c_s + Y c_y.

    Attributes:
        gamma: of g.
        rows: shape (2 k,), of s and y of slot 0, s and y of slot 1, and so on.
        along: c_s'S'g + c_y'Y'g, which g'H g has besides gamma g'g.
    """

    gamma: float
    rows: Array
    along: float


class Compact:
    r"""The inner products of up to m pairs, each of which has a slot; in numpy.

    Args:
        m: slots.
        scales: whether each pair scales what was known before it, as dense self-scaled BFGS does:
            by :math:`1/\tau_i`. This is plain limited memory on the pairs
            :math:`\sqrt{c_i} s_i, y_i / \sqrt{c_i}` with :math:`c_i = \prod_{j>i} 1/\tau_j`, from
            :math:`\gamma \prod_j 1/\tau_j` times I.

    Attributes:
        order: slots of the pairs that there are, from the oldest to the newest.
        gamma: s'y / y'y of the newest pair.

    Example:
        >>> compact = Compact(m=5)
        >>> compact.add([], [], sy=1.0, yy=4.0)
        >>> compact.weights([1.0, 2.0]).gamma
        0.25
    """

    def __init__(self, m: int, *, scales: bool = False) -> None:
        self.m, self._scales = m, scales
        self._sy, self._yy = np.zeros((m, m)), np.zeros((m, m))
        self._tau = np.ones(m)
        self.clear()

    def clear(self) -> None:
        """Forget all pairs."""
        self.order: list[int] = []
        self.gamma = 1.0

    def __len__(self) -> int:
        return len(self.order)

    @property
    def slot(self) -> int:
        """Where the next pair goes: the oldest one's where none is free."""
        return len(self.order) if len(self.order) < self.m else self.order[0]

    def add(
        self,
        with_s: Sequence[float],
        with_y: Sequence[float],
        sy: float,
        yy: float,
        tau: float = 1.0,
    ) -> None:
        """Take in a pair, in :attr:`slot`.

        Args:
            with_s, with_y: s_i'y and y_i'y for all slots i in use.
            sy, yy: s'y > 0 and y'y.
            tau: by which what is known besides is divided, if it is.
        """
        slot, k = self.slot, len(self.order)
        self.order = [*(self.order if k < self.m else self.order[1:]), slot]
        self._sy[:k, slot] = with_s
        self._yy[:k, slot] = self._yy[slot, :k] = with_y
        self._sy[slot, slot], self._yy[slot, slot] = sy, yy
        self._tau[slot] = tau
        self.gamma = sy / yy

    @np.errstate(all="ignore")  # what is not finite is looked for at the end
    def weights(self, products: Sequence[float]) -> Weights:
        """What H g is made of.

        Args:
            products: s_0'g, y_0'g, s_1'g and so on, by slots.

        Raises:
            ArithmeticError: it is not finite.
        """
        if not self.order:
            return Weights(1.0, np.zeros(0), 0.0)
        at = np.array(self.order)
        sg, yg = np.reshape(products, (-1, 2))[at].T
        across = at[:, None]  # a fifth of the time of np.ix_
        sy, yy = self._sy[across, at], self._yy[across, at]
        gamma, lengths = self.gamma, None
        if self._scales:
            gamma, lengths = self._scaled(at)
            sy, yy = sy * (lengths[:, None] / lengths), yy / np.outer(lengths, lengths)
            sg, yg = sg * lengths, yg / lengths
        u, _ = dtrtrs(sy, sg)  # reads what is on and above the diagonal
        c_s, _ = dtrtrs(sy, sy.diagonal() * u + gamma * (yy @ u - yg), trans=1)
        c_y = -gamma * u
        along = float(c_s @ sg + c_y @ yg)
        if lengths is not None:
            c_s, c_y = c_s * lengths, c_y / lengths
        rows = np.empty(2 * len(at))
        rows[2 * at], rows[2 * at + 1] = c_s, c_y
        return self._checked(Weights(gamma, rows, along))

    @np.errstate(all="ignore")
    def reduced(self, full: Array, free: Array, products: Array) -> Weights:
        r"""What :math:`(B_{FF})^{-1} g_F` is made of, B being the inverse of H, F free.

        With theta = 1 / gamma, W = [Y, theta S] and L the part of S'Y below its diagonal,

        .. math::
            (B_{FF})^{-1} = \tfrac{1}{\theta} I + \tfrac{1}{\theta^2} W_F N^{-1} W_F^T, \qquad
            N = \begin{pmatrix} -D & L^T \\ L & \theta S^T S \end{pmatrix}
                - \tfrac{1}{\theta} W_F^T W_F

        Args:
            full, free: shape (2 k, 2 k), inner products of all rows, over all variables and over
                the free ones.
            products: as of :meth:`weights`, over the free ones.

        Raises:
            ArithmeticError: it is not finite.

        Source: Byrd, Lu, Nocedal and Zhu, A limited memory algorithm for bound constrained
        optimization, SIAM Journal on Scientific Computing 16 (1995).
        """
        at = np.array(self.order)
        gamma, lengths = self._scaled(at) if self._scales else (self.gamma, np.ones(len(at)))
        theta = 1.0 / gamma
        places = np.concatenate([2 * at + 1, 2 * at])
        units = np.concatenate([1.0 / lengths, theta * lengths])
        full, free = (g[np.ix_(places, places)] * np.outer(units, units) for g in (full, free))
        k = len(at)
        ys = full[:k, k:] / theta
        middle = np.block(
            [[-np.diag(ys.diagonal()), np.triu(ys, 1)], [np.tril(ys.T, -1), full[k:, k:] / theta]]
        )
        v = units * products[places]
        try:
            solution = np.linalg.solve(middle - free / theta, v) / theta**2
        except np.linalg.LinAlgError as error:
            raise ArithmeticError("the pairs of limited memory are singular") from error
        rows = np.empty(2 * k)
        rows[places] = units * solution
        return self._checked(Weights(gamma, rows, float(solution @ v)))

    @staticmethod
    def _checked(weights: Weights) -> Weights:
        finite = math.isfinite(weights.along) and math.isfinite(weights.gamma)
        if not (finite and np.isfinite(weights.rows).all()):
            raise ArithmeticError(_NOT_FINITE)
        return weights

    def _scaled(self, at: Array) -> tuple[float, Array]:
        """The first scale, and the square roots of c."""
        after = np.cumprod(1.0 / self._tau[at][::-1])[::-1]
        return float(self.gamma * after[0]), np.sqrt(np.append(after[1:], 1.0))


class NativeCompact(Compact):
    """In C++, where the small matrices cost no more than they weigh; by tests as the other.

    Args:
        m, scales: see :class:`Compact`.
        library: the extension.
    """

    def __init__(self, m: int, *, scales: bool, library: ModuleType) -> None:
        super().__init__(m, scales=scales)
        self._weights = library.pair_weights

    def weights(self, products: Sequence[float]) -> Weights:
        tau = self._tau if self._scales else None
        gamma, rows, along = self._weights(
            self._sy, self._yy, tau, self.order, self.gamma, products
        )
        if not math.isfinite(along):
            raise ArithmeticError(_NOT_FINITE)
        return Weights(gamma, rows, along)


def compact_of(m: int, *, scales: bool = False) -> Compact:
    """The one in C++, unless PYTORCH_MINIMIZE_BRIDGE asks for Python."""
    if native is None:
        return Compact(m, scales=scales)
    return NativeCompact(m, scales=scales, library=native)
