"""The keywords of the global optimisers, checked against the table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scipy.optimize import Bounds

from ..region.constraints import as_list
from ..run.callers_data import own_copy
from ..scipy_minimize.arguments import check_callback, settled
from ..scipy_minimize.keywords import ARGUMENTS, RUN_KEYWORDS, as_mapping, check_keywords
from ..scipy_minimize.option_kinds import KEYWORD_KINDS, checked_values
from ..wording import shown
from .algorithms import Algorithm

__all__ = ["check_ranges", "checked", "copied", "with_defaults"]


def checked(row: Algorithm, keywords: Mapping[str, Any] | None) -> dict[str, Any]:
    """A copy of the user's keywords, all of them known.

    Raises:
        TypeError: it is no dict, or a constraint is none.
        ValueError: a keyword is unknown, or is stated elsewhere; or constraints of a kind that the
            algorithm does not take; or a value of the wrong kind.
    """
    where = f"{row.name}'s keywords"
    keywords = as_mapping(where, keywords)
    for name in keywords:
        if name in row.elsewhere:
            raise ValueError(f"{where}: {name}: {row.elsewhere[name]}")
    known = row.keywords + ("polish",) * row.polish
    check_keywords(where, keywords, known, (ARGUMENTS if row.local else {}) | RUN_KEYWORDS)
    if "rng" in keywords and "seed" in keywords:
        raise ValueError(f"{where}: rng and seed say the same thing: give one of them")
    keywords = copied(settled(checked_values(where, keywords, KEYWORD_KINDS, row.name)))
    if row.options:
        where = f"{row.name}'s options"
        options = as_mapping(where, keywords.get("options"))
        check_keywords(where, options, row.options)
        stated = {name: value for name, value in options.items() if value is not None}
        checked_values(where, stated, KEYWORD_KINDS, row.name)
    check_callback(keywords.get("callback"))
    constraints = as_list(keywords.get("constraints"))
    if not row.dict_constraints and any(isinstance(c, Mapping) for c in constraints):
        raise ValueError(
            f"constraints: {row.name} takes no dicts; expected ClosureConstraint, or scipy's "
            f"NonlinearConstraint or LinearConstraint"
        )
    return keywords


def with_defaults(row: Algorithm, minimizer_args: Mapping[str, Any] | None) -> dict[str, Any]:
    """The user's ``minimizer_args`` with the algorithm's defaults; empty if they gave none."""
    args = settled(as_mapping("minimizer_args", minimizer_args))
    if row.autograd and isinstance(args.get("jac"), bool):
        del args["jac"]
    if args and row.local_method is not None:
        args.setdefault("method", row.local_method)
    return args


def copied(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """A copy that scipy may write into (Note [caller's data]): shgo empties its options."""
    return {name: own_copy(value) for name, value in keywords.items()}


def check_ranges(name: str, ranges: Any, bounds: Bounds | None, n: int) -> None:
    """brute's ``ranges``, which stand in the place of bounds.

    Raises:
        TypeError: it is no list, or holds something else than slices and pairs.
        ValueError: there are bounds besides, or not one range for each of n variables.
    """
    if not isinstance(ranges, (list, tuple)):
        raise TypeError(
            f"{name}: expected a list with a slice or (low, high) for each of the {n} variables, "
            f"got {shown(ranges)}"
        )
    if bounds is not None:
        raise ValueError(f"{name} and bounds say the same thing: give one of them")
    if len(ranges) != n:
        raise ValueError(
            f"{name}: expected a slice or (low, high) for each of the {n} variables, got "
            f"{len(ranges)}"
        )
    for number, each in enumerate(ranges):
        # As scipy reads them, (low, high, step) is a slice.
        is_like_slice = isinstance(each, (list, tuple)) and len(each) in (2, 3)
        if not (isinstance(each, slice) or is_like_slice):
            raise TypeError(
                f"{name}: expected a slice or (low, high), got {shown(each)} for variable {number}"
            )
