"""The user's ``minimizer_args``, checked against the method table and made ready for scipy."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..record.saved import plain_part
from ..region.constraint_checks import check_width
from ..region.constraints import as_list
from ..row import Asks, Row
from ..run.plan import Plan
from ..wording import did_you_mean, shown
from .curvature_arguments import curvature_by_autograd
from .keywords import ARGUMENTS, KEYWORDS, OPTIONS, RUN_KEYWORDS, as_mapping, check_keywords
from .methods import METHODS, find_method
from .option_kinds import OPTION_KINDS, check_sizes, checked_tolerance, checked_values

__all__ = ["Arguments", "check_callback", "settled"]

_SAVED = ("method", "tol", "options")
_DIFFERENCES = ("2-point", "3-point")
_FLOAT64_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Arguments:
    """What ``scipy.optimize.minimize`` will be called with, and what we do ourselves.

    Attributes:
        row: the method's row of the table.
        asks: what the method asks of this run.
        given: what the user gave, a shallow copy.
        keywords: go to scipy as they are.
        prints_report: a line of our own is printed at the end, where scipy prints none.
        maxiter: iterations that we count, where the method knows no such option.
        bounds_in_groups: the param groups state bounds.
    """

    row: Row
    asks: Asks
    given: Mapping[str, Any]
    keywords: Mapping[str, Any]
    prints_report: bool
    maxiter: int | None
    bounds_in_groups: bool = False

    @classmethod
    def parse(
        cls, minimizer_args: Mapping[str, Any] | None, *, bounds_in_groups: bool = False
    ) -> Arguments:
        """Check everything that can be checked without running.

        Args:
            minimizer_args: the user's; None is as good as empty.
            bounds_in_groups: the param groups state bounds, so that the method must take them.

        Raises:
            ValueError: an unknown keyword, method or option, or one that the method cannot take.
            TypeError: an argument of the wrong type.
        """
        given = settled(as_mapping("minimizer_args", minimizer_args))
        check_keywords("minimizer_args", given, KEYWORDS, OPTIONS | RUN_KEYWORDS)
        check_callback(given.get("callback"))
        original = dict(given)
        if "tol" in given:
            given["tol"] = checked_tolerance(given["tol"])
        method = given.pop("method", None)
        given["constraints"] = as_list(given.get("constraints"))
        bounds = "in the param groups" if bounds_in_groups else given.get("bounds")
        row = find_method(method, bounds=bounds, constraints=given["constraints"])
        options = dict(as_mapping("options", given.pop("options", None)))
        given["method"] = method if row.habits.as_given else row.name
        jac = given.pop("jac", None)
        gradient = _gradient_by_autograd(row, jac)
        _refuse_unused(row, given | {"bounds": bounds})
        curvature = curvature_by_autograd(row, given)
        report, maxiter = _take_over(row, options)
        if row.options is not None:
            options = _stated(_translate(row, row.options, options))
            if row.native is None:  # the others look at theirs themselves
                options = checked_values("options", options, OPTION_KINDS, row.name)
        if row.native is not None:
            if callable(jac):
                raise ValueError(f"{row.name} takes no jac: the gradient comes from autograd")
            if row.curvature and not curvature and not callable(given.get("hessp")):
                raise ValueError(f"{row.name} needs hessp: True, absent or a callable")
            if given.get("tol") is not None:
                options = dict.fromkeys(row.tolerances, given["tol"]) | options
            row.native.check(options)
        asks = replace(row.asks, gradient=gradient, curvature=curvature)
        if not gradient and jac is not None and not isinstance(jac, bool):
            given["jac"] = jac
        given["options"] = options
        return cls(row, asks, original, given, report, maxiter, bounds_in_groups)

    def for_groups(self, *, bounded: bool) -> Arguments:
        """Checked again where the param groups begin or cease to state bounds."""
        if bounded == self.bounds_in_groups:
            return self
        return self.parse(self.given, bounds_in_groups=bounded)

    def check_sizes(self, n: int) -> None:
        """Refuse options and constraints that are of another number of variables than n.

        Raises:
            ValueError: one is; says which.
        """
        if self.row.options is not None:
            check_sizes(self.keywords["options"], n)
        for number, constraint in enumerate(self.keywords["constraints"]):
            check_width(constraint, f"constraint {number}", n)

    @property
    def name(self) -> str:
        """Of the method."""
        return self.row.name

    @property
    def known_options(self) -> frozenset[str]:
        """The options that the method knows; none of a callable's are known to us."""
        return self.row.options or frozenset()

    @property
    def gradient_test(self) -> float | None:
        """Success is true where no element of the gradient is larger; None: not by that alone."""
        if self.row.gradient_test is None:
            return None
        tol = self.keywords.get("tol")
        given = self.keywords["options"].get("gtol", tol)
        return self.row.gradient_test if given is None else float(given)

    @functools.cached_property
    def plan(self) -> Plan:
        """What the run must know of it."""
        return Plan(
            name=self.name,
            asks=self.asks,
            habits=self.row.habits,
            callback=self.keywords.get("callback"),
            maxiter=self.maxiter,
            iterations=self._iterations,
            gradient_test=self.gradient_test,
            tolerances=self.row.tolerances,
            constrained=bool(self.keywords["constraints"]),
            prints_report=self.prints_report,
        )

    @property
    def _iterations(self) -> int | None:
        """The most that the user allows, where they are what is counted."""
        if not self.row.limits_iterations:
            return None
        limit = self.keywords["options"].get("maxiter", self.maxiter)
        return None if limit is None or math.isinf(limit) else int(limit)

    def as_saved(self) -> dict[str, Any]:
        """Method, tolerance and options, for ``state_dict``; callables are left out."""
        return plain_part({name: self.given[name] for name in _SAVED if name in self.given})

    def options_for(self, eps: float) -> dict[str, Any]:
        """The options, with scipy's float64 defaults fitted to parameters of precision ``eps``.

        A difference step of 1.5e-8 vanishes in float32: every point looks like a minimum.
        """
        options = dict(self.keywords["options"])
        if self.row.options is None or eps <= _FLOAT64_EPS:
            return options
        fitted = dict(self.row.precision)
        if self.row.gradient and not self.asks.gradient and "finite_diff_rel_step" not in options:
            fitted["eps"] = 0.5
        return {
            name: eps**power for name, power in fitted.items() if name in self.row.options
        } | options


def settled(given: Mapping[str, Any]) -> dict[str, Any]:
    """A copy whose iterators are lists: bounds and constraints are read at each step."""
    return {name: list(v) if isinstance(v, Iterator) else v for name, v in given.items()}


def check_callback(callback: object) -> None:
    """Refuse what cannot be called."""
    if callback is not None and not callable(callback):
        raise TypeError(f"callback: expected a callable, got {shown(callback)}")


def _gradient_by_autograd(row: Row, jac: object) -> bool:
    if row.habits.as_given:
        return jac is None or jac is True
    if not row.gradient:
        if jac is None or jac is False:
            return False
        raise ValueError(
            f"{row.name} uses no gradient: expected jac to be False or absent, got {shown(jac)}. "
            f"Leave jac out, or choose a method that uses it, such as L-BFGS-B."
        )
    if jac is None or jac is True:
        return True
    if callable(jac) and not isinstance(jac, type):
        return False
    if jac is False or (isinstance(jac, str) and jac in _DIFFERENCES):
        if not row.needs_gradient:
            return False
        raise ValueError(
            f"{row.name} needs a gradient: expected jac to be True, absent or a callable, got "
            f"{shown(jac)}; scipy has no finite differences for it"
        )
    raise ValueError(
        f"jac: expected True (autograd), False or one of {_DIFFERENCES} (scipy's finite "
        f"differences), or a callable on the flat x; got {shown(jac)}"
        f"{did_you_mean(jac, _DIFFERENCES) if isinstance(jac, str) else ''}"
    )


def _refuse_unused(row: Row, given: dict[str, Any]) -> None:
    """Refuse arguments that the method would ignore; scipy only warns of them.

    An argument that is None or empty is as good as absent.
    """
    if row.habits.as_given:
        return
    takes = {
        "bounds": row.bounds,
        "constraints": row.constraints,
        "hess": "hess" in row.curvature,
        "hessp": "hessp" in row.curvature,
    }
    for name, accepted in takes.items():
        value = given.get(name)
        if accepted or value is None or (isinstance(value, (tuple, list)) and not value):
            continue
        able = ", ".join(m.name for m in METHODS.values() if _takes(m, name))
        raise ValueError(f"{row.name} takes no {name}; methods that do: {able}")


def _takes(row: Row, name: str) -> bool:
    return name in row.curvature if name.startswith("hess") else bool(getattr(row, name))


def _take_over(row: Row, options: dict[str, Any]) -> tuple[bool, int | None]:
    """Remove from ``options`` what we do in scipy's place: the report, TNC's iteration count."""
    ours = {name: options.pop(name) for name in _ours(row) if name in options}
    ours = checked_values("options", _stated(ours), OPTION_KINDS, "")
    report, maxiter = bool(ours.get("disp", False)), ours.get("maxiter")
    return report, maxiter


def _stated(options: Mapping[str, Any]) -> dict[str, Any]:
    """None asks for scipy's default, also of options for which scipy takes no None."""
    return {name: value for name, value in options.items() if value is not None}


def _ours(row: Row) -> list[str]:
    return ["disp"] * (not row.prints) + ["maxiter"] * row.counts_no_iterations


def _translate(row: Row, known: frozenset[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """Options under the method's own names.

    scipy only warns of unknown options, and people have run plain BFGS for weeks believing that
    it was something else.
    """
    translated: dict[str, Any] = {}
    unknown = []
    for name, value in options.items():
        own = row.aliases.get(name, name)
        if own not in known:
            unknown.append(name)
        elif own in translated or (own != name and own in options):
            raise ValueError(f"options: {name} means {own} for {row.name}; give one of them")
        else:
            translated[own] = value
    if unknown:
        names = sorted(known)
        elsewhere = {name: ARGUMENTS[name] for name in KEYWORDS}
        raise ValueError(
            f"options: {row.name} knows {', '.join(names)}; got {shown(sorted(unknown, key=str))}"
            f"{did_you_mean(unknown, names, RUN_KEYWORDS | elsewhere)}"
        )
    return translated
