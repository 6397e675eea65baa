"""What kind of value an option takes: one `Kind` for each, whoever's option it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .wording import did_you_mean, listed, shown

__all__ = [
    "ARRAY",
    "FLAG",
    "NUMBER",
    "ORDER",
    "SHARE",
    "WHOLE",
    "Kind",
    "at_least",
    "checked",
    "checked_options",
    "is_flag",
    "is_number",
    "is_whole",
    "one_of",
    "optional",
]


@dataclass(frozen=True)
class Kind:
    """Values of one kind.

    Attributes:
        accepts: whether a value is one; numbers in arrays without a dimension come as numbers.
        expected: for messages.
        optional: None is one as well.
        whole: they are whole numbers, and those that are finite are made ints.
        array: those that are no numbers are made float64 arrays.
        words: the strings among them.
    """

    accepts: Callable[[Any], bool]
    expected: str
    optional: bool = False
    whole: bool = False
    array: bool = False
    words: tuple[str, ...] = ()


def is_number(value: object) -> bool:
    """A real number, infinities included."""
    return isinstance(value, Real) and not isinstance(value, bool) and not math.isnan(value)


def is_whole(value: object) -> bool:
    """A whole number, also as a float; infinities are."""
    return is_number(value) and (math.isinf(value) or float(value).is_integer())  # type: ignore[arg-type]


def is_flag(value: object) -> bool:
    """True or False, also as a number."""
    return isinstance(value, (bool, np.bool_, Integral))


def at_least(least: int) -> Kind:
    """Whole numbers from there on."""
    return Kind(
        lambda value: is_whole(value) and value >= least,
        f"a whole number of at least {least}",
        whole=True,
    )


def one_of(*values: Any) -> Kind:
    """Some strings, or some numbers."""
    return Kind(
        lambda given: (isinstance(given, str) or is_number(given)) and given in values,
        f"one of {', '.join(map(str, values))}",
        words=tuple(value for value in values if isinstance(value, str)),
    )


def optional(kind: Kind) -> Kind:
    """The same, or None."""
    return replace(kind, optional=True)


def checked(where: str, name: str, value: Any, kind: Kind) -> Any:
    """A value that is of its kind, in the form in which it is used.

    A whole number that is stated as a float becomes an int, a number in an array or a tensor
    without dimensions a number, a list of numbers a float64 array.

    Args:
        where, name: for messages.

    Raises:
        ValueError: it is not of that kind; says what was expected.

    Example:
        >>> checked("options", "maxiter", 1e3, at_least(0))
        1000
    """
    if value is None and kind.optional:
        return value
    if isinstance(value, (np.ndarray, Tensor)) and value.ndim == 0:
        value = value.item()
    if not kind.accepts(value):
        also = " or None" if kind.optional else ""
        hint = did_you_mean(value, kind.words) if isinstance(value, str) and kind.words else ""
        raise ValueError(
            f"{where}: {name}: expected {kind.expected}{also}, got {shown(value)}{hint}"
        )
    if kind.whole and not math.isinf(value):
        return int(value)
    if kind.array and not isinstance(value, Real):
        return _as_array(value).astype(np.float64, copy=False)
    return value


def checked_options(
    owner: str, given: Mapping[str, Any], kinds: Mapping[str, Kind]
) -> dict[str, Any]:
    """Options of a solver, each :func:`checked`.

    Raises:
        ValueError: one that ``kinds`` does not have, or a value that is not of its kind.
    """
    unknown = sorted(given.keys() - kinds.keys())
    if unknown:
        raise ValueError(
            f"{owner} has no option {listed(unknown)}; it has {', '.join(sorted(kinds))}"
            f"{did_you_mean(unknown, kinds)}"
        )
    return {name: checked("options", name, value, kinds[name]) for name, value in given.items()}


def _as_array(value: Any) -> NDArray[Any]:
    return np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value)


def _is_array(value: object) -> bool:
    try:
        array = _as_array(value)
    except (TypeError, ValueError, RuntimeError):
        return False
    return array.dtype.kind in "iuf" and not np.isnan(array).any()


ARRAY = Kind(_is_array, "a number or an array of numbers", array=True)
FLAG = Kind(is_flag, "True or False")
NUMBER = Kind(is_number, "a number")
ORDER = Kind(lambda v: is_number(v) and v != 0, "a number other than 0, or inf")
SHARE = Kind(lambda v: is_number(v) and 0.0 < v < 1.0, "a number between 0 and 1")
WHOLE = Kind(is_whole, "a whole number", whole=True)
