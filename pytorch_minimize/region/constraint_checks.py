"""scipy's own constraints, of which scipy itself refuses little: limits, keys and sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import LinearConstraint, NonlinearConstraint
from scipy.sparse import issparse

from ..wording import did_you_mean, shown
from .bounds import as_array
from .stated_limits import as_flags

__all__ = ["check_limits", "check_stated", "check_width"]

_KEYS = ("type", "fun", "jac", "args")
_KINDS = ("eq", "ineq")
_DIFFERENCES = ("2-point", "3-point", "cs")


def check_stated(constraint: Any, where: str) -> None:
    """Check one of scipy's constraints as far as that is possible without a point.

    Raises:
        TypeError: a part that is of another kind than it must be.
        ValueError: keys that are unknown, or limits that leave nothing.
    """
    if isinstance(constraint, Mapping):
        _check_dict(constraint, where)
        return
    if isinstance(constraint, NonlinearConstraint):
        _check_callable(f"{where}: fun", constraint.fun)
        for name in ("jac", "hess"):
            _refuse_class(f"{where}: {name}", getattr(constraint, name))
    elif isinstance(constraint, LinearConstraint):
        _check_matrix(constraint, where)
    else:
        return
    low = as_array(constraint.lb, f"{where}: lb", -np.inf)
    high = as_array(constraint.ub, f"{where}: ub", np.inf)
    check_limits(low, high, where)
    # The other one has made it a bool already, whatever it was.
    if isinstance(constraint, NonlinearConstraint):
        as_flags(constraint.keep_feasible, f"{where}: keep_feasible")


def check_limits(low: NDArray[Any], high: NDArray[Any], where: str) -> None:
    """Refuse limits of different shapes, or with nothing between them.

    Raises:
        ValueError: says where, and what they are there.
    """
    try:
        low, high = np.broadcast_arrays(low, high)
    except ValueError:
        raise ValueError(
            f"{where}: expected lb and ub that broadcast to one shape, got shapes "
            f"{low.shape} and {high.shape}"
        ) from None
    wrong = ~(low <= high) | np.isposinf(low) | np.isneginf(high)
    if wrong.any():
        first = int(wrong.argmax())
        at = f", element {first}" if wrong.ndim else ""
        raise ValueError(
            f"{where}{at}: expected lb <= ub with a number between them, got {low.flat[first]} and "
            f"{high.flat[first]}"
        )


def check_width(constraint: Any, where: str, n: int) -> None:
    """Refuse a LinearConstraint whose matrix has not one column for each of ``n`` variables."""
    if not isinstance(constraint, LinearConstraint):
        return
    shape = np.shape(constraint.A)
    if shape[-1:] != (n,):
        raise ValueError(
            f"{where}: expected A with a column for each of the {n} variables, got shape {shape}"
        )


def _check_dict(constraint: Mapping[Any, Any], where: str) -> None:
    unknown = sorted(set(constraint) - set(_KEYS), key=str)
    if unknown:
        raise ValueError(
            f"{where}: expected keys among {', '.join(_KEYS)}; got {shown(unknown)}"
            f"{did_you_mean(unknown, _KEYS)}"
        )
    kind = constraint["type"]
    if not isinstance(kind, str) or kind.lower() not in _KINDS:
        hint = did_you_mean(kind, _KINDS) if isinstance(kind, str) else ""
        raise ValueError(f'{where}: type: expected "eq" or "ineq", got {shown(kind)}{hint}')
    _check_callable(f"{where}: fun", constraint["fun"])
    jac = constraint.get("jac")
    if not (jac is None or callable(jac) or (isinstance(jac, str) and jac in _DIFFERENCES)):
        raise TypeError(f"{where}: jac: expected a callable on the flat x, got {shown(jac)}")
    _refuse_class(f"{where}: jac", jac)
    if not isinstance(constraint.get("args", ()), (tuple, list)):
        raise TypeError(f"{where}: args: expected a tuple, got {shown(constraint['args'])}")


def _check_callable(what: str, value: object) -> None:
    if not callable(value):
        raise TypeError(f"{what}: expected a callable on the flat x, got {shown(value)}")


def _refuse_class(what: str, value: object) -> None:
    if isinstance(value, type):
        raise TypeError(
            f"{what}: expected a callable or an instance, got the class {value.__name__}; give "
            f"{value.__name__}()"
        )


def _check_matrix(constraint: LinearConstraint, where: str) -> None:
    elements = constraint.A.copy().tocoo().data if issparse(constraint.A) else constraint.A
    as_array(elements, f"{where}: A", 0.0)
    rows = np.shape(constraint.A)[:-1]
    for name in ("lb", "ub"):
        try:
            np.broadcast_to(getattr(constraint, name), rows)
        except ValueError:
            raise ValueError(
                f"{where}: {name}: expected a limit for each of the {rows[0]} rows of A, got shape "
                f"{np.shape(getattr(constraint, name))}"
            ) from None
