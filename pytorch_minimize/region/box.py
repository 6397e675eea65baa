"""What bounds mean for a run: where it starts, and variables that they fix."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NoReturn

import numpy as np
import torch
from scipy.optimize import Bounds
from torch import Tensor

from ..bridge.interface import Bridge
from ..bridge.layout import reals
from ..bridge.vectors import clip
from ..typing import Array

__all__ = ["completer", "is_fixed", "start_within"]

# Wider than what COBYLA takes for equal, some hundred roundings.
_AS_GOOD_AS_EQUAL = 1e-10


# From a start that is nearer to a bound than this trust-constr, kept strictly inside, does not move
# (measured: 1e-8 stalls, 1e-6 does not); such a start is put so far inside. Of the width, or of 1.
_ON_THE_BOUND, _INSIDE = 1e-6, 1e-3


def start_within(bridge: Bridge, bounds: Bounds | None, *, strictly: bool = False) -> None:
    """Move the parameters into the bounds, with one warning, where they are not.

    Args:
        bridge: of the parameters.
        bounds: on the flat vector; None for none.
        strictly: where the bounds have ``keep_feasible``, not onto them but to their inside.

    Raises:
        ValueError: a parameter holds NaN or inf, from where no method finds back.
    """
    x = bridge.flatten_params()
    if not np.isfinite(x).all():
        _refuse_start(bridge)
    if bounds is None:
        return
    nearest = clip(x, bounds)
    inside = _strictly(nearest, bounds) if strictly else nearest
    distance = np.abs(inside - x)
    if not distance.any():
        return
    # A parameter set to its bound is outside by one rounding of its dtype; no cause to warn.
    distance = np.abs(nearest - x)
    rounding = np.concatenate([np.full(reals(p), _rounding(p)) for p in bridge.params])
    outside = int((distance > rounding * np.abs(inside)).sum())
    if outside:
        warnings.warn(
            f"the start is outside the bounds in {outside} of {x.size} variables; it is moved to "
            f"the nearest point inside",
            UserWarning,
            stacklevel=2,
        )
    bridge.load_params(inside)


def _strictly(x: Array, bounds: Bounds) -> Array:
    """x, where it is on bounds that must be kept strictly, a little inside of them."""
    low, high = bounds.lb, bounds.ub
    width = np.minimum(high - low, 1.0)
    kept = np.broadcast_to(bounds.keep_feasible, x.shape) & (width > 0.0)
    x = np.where(kept & (x - low < _ON_THE_BOUND * width), low + _INSIDE * width, x)
    return np.where(kept & (high - x < _ON_THE_BOUND * width), high - _INSIDE * width, x)


def _refuse_start(bridge: Bridge) -> NoReturn:
    spoilt = [i for i, p in enumerate(bridge.params) if not torch.isfinite(p).all()]
    shape = tuple(bridge.params[spoilt[0]].shape)
    raise ValueError(
        f"step: expected parameters that are finite, got NaN or inf in {len(spoilt)} of "
        f"{len(bridge.params)}, the first of them number {spoilt[0]} of shape {shape}. Set them to "
        f"where the search shall start."
    )


def completer(bounds: Bounds | None) -> Callable[[Array], Array] | None:
    """What puts back variables that equal bounds fix, where scipy left them out.

    It removes them from what it hands to callbacks, and COBYLA from what constraints get; COBYLA
    does so where bounds are equal but for rounding. None where no bounds are as close as that.
    """
    if bounds is None:
        return None
    width = bounds.ub - bounds.lb
    if (width > _AS_GOOD_AS_EQUAL * np.maximum(1.0, np.abs(bounds.lb))).all():
        return None
    narrowest_first = np.argsort(width, kind="stable")

    def complete(x: Array) -> Array:
        free = np.sort(narrowest_first[width.size - x.size :])
        full: Array = bounds.lb.copy()
        full[free] = x
        return full

    return complete


def is_fixed(bounds: Bounds | None) -> bool:
    """Whether the bounds leave no variable free."""
    return bounds is not None and bool((bounds.lb == bounds.ub).all())


def _rounding(param: Tensor) -> float:
    return 0.0 if param.dtype.to_real() == torch.float64 else torch.finfo(param.dtype).eps
