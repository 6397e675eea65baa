"""The methods of limited memory, their options, and how a run of them is made."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from scipy.optimize import Bounds

from ..bridge.space import ARRAYS, TensorSpace
from ..kinds import NUMBER, Kind, at_least, checked_options, one_of, optional
from .bounded_memory import BoundedMemory
from .limited_memory import LimitedMemory, LimitedRules
from .memory import check_pairs_fit
from .ring import array_ring, tensor_ring

__all__ = ["LIMITED", "LimitedMethod"]

_DTYPES = {"float64": torch.float64, "float32": torch.float32}


def _finite(least: int) -> Kind:
    kind = at_least(least)
    return dataclasses.replace(kind, accepts=lambda v: kind.accepts(v) and math.isfinite(v))


_DTYPE = Kind(
    lambda value: value in _DTYPES or value in _DTYPES.values(),
    f"one of {', '.join(_DTYPES)}",
    words=tuple(_DTYPES),
)
_LIMIT = optional(at_least(0))

_OPTIONS: Mapping[str, Kind] = {
    "maxcor": optional(_finite(1)),
    "ftol": optional(NUMBER),
    "gtol": optional(NUMBER),
    "maxfun": _LIMIT,
    "maxiter": _LIMIT,
    "maxls": optional(_finite(1)),
    "history_dtype": optional(_DTYPE),
    "first_step": optional(one_of("one", "guess")),
    "scaling": optional(one_of("none", "self")),
}


@dataclasses.dataclass(frozen=True)
class LimitedMethod:
    """A row of the table.

    Attributes:
        name: as users write it.
        first_step, scaling: see
            :class:`~pytorch_minimize.solvers.limited_memory.LimitedRules`; where no option says so.
    """

    name: str
    first_step: str
    scaling: str

    @property
    def options(self) -> Mapping[str, Kind]:
        """Name -> what it accepts."""
        return _OPTIONS

    def rules(self, options: Mapping[str, Any]) -> LimitedRules:
        """The options as rules.

        Raises:
            ValueError: an option that is not known, or of another kind.

        Example:
            >>> LIMITED["SS-L-BFGS"].rules(dict(maxcor=20)).scaling
            'self'
        """
        checked = checked_options(self.name, options, self.options)
        given = {name: value for name, value in checked.items() if value is not None}
        dtype = given.pop("history_dtype", torch.float64)
        given["history_dtype"] = _DTYPES.get(dtype, dtype)
        return LimitedRules(**{"first_step": self.first_step, "scaling": self.scaling} | given)

    def check(self, options: Mapping[str, Any]) -> None:
        """Refuse options that are not understood; see :meth:`rules`."""
        self.rules(options)

    def as_callable(self) -> Callable[..., Any]:
        """As a ``method`` of :func:`scipy.optimize.minimize`."""
        from .plain import minimised

        return functools.partial(minimised, self.name)

    def make(
        self, options: Mapping[str, Any], n: int, device: torch.device | None, warm: Any
    ) -> LimitedMemory[Any]:
        """A run on arrays, or on tensors of a device; nothing of an earlier one is used.

        Raises:
            ValueError: options that are not understood.
            MemoryError: the pairs do not fit.

        Example:
            >>> solver = LIMITED["torch-L-BFGS"].make(dict(maxcor=5), 100, None, None)
        """
        return self.make_within(options, n, device, None)

    def make_within(
        self,
        options: Mapping[str, Any],
        n: int,
        device: torch.device | None,
        bounds: Bounds | None,
    ) -> LimitedMemory[Any]:
        """The same inside bounds, None being none; the start must be."""
        rules = self.rules(options)
        check_pairs_fit(self.name, rules.maxcor, rules.history_dtype.itemsize, n, device)
        space: Any = ARRAYS if device is None else TensorSpace(device)
        shape = rules.maxcor, n, rules.history_dtype
        ring: Any = array_ring(*shape) if device is None else tensor_ring(*shape, device)
        if bounds is None:
            return LimitedMemory(space, ring, rules)
        return BoundedMemory(space, ring, rules, bounds)


LIMITED: Mapping[str, LimitedMethod] = {
    method.name: method
    for method in (
        LimitedMethod("torch-L-BFGS", first_step="one", scaling="none"),
        LimitedMethod("SS-L-BFGS", first_step="guess", scaling="self"),
    )
}
