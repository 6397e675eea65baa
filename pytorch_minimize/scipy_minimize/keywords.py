"""The names of all keywords and options, and where each belongs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from ..settings import Settings
from ..wording import did_you_mean, shown
from .methods import METHODS

__all__ = ["ARGUMENTS", "KEYWORDS", "OPTIONS", "RUN_KEYWORDS", "as_mapping", "check_keywords"]

KEYWORDS = (
    "method",
    "jac",
    "hess",
    "hessp",
    "bounds",
    "constraints",
    "tol",
    "callback",
    "options",
    "args",
)
RUN_KEYWORDS: dict[str, str] = {
    field.name: f"{field.name} is a keyword of the optimizer itself, beside minimizer_args"
    for field in fields(Settings)
}
"""Where keywords of the optimizers belong that are met elsewhere."""

OPTIONS: dict[str, str] = {
    name: f"{name} is an option of methods: minimizer_args=dict(options=dict({name}=...))"
    for row in METHODS.values()
    for name in sorted(row.options or ())
}
"""Where options of methods belong that are met elsewhere."""

ARGUMENTS: dict[str, str] = OPTIONS | {
    name: f"{name} belongs in minimizer_args: minimizer_args=dict({name}=...)" for name in KEYWORDS
}
"""Where keywords of minimizer_args and options belong that are met elsewhere."""


def check_keywords(
    where: str,
    given: Iterable[str],
    known: Iterable[str],
    elsewhere: Mapping[str, str] | None = None,
) -> None:
    """Refuse keywords that are not ``known``, by name; ``elsewhere`` says where others belong."""
    known = list(known)
    unknown = sorted(set(given) - set(known), key=str)
    if {"x0", "fun"} & set(unknown):
        raise ValueError(
            f"{where}: x0 is the parameters' current values and fun is the closure; leave "
            f"{' and '.join(unknown)} out"
        )
    if unknown:
        raise ValueError(
            f"{where}: expected keywords among {', '.join(known)}; got {shown(unknown)}"
            f"{did_you_mean(unknown, known, elsewhere)}"
        )


def as_mapping(name: str, value: object) -> Mapping[str, Any]:
    """``value`` where it is a dict; None is as good as an empty one."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        has_method = name in ("minimizer_args", "least_squares_kwargs")
        is_name = has_method and isinstance(value, str)
        instead = f"; write dict(method={shown(value)})" if is_name else ""
        raise TypeError(f"{name}: expected a dict, got {type(value).__name__}{instead}")
    return value
