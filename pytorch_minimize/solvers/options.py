"""What options of our own methods accept."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np

from ..wording import did_you_mean, listed, shown

__all__ = ["FLAG", "LIMIT", "NUMBER", "ORDER", "SHARE", "Option", "check_options", "one_of"]


class Option(NamedTuple):
    """What an option accepts, and that in words."""

    accepts: Callable[[Any], bool]
    expected: str


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and not math.isnan(value)


def _is_order(value: Any) -> bool:
    return _is_number(value) and value != 0


def _is_share(value: Any) -> bool:
    return value is None or (_is_number(value) and 0.0 < value < 1.0)


def _is_limit(value: Any) -> bool:
    if value is None or value == math.inf:
        return True
    return _is_number(value) and value >= 0 and value == value // 1


def one_of(*words: Any) -> Option:
    return Option(
        lambda value: any(value == word and not isinstance(value, bool) for word in words),
        f"one of {', '.join(map(str, words))}",
    )


FLAG = Option(lambda value: isinstance(value, (np.bool_, Integral)), "True or False")
NUMBER = Option(_is_number, "a number")
SHARE = Option(_is_share, "a number between 0 and 1, or None")
ORDER = Option(_is_order, "a number other than 0, or inf")
LIMIT = Option(_is_limit, "a whole number of at least 0, or None")


def check_options(method: str, options: Mapping[str, Any], known: Mapping[str, Option]) -> None:
    """Refuse what a method does not know, or is of another kind.

    Raises:
        ValueError: says which, and what was expected.
    """
    unknown = options.keys() - known.keys()
    if unknown:
        raise ValueError(
            f"{method} has no option {listed(sorted(unknown))}; it has "
            f"{', '.join(sorted(known))}{did_you_mean(sorted(unknown), known)}"
        )
    for name, value in options.items():
        if not known[name].accepts(value):
            expected = known[name].expected
            raise ValueError(f"options: {name}: expected {expected}, got {shown(value)}")
