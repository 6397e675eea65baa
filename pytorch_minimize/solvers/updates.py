r"""The formulas of the self-scaled Broyden family, as functions of a few scalars.

With :math:`s = x_+ - x`, :math:`y = g_+ - g` and :math:`w = H y`, every member is

.. math::
    H_+ = \tfrac{1}{\tau}\Big(H - \frac{w w^T}{y^T w} + \phi\, y^T w\, v v^T\Big)
          + \frac{s s^T}{s^T y}, \qquad v = \frac{s}{s^T y} - \frac{w}{y^T w}

and a change of rank two: :math:`H_+ = H/\tau + [s\, w]\, M\, [s\, w]^T`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["UPDATES", "RankTwo", "Update", "rank_two"]

# Below this a curvature pair tells nothing beyond what H knew, and theta does not matter.
_NOTHING_NEW = 1e-14


class Update(NamedTuple):
    """A member of the family at one pair: its scaling and its weight between DFP (0) and BFGS."""

    tau: float
    phi: float


class RankTwo(NamedTuple):
    """The update H / tau + [s w] M [s w]', M being symmetric."""

    tau: float
    ss: float
    sw: float
    ww: float


def rank_two(update: Update, sy: float, yhy: float) -> RankTwo:
    """An update as the change that it makes.

    Args:
        sy, yhy: s'y and y'w, both positive.

    Example:
        >>> rank_two(Update(1.0, 1.0), sy=2.0, yhy=4.0)
        RankTwo(tau=1.0, ss=1.5, sw=-0.5, ww=0.0)
    """
    tau, phi = update
    return RankTwo(
        tau=tau,
        ss=1.0 / sy + phi * yhy / (tau * sy * sy),
        sw=-phi / (tau * sy),
        ww=(phi - 1.0) / (tau * yhy),
    )


def bfgs(b: float, h: float, n: int) -> Update:
    return Update(1.0, 1.0)


def ssbfgs(b: float, h: float, n: int) -> Update:
    """BFGS, with what H knows scaled up where it is too small along the step.

    Source: Al-Baali, Numerical experience with a class of self-scaling quasi-Newton algorithms,
    Journal of Optimization Theory and Applications 96 (1998).
    """
    return Update(min(1.0, 1.0 / b), 1.0)


def oren_luenberger(b: float, h: float, n: int) -> Update:
    return Update(1.0 / b, 1.0)


@dataclass(frozen=True)
class _Range:
    """What theta is chosen from: the two bounds and the terms that they are made of."""

    low: float
    high: float
    a: float
    c: float


_Theta = Callable[[float, _Range], float]


def _theta_1(b: float, between: _Range) -> float:
    high = max(1.0, b * (1.0 + between.c))
    if b > 1.0:
        return max(between.low, 1.0 / (1.0 - b))
    return min(high, 1.0 / (1.0 - b)) if b < 1.0 else between.low


def _theta_2(b: float, between: _Range) -> float:
    return max(between.low, min(between.high, (1.0 - b) / b))


def _theta_3(b: float, between: _Range) -> float:
    return between.low


def _ssbroyden(choose: _Theta) -> Callable[[float, float, int], Update]:
    def update(b: float, h: float, n: int) -> Update:
        a = max(b * h - 1.0, 0.0)
        theta = 0.0
        if a >= _NOTHING_NEW:
            c = math.sqrt(a / (1.0 + a))
            least = min(1.0, h * (1.0 - c))
            theta = choose(b, _Range((least - 1.0) / a, 1.0 / least, a, c))
        sigma = 1.0 + theta * a
        r = min(1.0, 1.0 / b)
        # Of one variable there is only one update.
        q = sigma ** (1.0 / (1.0 - n)) if n > 1 else 1.0
        tau = min(r * q, sigma) if theta <= 0.0 else r * min(q, 1.0 / theta)
        return Update(tau, (1.0 - theta) / sigma)

    return update


UPDATES: dict[str, Callable[[float, float, int], Update]] = {
    "BFGS": bfgs,
    "SSBFGS": ssbfgs,
    "Oren-Luenberger": oren_luenberger,
    "SSBroyden-1": _ssbroyden(_theta_1),
    "SSBroyden-2": _ssbroyden(_theta_2),
    "SSBroyden-3": _ssbroyden(_theta_3),
}
r"""Name -> function of :math:`b = s^T B s / s^T y`, :math:`h = y^T H y / s^T y` and n.

Source: Al-Baali's ranges of theta and tau as in Urban, Stefanou and Pons, Unveiling the
optimization process of physics informed neural networks, Journal of Computational Physics (2025).
"""
