"""Bounds on the flat vector, from scipy's forms or from the param groups."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.optimize import Bounds
from torch import Tensor

from ..bridge.layout import Groups, parameter_label, parameter_names, parameter_slices, reals
from ..typing import Array
from ..wording import shown
from .stated_limits import looks_like_pairs, numbers

__all__ = ["any_group_bounds", "as_array", "as_numbers", "check_group", "flat_bounds"]


def any_group_bounds(groups: Groups) -> bool:
    """Whether any param group states bounds of its own."""
    return any(group.get("bounds") is not None for group in groups)


def flat_bounds(given: Any, groups: Groups, params: Sequence[Tensor]) -> Bounds | None:
    r"""Bounds :math:`l \le x \le u` on the flat vector of ``params``; None where all are infinite.

    A parameter holds x rounded to its dtype. So that this does not leave the bounds, they are
    rounded first, towards the inside: to the least number of the dtype that is not below the
    lower bound, and the largest not above the upper one. Where no number of the dtype lies
    between the two, both become the nearest to the lower one. float64 is left as it is.

    Args:
        given: scipy's forms: a ``Bounds``, or one (low, high) for each variable with None for no
            bound; or None. A complex element is two variables.
        groups: the optimizer's param groups. Those with ``bounds=(low, high)``, scalars, None or
            arrays that broadcast to each parameter, bound their parameters; the others are free.
            A complex parameter's real and imaginary parts both get the (real) bounds.
        params: the parameters of the flat vector, in its order.

    Raises:
        ValueError: bounds of both kinds, of the wrong number or shape, NaN, or none between low
            and high; it names the parameter.
        TypeError: complex bounds.

    Example:
        >>> w, b = torch.zeros(2, 2, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
        >>> groups = [dict(params=[w], bounds=(torch.tensor([0.0, -1.0]), None)), dict(params=[b])]
        >>> flat_bounds(None, groups, [w, b]).lb
        array([  0.,  -1.,   0.,  -1., -inf])
    """
    in_groups = any_group_bounds(groups)
    if given is None and not in_groups:
        return None
    if given is not None and in_groups:
        raise ValueError(
            "bounds: expected either bounds on the flat vector (minimizer_args) or bounds in param "
            "groups, got both; state them in one place"
        )
    if in_groups:
        bounds = _from_groups(groups, params)
    else:
        bounds = _from_scipy(given, sum(reals(p) for p in params))
    _check_order(bounds, groups, params)
    if np.isneginf(bounds.lb).all() and np.isposinf(bounds.ub).all():
        # scipy loops over bounds in Python, 5 us for each variable and call.
        return None
    bounds = _representable(bounds, params)
    _check_order(bounds, groups, params)
    return bounds


def check_group(groups: Groups, index: int) -> None:
    """Check the bounds of one param group against its parameters; see :func:`flat_bounds`."""
    params = groups[index]["params"]
    _check_order(_from_groups(groups, params), groups, params)


def as_array(value: Any, what: str, absent: float) -> Array:
    """A limit as a float64 array: a number, an array or a tensor; None means ``absent``."""
    if value is None:
        return np.asarray(absent)
    array = as_numbers(value, what, "a number, an array or tensor of numbers, or None")
    if np.isnan(array).any():
        raise ValueError(f"{what}: expected numbers, got NaN; None or an infinity means no bound")
    return array


def as_numbers(value: Any, what: str, expected: str) -> Array:
    """An array, a tensor or numbers as a float64 array, which may hold NaN.

    Raises:
        TypeError: it is something else.
    """
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        value = (value if value.is_complex() else value.double()).resolve_conj().numpy()
    if np.iscomplexobj(value):
        raise TypeError(f"{what}: expected real numbers, got complex ones")
    try:
        return numbers(value)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(f"{what}: expected {expected}, got {shown(value)}") from None


def _from_groups(groups: Groups, params: Sequence[Tensor]) -> Bounds:
    wanted = {id(p) for p in params}
    lower: dict[int, Array] = {}
    upper: dict[int, Array] = {}
    for number, group in enumerate(groups):
        low, high = _pair(group.get("bounds"), f"bounds of group {number}")
        for place, param in enumerate(group["params"]):
            if id(param) in wanted:
                name = parameter_label(number, place, group)
                lower[id(param)] = _for_parameter(low, param, f"lower bound of {name}")
                upper[id(param)] = _for_parameter(high, param, f"upper bound of {name}")
    return Bounds(
        np.concatenate([np.empty(0), *(lower[id(p)] for p in params)]),
        np.concatenate([np.empty(0), *(upper[id(p)] for p in params)]),
    )


def _pair(given: Any, what: str) -> tuple[Array, Array]:
    if given is None:
        given = (None, None)
    if isinstance(given, (tuple, list)) and looks_like_pairs(given):
        raise ValueError(
            f"{what}: expected one (low, high), got what looks like scipy's (low, high) for each "
            f"variable: {shown(given)}. Give low and high as tensors or arrays of the parameter's "
            f"shape: bounds=(torch.tensor(low), torch.tensor(high))"
        )
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise ValueError(f"{what}: expected a pair (low, high) or None, got {shown(given)}")
    return as_array(given[0], what, -np.inf), as_array(given[1], what, np.inf)


def _for_parameter(limit: Array, param: Tensor, what: str) -> Array:
    """The limit for each real of a parameter, in the flat vector's order."""
    try:
        full = np.broadcast_to(limit, param.shape).reshape(-1)
    except ValueError:
        raise ValueError(
            f"{what}: expected a shape that broadcasts to the parameter's {tuple(param.shape)}, "
            f"got {limit.shape}"
        ) from None
    return np.repeat(full, 2) if param.is_complex() else full


def _from_scipy(given: Any, numel: int) -> Bounds:
    if isinstance(given, Bounds):
        # NaN is left to be told with the parameter that it bounds.
        for name, side in (("lb", given.lb), ("ub", given.ub)):
            if np.asarray(side).dtype.kind not in "biufO":
                raise TypeError(f"bounds: {name}: expected numbers, got {shown(side)}")
    else:
        given = _from_pairs(given, numel)
    try:
        return Bounds(
            *(np.array(np.broadcast_to(b, (numel,)), np.float64) for b in (given.lb, given.ub)),
            np.broadcast_to(given.keep_feasible, (numel,)),
        )
    except ValueError:
        raise ValueError(
            f"bounds: expected one lower and one upper bound for each of the {numel} variables, "
            f"got {np.size(given.lb)}"
        ) from None


def _from_pairs(given: Any, numel: int) -> Bounds:
    expected = f"bounds: expected Bounds or a (low, high) for each of the {numel} variables"
    try:
        each = list(given.detach().cpu() if isinstance(given, Tensor) else given)
        pairs = numbers(each)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # a tensor that requires grad
        raise ValueError(f"{expected}, got {shown(given)}") from None
    if pairs.shape != (numel, 2):
        raise ValueError(f"{expected}, got something of shape {pairs.shape}")
    # numpy reads None as NaN; a NaN that was given is an error.
    missing = np.isnan(pairs)
    for i, side in np.argwhere(missing):
        if each[i][side] is not None:
            raise ValueError(f"bounds: expected numbers, None or infinities, got {each[i]}")
    return Bounds(
        np.where(missing[:, 0], -np.inf, pairs[:, 0]), np.where(missing[:, 1], np.inf, pairs[:, 1])
    )


def _check_order(bounds: Bounds, groups: Groups, params: Sequence[Tensor]) -> None:
    low, high = bounds.lb, bounds.ub
    # Written so that NaN fails as well.
    wrong = ~(low <= high) | np.isposinf(low) | np.isneginf(high)
    if not wrong.any():
        return
    i = int(wrong.argmax())
    names = parameter_names(groups)
    for param, where in zip(params, parameter_slices(params), strict=True):
        if where.start <= i < where.stop:
            raise ValueError(
                f"bounds of {names[id(param)]}, element {i - where.start}: expected low <= high "
                f"and a number of {param.dtype} between them, got low {low[i]} and high {high[i]}"
            )


def _representable(bounds: Bounds, params: Sequence[Tensor]) -> Bounds:
    """Bounds that are numbers of each parameter's dtype; see :func:`flat_bounds`."""
    low, high = bounds.lb.copy(), bounds.ub.copy()
    pieces = zip((p.dtype.to_real() for p in params), parameter_slices(params), strict=True)
    for dtype, piece in itertools.groupby(pieces, key=lambda pair: pair[0]):
        slices = [where for _, where in piece]
        if dtype != torch.float64:
            where = slice(slices[0].start, slices[-1].stop)
            least = _rounded_up(low[where], dtype)
            largest = -_rounded_up(-high[where], dtype)
            nearest = _nearest(low[where], dtype)
            low[where] = np.where(least <= largest, least, nearest)
            high[where] = np.where(least <= largest, largest, nearest)
    return Bounds(low, high, bounds.keep_feasible)


def _nearest(values: Array, dtype: torch.dtype) -> Array:
    return torch.from_numpy(values).to(dtype).double().numpy()


def _rounded_up(values: Array, dtype: torch.dtype) -> Array:
    nearest = torch.from_numpy(values).to(dtype)
    above = torch.nextafter(nearest, torch.full_like(nearest, torch.inf))
    lower = nearest.double().numpy() < values
    return np.where(lower, above.double().numpy(), nearest.double().numpy())
