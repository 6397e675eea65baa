"""The keywords of the global optimisers, checked against the table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scipy.optimize import Bounds

from ._algorithms import Algorithm
from ._arguments import check_keywords, settled
from ._callers_data import own_copy
from ._constraints import as_list

__all__ = ["check_ranges", "checked", "copied", "with_defaults"]


def checked(row: Algorithm, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the user's keywords, all of them known.

    Raises:
        TypeError: it is no dict, or a constraint is none.
        ValueError: a keyword is unknown, or is stated elsewhere; or constraints of a kind that the
            algorithm does not take.
    """
    where = f"{row.name}'s keywords"
    if not isinstance(keywords, Mapping):
        raise TypeError(f"{where}: expected a dict, got {type(keywords).__name__}")
    for name in keywords:
        if name in row.elsewhere:
            raise ValueError(f"{where}: {name}: {row.elsewhere[name]}")
    check_keywords(where, keywords, row.keywords + ("polish",) * row.polish)
    if "rng" in keywords and "seed" in keywords:
        raise ValueError(f"{where}: rng and seed say the same thing: give one of them")
    if row.options:
        check_keywords(f"{row.name}'s options", keywords.get("options") or {}, row.options)
    keywords = copied(settled(keywords))
    constraints = as_list(keywords.get("constraints"))
    if not row.dict_constraints and any(isinstance(c, Mapping) for c in constraints):
        raise ValueError(
            f"constraints: {row.name} takes no dicts; expected ClosureConstraint, or scipy's "
            f"NonlinearConstraint or LinearConstraint"
        )
    return keywords


def with_defaults(row: Algorithm, minimizer_args: Mapping[str, Any] | None) -> dict[str, Any]:
    """The user's ``minimizer_args`` with the algorithm's defaults; empty if they gave none."""
    args = settled(minimizer_args or {})
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
        ValueError: there are bounds besides, or not one range for each of n variables.
    """
    if bounds is not None:
        raise ValueError(f"{name} and bounds say the same thing: give one of them")
    if len(ranges) != n:
        raise ValueError(
            f"{name}: expected a slice or (low, high) for each of the {n} variables, got "
            f"{len(ranges)}"
        )
