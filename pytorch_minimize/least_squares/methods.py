"""One table: scipy's three methods of least squares and ours, and what kind each keyword is of."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.optimize import Bounds
from scipy.sparse import issparse

from ..bridge.space import ARRAYS, TensorSpace
from ..kinds import ARRAY, FLAG, Kind, at_least, is_number, one_of, optional
from ..row import Habits, Row
from ..solvers.steihaug import Steihaug, SteihaugRules
from ..wording import did_you_mean, shown
from .levenberg_marquardt import LevenbergMarquardt
from .levenberg_rules import LevenbergRules
from .losses import LOSSES

__all__ = ["KINDS", "METHODS", "find_method"]

_POSITIVE = Kind(lambda v: is_number(v) and 0 < v < math.inf, "a positive number")
_TOLERANCE = optional(Kind(lambda v: is_number(v) and v >= 0, "a number of at least 0"))
_NAMES = one_of(*LOSSES)


def _is_scale(value: Any) -> bool:
    if isinstance(value, str):
        return value == "jac"
    return bool(ARRAY.accepts(value) and (np.asarray(value, dtype=np.float64) > 0).all())


def _is_sparsity(value: Any) -> bool:
    return issparse(value) or (ARRAY.accepts(value) and np.ndim(value) == 2)


KINDS: Mapping[str, Kind] = {
    "ftol": _TOLERANCE,
    "xtol": _TOLERANCE,
    "gtol": _TOLERANCE,
    "x_scale": optional(
        Kind(
            _is_scale,
            '"jac", a positive number or an array of such, one a variable',
            words=("jac",),
        )
    ),
    "loss": Kind(
        lambda v: callable(v) or _NAMES.accepts(v),
        f"{_NAMES.expected}, or a function of z = (r / f_scale)^2",
        words=_NAMES.words,
    ),
    "f_scale": _POSITIVE,
    "diff_step": optional(ARRAY),
    "tr_solver": optional(one_of("exact", "lsmr")),
    "tr_options": optional(Kind(lambda v: isinstance(v, Mapping), "a dict")),
    "jac_sparsity": optional(Kind(_is_sparsity, "a matrix of shape (m, n), sparse or not")),
    "max_nfev": optional(at_least(1)),
    "verbose": one_of(0, 1, 2),
    "args": Kind(lambda v: isinstance(v, (tuple, list)), "a tuple"),
    "kwargs": optional(Kind(lambda v: isinstance(v, Mapping), "a dict")),
    "workers": optional(
        Kind(lambda v: callable(v) or v == 1, "1 or a map: processes of their own have no closure")
    ),
    "geodesic": FLAG,
    "damping": _POSITIVE,
    "maxiter": optional(at_least(0)),
    "initial_trust_radius": _POSITIVE,
    "max_trust_radius": _POSITIVE,
    "eta": Kind(lambda v: is_number(v) and 0.0 <= v < 0.25, "a number of at least 0, below 0.25"),
}
"""Keywords that are looked at one by one; the others are looked at together."""


@dataclass(frozen=True)
class _Levenberg:
    """How a run of torch-lm is made."""

    def check(self, options: Mapping[str, Any]) -> None:
        """Nothing: each keyword was looked at."""

    def as_callable(self) -> Callable[..., Any]:
        """There is none: scipy.optimize.minimize has no residuals.

        Raises:
            TypeError: always.
        """
        raise TypeError("torch-lm minimises residuals, of which scipy.optimize.minimize has none")

    def make(
        self, options: Mapping[str, Any], n: int, device: torch.device | None, warm: Any
    ) -> Any:
        """A run without bounds."""
        return self.make_within(options, n, device, None)

    def make_within(
        self,
        options: Mapping[str, Any],
        n: int,
        device: torch.device | None,
        bounds: Bounds | None,
    ) -> Any:
        """A run on tensors of a device."""
        rules = LevenbergRules(**options)
        if bounds is None:
            return LevenbergMarquardt(rules)
        sides = (torch.as_tensor(side, device=device) for side in (bounds.lb, bounds.ub))
        lower, upper = sides
        return LevenbergMarquardt(rules, (lower, upper))


@dataclass(frozen=True)
class _GaussNewtonCG:
    """How a run of torch-gauss-newton-cg is made."""

    def check(self, options: Mapping[str, Any]) -> None:
        """Refuse trust radii that are at odds.

        Raises:
            ValueError: the first is not smaller than the largest.
        """
        rules = self._rules(options)
        if not rules.initial_trust_radius < rules.max_trust_radius:
            raise ValueError(
                "least_squares_kwargs: expected initial_trust_radius < max_trust_radius, got "
                f"{rules.initial_trust_radius:g} and {rules.max_trust_radius:g}"
            )

    def as_callable(self) -> Callable[..., Any]:
        """There is none; see torch-lm's.

        Raises:
            TypeError: always.
        """
        raise TypeError("scipy.optimize.minimize has no residuals; its torch-trust-ncg is as near")

    def make(
        self, options: Mapping[str, Any], n: int, device: torch.device | None, warm: Any
    ) -> Any:
        """A run on arrays, or on tensors of a device."""
        space: Any = ARRAYS if device is None else TensorSpace(device)
        return Steihaug(space, self._rules(options))

    def _rules(self, options: Mapping[str, Any]) -> SteihaugRules:
        return SteihaugRules(**({"gtol": 1e-6} | dict(options)))


def _names(names: str) -> frozenset[str]:
    return frozenset(f"method {names} callback verbose".split())


_TOLERANCES = "ftol xtol gtol x_scale max_nfev"
_DIFFERENCES = "jac diff_step args kwargs workers"
_ROBUST = "bounds loss f_scale"
_TRUST_REGION = f"{_ROBUST} {_TOLERANCES} {_DIFFERENCES} tr_solver tr_options jac_sparsity"
_HABITS = Habits(keeps_bounds=True, told=("x",), result=("grad", "njev"))

METHODS: dict[str, Row] = {
    row.name: row
    for row in (
        Row("trf", _names(_TRUST_REGION), gradient=True, bounds=True, habits=_HABITS),
        Row("dogbox", _names(_TRUST_REGION), gradient=True, bounds=True, habits=_HABITS),
        Row(
            "lm",
            _names(f"{_TOLERANCES} {_DIFFERENCES} loss f_scale"),
            gradient=True,
            habits=_HABITS,
        ),
        Row(
            "torch-lm",
            _names(f"{_ROBUST} {_TOLERANCES} jac geodesic damping"),
            gradient=True,
            needs_gradient=True,
            bounds=True,
            habits=_HABITS,
            prints=False,
            native=_Levenberg(),
        ),
        Row(
            "torch-gauss-newton-cg",
            _names("loss f_scale gtol maxiter initial_trust_radius max_trust_radius eta"),
            gradient=True,
            needs_gradient=True,
            curvature=("hessp",),
            habits=replace(
                _HABITS,
                keeps_bounds=False,
                precision_lost=frozenset({2}),
                result=("grad", "njev", "nhev"),
            ),
            prints=False,
            native=_GaussNewtonCG(),
        ),
    )
}
"""By name; scipy's first."""


def find_method(method: object) -> Row:
    """The row of that name, in any case.

    Raises:
        ValueError: there is none.

    Example:
        >>> find_method("Torch-LM").name
        'torch-lm'
    """
    if isinstance(method, str) and method.lower() in METHODS:
        return METHODS[method.lower()]
    hint = did_you_mean(method, METHODS) if isinstance(method, str) else ""
    raise ValueError(
        f"method: expected one of {', '.join(METHODS)}, got {shown(method)}{hint}; methods that "
        f"minimise a loss are MinimizeWrapper's"
    )
