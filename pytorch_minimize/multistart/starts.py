"""Where runs begin: what users state, as points of shape (S, n)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any, TypeAlias, TypeGuard

import numpy as np
from scipy.optimize import Bounds
from scipy.stats import qmc
from torch import Tensor

from ..bridge.interface import Bridge
from ..bridge.vectors import clip
from ..region.bounds import as_numbers
from ..region.search_box import check_box, layout
from ..typing import Array
from ..wording import listed, shown

__all__ = ["Starts", "check_starts", "is_number", "points_of"]

Points: TypeAlias = Any
Starts: TypeAlias = int | Points | Callable[[np.random.Generator], Points]
"""A number, points (S, n), or what makes points with a generator of random numbers."""

_EXPECTED = (
    "starts: expected a number of starts, flat points as a tensor, an array or a list of them, "
    "or a callable that returns points"
)


def is_number(starts: Starts) -> TypeGuard[int]:
    """Whether starts are to be drawn inside the bounds."""
    return isinstance(starts, Integral) and not isinstance(starts, bool)


def check_starts(starts: Starts, method: str, *, takes_bounds: bool) -> None:
    """Refuse what can be seen to be wrong without a model.

    Raises:
        TypeError: none of the forms.
        ValueError: no start, or a number for a method that takes no bounds to draw them in.
    """
    if is_number(starts):
        if starts < 1:
            raise ValueError(f"starts: expected at least 1, got {starts}")
        if starts > 1 and not takes_bounds:
            raise ValueError(
                f"starts: a number of starts is drawn inside the bounds, and {method} takes none; "
                f"give points, or a callable that returns points, or choose a method with bounds "
                f"such as L-BFGS-B"
            )
        return
    if isinstance(starts, (str, bytes, bool, float, Mapping)) or starts is None:
        raise TypeError(f"{_EXPECTED}; got {shown(starts)}")
    if not callable(starts) and not isinstance(starts, Iterable):
        raise TypeError(f"{_EXPECTED}; got {shown(starts)}")


def points_of(
    starts: Starts,
    rng: Any,
    bridge: Bridge,
    bounds: Bounds | None,
    groups: Sequence[Mapping[str, Any]],
) -> Array:
    """The points that runs begin from, shape (S, n), inside the bounds and as the model holds them.

    Args:
        starts: checked. A number S is the parameters' own values and S - 1 points of a scrambled
            Sobol sequence.
        rng: seed or generator, in scipy's forms.
        bridge: of the parameters.
        bounds: on the flat vector.
        groups: the optimizer's, for the names of parameters.

    Raises:
        TypeError, ValueError: points of another shape, not finite, or none; a number of them where
            a variable has no finite bounds.
    """
    if is_number(starts):
        drawn = _sobol(int(starts) - 1, rng, bridge, bounds, groups)
        points = np.vstack([bridge.flatten_params(), drawn])
    else:
        made = _sampled(starts, rng, bridge) if callable(starts) else _stated(starts, bridge)
        points = _inside(made, bounds)
    held = np.empty(points.shape)
    bridge.flatten_rows(bridge.unflatten_rows(points), held)
    return held


def _sampled(starts: Callable[[np.random.Generator], Points], rng: Any, bridge: Bridge) -> Array:
    """Points of the user's own; what that does to the parameters is undone."""
    own = bridge.flatten_params()
    try:
        return _stated(starts(np.random.default_rng(rng)), bridge)
    finally:
        bridge.load_params(own)


def _sobol(
    count: int,
    rng: Any,
    bridge: Bridge,
    bounds: Bounds | None,
    groups: Sequence[Mapping[str, Any]],
) -> Array:
    n = bridge.numel
    if not count:
        return np.empty((0, n))
    box = check_box(bounds, layout(groups, bridge.params), open_box=False)
    if n > qmc.Sobol.MAXDIM:
        raise ValueError(
            f"starts: Sobol points have at most {qmc.Sobol.MAXDIM} variables, and there are {n}; "
            f"give points, or a callable that returns points"
        )
    sobol = qmc.Sobol(n, rng=np.random.default_rng(rng))
    # A power of two is drawn, the first of which are taken: scipy warns of other numbers.
    unit = sobol.random_base2((count - 1).bit_length())[:count]
    return clip(box.lb + unit * (box.ub - box.lb), box)


def _stated(given: Any, bridge: Bridge) -> Array:
    """Points that the user gave or made, as an array (S, n)."""
    n = bridge.numel
    if isinstance(given, (Tensor, np.ndarray)):
        rows = [given] if given.ndim == 1 and n != 1 else list(given)
    elif isinstance(given, Iterable) and not isinstance(given, (str, bytes, Mapping)):
        rows = list(given)
    else:
        raise TypeError(f"{_EXPECTED}; got {shown(given)}")
    if not rows:
        raise ValueError("starts: expected at least one point, got none")
    points = np.empty((len(rows), n))
    for number, row in enumerate(rows):
        flat = as_numbers(row, f"start {number}", f"{n} numbers").reshape(-1)
        if flat.size != n:
            raise ValueError(
                f"starts: expected points of {n} variables, got {flat.size} in start {number}"
            )
        points[number] = flat
    spoilt = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if spoilt.size:
        raise ValueError(
            f"starts: expected finite points, got NaN or infinity in start {listed(spoilt)}"
        )
    return points


def _inside(points: Array, bounds: Bounds | None) -> Array:
    if bounds is None:
        return points
    inside = clip(points, bounds)
    outside = np.flatnonzero((inside != points).any(axis=1))
    if outside.size:
        warnings.warn(
            f"starts: {outside.size} of {len(points)} are outside the bounds (start "
            f"{listed(outside)}); they are moved to the nearest point inside",
            UserWarning,
            stacklevel=2,
        )
    return inside
