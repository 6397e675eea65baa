"""What ``print(optimizer)`` says before torch's own account of the groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ..settings import Settings
from ..wording import shown

__all__ = ["described"]


def described(
    optimizer: object, given: Mapping[str, Any], settings: Settings, params: Sequence[Tensor]
) -> str:
    """Two lines: how the optimizer was made, and how many variables it has.

    Args:
        optimizer: whose class is named.
        given: for the solver, by name; its ``method`` is a name.
        settings: of which those are named that are not the defaults.
        params: that are optimised; a complex element is two variables.
    """
    given = {name: value for name, value in given.items() if value is not None}
    parts = [f"method={given.pop('method')}"] if "method" in given else []
    parts += [f"{name}={shown(value)}" for name, value in {**given, **settings.stated()}.items()]
    numel = sum(param.numel() * (2 if param.is_complex() else 1) for param in params)
    dtypes = ", ".join(sorted({str(param.dtype) for param in params}))
    devices = ", ".join(sorted({str(param.device) for param in params}))
    tensors = f"{len(params)} tensor{'s' * (len(params) != 1)}"
    return (
        f"{type(optimizer).__name__}({', '.join(parts)})\n"
        f"n = {numel:,} variables in {tensors} ({dtypes} on {devices})"
    )
