"""How parameters lie in the flat vector, and what messages call them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .interface import Bridge

__all__ = [
    "Groups",
    "coarsest_eps",
    "parameter_label",
    "parameter_names",
    "parameter_slices",
    "reals",
]

Groups = Sequence[Mapping[str, Any]]


def parameter_names(groups: Groups) -> dict[int, str]:
    """What messages call each parameter, by ``id(param)``."""
    return {
        id(param): parameter_label(number, place, group)
        for number, group in enumerate(groups)
        for place, param in enumerate(group["params"])
    }


def reals(param: Tensor) -> int:
    """Variables of the flat vector that a parameter takes."""
    return param.numel() * (2 if param.is_complex() else 1)


def parameter_slices(params: Sequence[Tensor]) -> Iterator[slice]:
    start = 0
    for param in params:
        yield slice(start, start := start + reals(param))


def parameter_label(number: int, place: int, group: Mapping[str, Any]) -> str:
    names = group.get("param_names")
    return f"parameter {place} of group {number}" + (f" ({names[place]})" if names else "")


def coarsest_eps(bridge: Bridge) -> float:
    """The machine epsilon of the coarsest dtype among the parameters."""
    return max(torch.finfo(param.dtype).eps for param in bridge.params)
