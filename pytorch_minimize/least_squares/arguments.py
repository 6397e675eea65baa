"""The user's ``least_squares_kwargs``, checked against the table and made ready."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import scipy.optimize
from scipy.optimize import Bounds

from ..kinds import checked
from ..record.saved import plain_part
from ..region.bounds import as_array
from ..row import Asks, Row
from ..run.plan import Plan
from ..scipy_minimize.arguments import check_callback
from ..scipy_minimize.keywords import as_mapping
from ..settings import Settings
from ..wording import did_you_mean, shown
from .jacobian import Way
from .losses import RobustLoss
from .methods import KINDS, METHODS, find_method

__all__ = ["BELONG_IN_KWARGS", "SCIPYS", "LeastSquaresArguments"]

_EPS = float(np.finfo(np.float64).eps)
_WAYS: Mapping[str, Way] = {"auto": "auto", "rows": "rows", "columns": "columns"}
_DIFFERENCES = ("2-point", "3-point")
SCIPYS = frozenset(inspect.signature(scipy.optimize.least_squares).parameters)
"""The keywords that the scipy knows which is installed."""
# Of the solver, in whatever form it is handed on.
_OURS = frozenset({"method", "jac", "bounds", "callback", "loss", "f_scale"})
_OF_DIFFERENCES = ("diff_step", "jac_sparsity", "workers")

_RUN_KEYWORDS = {
    field.name: f"{field.name} is a keyword of the optimizer itself, beside least_squares_kwargs"
    for field in fields(Settings)
}
BELONG_IN_KWARGS = {
    name: f"{name} belongs in least_squares_kwargs: least_squares_kwargs=dict({name}=...)"
    for row in METHODS.values()
    for name in sorted(row.options or ())
}
"""Where keywords of the solvers belong that are met elsewhere."""


@dataclass(frozen=True)
class LeastSquaresArguments:
    """How a run of least squares is made.

    Attributes:
        row: the method's row of the table.
        given: what the user gave, a shallow copy.
        keywords: of the solver, those that are not attributes here.
        loss: makes the cost.
        way: how autograd takes the Jacobian.
        as_operator: the Jacobian is products alone.
        differences: scipy's, instead of autograd's; "" for none.
        users: the user's own Jacobian of (x, \\*args, \\*\\*kwargs).
        bounds_in_groups: the param groups state bounds.
    """

    row: Row
    given: Mapping[str, Any]
    keywords: Mapping[str, Any]
    loss: RobustLoss
    way: Way = "auto"
    as_operator: bool = False
    differences: str = ""
    users: Callable[..., Any] | None = None
    bounds_in_groups: bool = False

    @classmethod
    def parse(cls, kwargs: Any, *, bounds_in_groups: bool = False) -> LeastSquaresArguments:
        """Check everything that can be checked without running.

        Args:
            kwargs: the user's; None is as good as empty.
            bounds_in_groups: the param groups state bounds, so that the method must take them.

        Raises:
            ValueError: an unknown keyword or method, or one that the method cannot take.
            TypeError: it is no dict.
        """
        original = dict(as_mapping("least_squares_kwargs", kwargs))
        given = {
            name: checked("least_squares_kwargs", name, value, KINDS[name])
            if name in KINDS
            else value
            for name, value in original.items()
        }
        row = find_method(given.get("method", "trf"))
        _check_names(row, given)
        if (given.get("bounds") is not None or bounds_in_groups) and not row.bounds:
            raise ValueError(f"{row.name} takes no bounds; methods that do: {_takers('bounds')}")
        check_callback(given.get("callback"))
        jacobian = _jacobian(row, given)
        if given.get("callback") is not None and "differences" in jacobian:
            _check_is_called_back(row)
        loss = RobustLoss(given.get("loss", "linear"), float(given.get("f_scale", 1.0)))
        if row.name == "lm" and not loss.is_linear:
            raise ValueError(
                "lm: expected loss='linear', which is all that it knows; trf, dogbox, "
                "torch-lm and torch-gauss-newton-cg take the others"
            )
        _check_tolerances(row, given)
        keywords = {
            name: value
            for name, value in given.items()
            if name not in _OURS
            and not (row.native is not None and name == "verbose")
            and not (name == "x_scale" and value is None)
        }
        if row.native is None:
            _check_scipy(keywords)
        else:
            row.native.check(keywords)
        return cls(row, original, keywords, loss, bounds_in_groups=bounds_in_groups, **jacobian)

    def for_groups(self, *, bounded: bool) -> LeastSquaresArguments:
        """Checked again where the param groups begin or cease to state bounds."""
        if bounded == self.bounds_in_groups:
            return self
        return self.parse(self.given, bounds_in_groups=bounded)

    def check_sizes(self, n: int) -> None:
        """Refuse arrays that are of another number of variables than n.

        Raises:
            ValueError: one is; says which.
        """
        for name in ("x_scale", "diff_step"):
            value: Any = self.keywords.get(name)
            shape = np.shape(value)
            if shape not in ((), (n,)):
                raise ValueError(
                    f"least_squares_kwargs: {name}: expected a number or an array of shape "
                    f"{(n,)} for the {n} variables, got one of shape {shape}"
                )
        sparsity = self.keywords.get("jac_sparsity")
        if sparsity is not None and sparsity.shape[1] != n:
            raise ValueError(
                f"least_squares_kwargs: jac_sparsity: expected {n} columns, one a variable, got "
                f"{sparsity.shape[1]}"
            )

    @property
    def by_autograd(self) -> bool:
        """Whether Jacobians come out of the closure's graph."""
        return not self.differences and self.users is None

    @property
    def bounds(self) -> Bounds | None:
        """On the flat vector, if they were stated so."""
        stated = self.given.get("bounds")
        if stated is None or isinstance(stated, Bounds):
            return stated
        if not isinstance(stated, (tuple, list)) or len(stated) != 2:
            raise ValueError(
                f"bounds: expected (lower, upper), numbers or arrays of one number a variable, or "
                f"a Bounds, as scipy's least_squares; got {shown(stated)}"
            )
        low, high = as_array(stated[0], "bounds", -np.inf), as_array(stated[1], "bounds", np.inf)
        return Bounds(low, high)

    @property
    def plan(self) -> Plan:
        """What the run must know of it."""
        gtol = self.keywords.get("gtol", 1e-8)
        return Plan(
            name=self.row.name,
            asks=Asks(gradient=self.by_autograd, curvature=next(iter(self.row.curvature), "")),
            habits=self.row.habits,
            callback=self.given.get("callback"),
            gradient_test=gtol,
            prints_report=self.row.native is not None and bool(self.given.get("verbose", 0)),
        )

    def as_saved(self) -> dict[str, Any]:
        """Method and numbers, for ``state_dict``; callables are left out."""
        return plain_part({"method": self.row.name} | dict(self.given))


def _check_names(row: Row, given: Mapping[str, Any]) -> None:
    known = sorted(row.options or ())
    unknown = sorted(set(given) - set(known), key=str)
    if not unknown:
        return
    if {"x0", "fun"} & set(unknown):
        raise ValueError(
            "least_squares_kwargs: x0 is the parameters' current values and fun is the closure; "
            "leave them out"
        )
    name = unknown[0]
    others = _takers(name)
    also = f"; {name} is taken by {others}" if others else ""
    raise ValueError(
        f"least_squares_kwargs: {row.name} takes {', '.join(known)}; got {shown(unknown)}"
        f"{also or did_you_mean(unknown, known, _RUN_KEYWORDS)}"
    )


def _takers(name: str) -> str:
    return ", ".join(row.name for row in METHODS.values() if name in (row.options or ()))


def _check_is_called_back(row: Row) -> None:
    """Of differences no Jacobian is asked for, so that an iterate is told by scipy alone."""
    if row.name == "lm" or "callback" not in SCIPYS:
        raise ValueError(
            f"callback: with scipy's differences {row.name} of scipy {scipy.__version__} tells of "
            f"no iterate; leave jac out, or callback"
        )


def _check_tolerances(row: Row, given: Mapping[str, Any]) -> None:
    """As scipy does, which looks at them when it runs."""
    if row.native is not None:
        return
    names = ("ftol", "xtol", "gtol")
    values = [given.get(name, 1e-8) or 0.0 for name in names]
    enough = min if row.name == "lm" else max
    if enough(values) < _EPS:
        which = "each of" if row.name == "lm" else "one of"
        raise ValueError(
            f"{row.name}: expected {which} ftol, xtol and gtol to be at least {_EPS:.2g}, the "
            f"machine epsilon; got {', '.join(f'{v:g}' for v in values)}"
        )


def _jacobian(row: Row, given: Mapping[str, Any]) -> dict[str, Any]:
    """How it comes about; see the attributes of that name."""
    jac = given.get("jac")
    found = _way(row, given, jac)
    unused = [name for name in _OF_DIFFERENCES if given.get(name) is not None]
    if unused and "differences" not in found:
        raise ValueError(
            f"{unused[0]}: expected only beside scipy's differences, jac='2-point' or '3-point'; "
            f"the Jacobian by autograd has no use for it"
        )
    exact = given.get("tr_solver") == "exact" or given.get("x_scale") == "jac"
    if found.get("as_operator") and (exact or row.name == "lm"):
        raise ValueError(
            f"jac='operator' gives products alone, of which {row.name} can make no use with "
            f"tr_solver='exact' or x_scale='jac', and lm none at all; use jac='rows' or 'columns'"
        )
    return found


def _way(row: Row, given: Mapping[str, Any], jac: Any) -> dict[str, Any]:
    if jac is None or jac is True:
        lsmr = given.get("tr_solver") == "lsmr" and given.get("x_scale") != "jac"
        return {"as_operator": lsmr}
    if isinstance(jac, str) and jac in _WAYS:
        return {"way": _WAYS[jac]}
    if row.native is None:
        if isinstance(jac, str) and jac == "operator":
            return {"as_operator": True}
        if jac is False or (isinstance(jac, str) and jac in _DIFFERENCES):
            return {"differences": jac or "2-point"}
        if callable(jac) and not isinstance(jac, type):
            return {"users": jac}
    words = [*_WAYS, *(("operator", *_DIFFERENCES) if row.native is None else ())]
    complex_step = jac == "cs" if isinstance(jac, str) else False
    why = "; parameters cannot take the complex steps of 'cs'" if complex_step else ""
    hint = did_you_mean(jac, words) if isinstance(jac, str) and not why else ""
    own = ", or a callable on the flat x" if row.native is None else ""
    raise ValueError(
        f"jac: expected True or absent (autograd), one of {', '.join(map(repr, words))}{own}; got "
        f"{shown(jac)}{why}{hint}"
    )


def _check_scipy(keywords: Mapping[str, Any]) -> None:
    newer = sorted(set(keywords) - SCIPYS)
    if newer:
        raise ValueError(
            f"least_squares_kwargs: {shown(newer)} is of a newer scipy than "
            f"{scipy.__version__}, which is installed"
        )
