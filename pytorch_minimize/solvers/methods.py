"""One table: every method of our own; the quasi-Newton ones, and how a run of one is made."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..bridge.space import ARRAYS, TensorSpace
from ..kinds import (
    ARRAY,
    FLAG,
    NUMBER,
    ORDER,
    SHARE,
    Kind,
    at_least,
    checked_options,
    one_of,
    optional,
)
from ..row import Habits, Row
from ..typing import Array
from .conjugate_methods import ROWS as CONJUGATE
from .inverse import array_inverse, tensor_inverse, usable
from .limited_methods import LIMITED
from .memory import check_fits
from .quasi_newton import QuasiNewton, Rules

__all__ = ["METHODS", "ROWS", "QuasiNewtonMethod", "array_solver", "tensor_solver"]


_SCIPYS: Mapping[str, Kind] = {
    "gtol": NUMBER,
    "norm": ORDER,
    "xrtol": NUMBER,
    "c1": optional(SHARE),
    "c2": optional(SHARE),
    "maxiter": optional(at_least(0)),
    "return_all": FLAG,
    "hess_inv0": optional(replace(ARRAY, expected="an array of shape (n, n)")),
}
_SELF_SCALED: Mapping[str, Kind] = {
    **_SCIPYS,
    "line_search": one_of("more-thuente", "hager-zhang"),
    "initial_scale": FLAG,
}


@dataclass(frozen=True)
class QuasiNewtonMethod:
    """A row of the table.

    Attributes:
        name: as users write it.
        update: a name of ``UPDATES``; of a method with variants, without its number.
        options: name -> what it accepts.
        resets: see :class:`~pytorch_minimize.solvers.quasi_newton.Rules`.
    """

    name: str
    update: str
    options: Mapping[str, Kind]
    resets: bool

    def rules(self, options: Mapping[str, Any]) -> Rules:
        """The options as rules; ``hess_inv0`` is checked, and left to the caller.

        Raises:
            ValueError: an option that is not known, or of another kind.
        """
        given = checked_options(self.name, options, self.options)
        update = self.update
        if "variant" in self.options:
            update = f"{update}-{int(given.get('variant', 2))}"
        known = {name: value for name, value in given.items() if name in _FIELDS}
        rules = Rules(**known, update=update, resets=self.resets)
        c1, c2 = rules.wolfe()
        if not c1 < c2:
            raise ValueError(f"options: expected c1 < c2, got {c1:g} and {c2:g}")
        return rules

    def check(self, options: Mapping[str, Any]) -> None:
        """Refuse options that are not understood; see :meth:`rules`."""
        self.rules(options)
        stated = options.get("hess_inv0")
        if stated is not None:
            _initial(stated, None, len(stated) if np.ndim(stated) else None)

    def __reduce__(self) -> tuple[Any, ...]:
        """By name: what it accepts are functions, which cannot be pickled."""
        return _of_name, (self.name,)

    def as_callable(self) -> Callable[..., Any]:
        """As a ``method`` of :func:`scipy.optimize.minimize`."""
        from .plain import minimised

        return functools.partial(minimised, self.name)

    def make(
        self, options: Mapping[str, Any], n: int, device: torch.device | None, warm: Any
    ) -> QuasiNewton[Any]:
        """A run on arrays, or on tensors of a device."""
        if device is None:
            return array_solver(self.name, options, n, warm)
        return tensor_solver(self.name, options, n, device, warm)


def _of_name(name: str) -> QuasiNewtonMethod:
    return METHODS[name]


_FIELDS = {field.name for field in fields(Rules)}

METHODS: Mapping[str, QuasiNewtonMethod] = {
    row.name: row
    for row in (
        QuasiNewtonMethod("torch-BFGS", "BFGS", _SCIPYS, resets=False),
        QuasiNewtonMethod("SSBFGS", "SSBFGS", _SELF_SCALED, resets=True),
        QuasiNewtonMethod(
            "SSBroyden", "SSBroyden", {**_SELF_SCALED, "variant": one_of(1, 2, 3)}, resets=True
        ),
    )
}


ROWS: dict[str, Row] = (
    {
        method.name.lower(): Row(
            method.name,
            options=frozenset({*method.options, "disp"}),
            gradient=True,
            needs_gradient=True,
            tolerances=("gtol",),
            prints=False,
            gradient_test=1e-5,
            habits=Habits(precision_lost=frozenset({2})),
            native=method,
        )
        for method in METHODS.values()
    }
    | {
        name.lower(): Row(
            name,
            options=frozenset({*method.options, "disp"}),
            gradient=True,
            needs_gradient=True,
            bounds=True,
            aliases={"maxfev": "maxfun"},
            tolerances=("ftol", "gtol"),
            prints=False,
            gradient_test=1e-5,
            habits=Habits(keeps_bounds=True, precision_lost=frozenset({2})),
            native=method,
        )
        for name, method in LIMITED.items()
    }
    | CONJUGATE
)
"""What the optimizers must know of each, by its name in lower case."""


def array_solver(
    method: str, options: Mapping[str, Any], n: int, warm: Array | None = None
) -> QuasiNewton[Array]:
    """A run on numpy's arrays.

    Args:
        method: a name of the table.
        options: of it.
        n: variables.
        warm: H of an earlier run, which goes before an option ``hess_inv0``, and gives way to it,
            or to I, where it is not positive definite.

    Raises:
        ValueError: options that are not understood; a ``hess_inv0`` that is not symmetric and
            positive definite.
        MemoryError: H does not fit.

    Example:
        >>> solver = array_solver("SSBroyden", dict(variant=1, gtol=1e-8), n=10)
    """
    row = METHODS[method]
    rules = row.rules(options)
    check_fits(row.name, n)
    initial = _initial(options.get("hess_inv0"), warm, n)
    return QuasiNewton(ARRAYS, array_inverse(n, initial), rules, given=initial is not None)


def tensor_solver(
    method: str,
    options: Mapping[str, Any],
    n: int,
    device: torch.device,
    warm: Tensor | Array | None = None,
) -> QuasiNewton[Tensor]:
    """The same on tensors of a device, from which only scalars come; see :func:`array_solver`."""
    row = METHODS[method]
    rules = row.rules(options)
    check_fits(row.name, n, device)
    check_fits(row.name, n)  # where the result holds it
    initial = _initial(options.get("hess_inv0"), warm, n)
    given = None if initial is None else torch.as_tensor(initial, device=device)
    inverse = tensor_inverse(n, device, given)
    return QuasiNewton(TensorSpace(device), inverse, rules, given=initial is not None)


def _initial(stated: Any, warm: Any, n: int | None) -> Any:
    """The H to begin with; None for I."""
    carried = None if warm is None else usable(warm)
    if carried is not None or stated is None:
        return carried
    h = np.asarray(stated.detach().cpu() if isinstance(stated, Tensor) else stated, np.float64)
    if h.shape != (n, n):
        expected = "(n, n)" if n is None else (n, n)
        raise ValueError(
            f"options: hess_inv0: expected an array of shape {expected}, got one of shape {h.shape}"
        )
    if not np.array_equal(h, h.T) or usable(h) is None:
        raise ValueError("options: hess_inv0 must be symmetric and positive definite")
    return h
