"""The keywords of every optimizer, as least squares can heed them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..settings import Settings
from .arguments import BELONG_IN_KWARGS

__all__ = ["parse_settings"]


def parse_settings(keywords: Mapping[str, Any]) -> Settings:
    """The user's keywords, checked; squares of many processes are added up.

    Raises:
        ValueError: one is set that least squares cannot heed.
        TypeError: an unknown keyword.
    """
    settings = Settings.parse(keywords, BELONG_IN_KWARGS)
    if settings.warm_start:
        raise ValueError("warm_start: least squares keep no inverse Hessian; leave it out")
    if settings.captured_graph:
        raise ValueError(
            "captured_graph: a captured graph has no graph of autograd's that a Jacobian could be "
            "taken of; leave it out"
        )
    if settings.distributed is False:
        return settings
    if settings.weight != 1.0:
        raise ValueError(
            f"weight: least squares add up the squares of all rows, so that shares of other sizes "
            f"need none; leave out weight={settings.weight:g}. Rows that are to count w times are "
            f"multiplied by sqrt(w) in the closure"
        )
    if keywords.get("reduction", "sum") != "sum":
        raise ValueError(
            'reduction: least squares add up the squares of all rows; leave it out, or say "sum". '
            "For a mean over m rows, multiply the residuals by sqrt(2 / m) in the closure"
        )
    return replace(settings, reduction="sum")
