"""The rows of the methods that stand on conjugate gradients, and how a run of one is made."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..bridge.space import ARRAYS, TensorSpace
from ..kinds import (
    FLAG,
    NUMBER,
    ORDER,
    SHARE,
    Kind,
    at_least,
    checked_options,
    is_number,
    optional,
)
from ..row import Habits, Row
from .newton_cg import NewtonCG, NewtonCGRules
from .nystrom import Nystrom
from .polak_ribiere import PolakRibiere, PolakRibiereRules
from .steihaug import Steihaug, SteihaugRules

__all__ = ["ROWS", "ConjugateMethod"]

_POSITIVE = Kind(lambda v: is_number(v) and v > 0, "a positive number")
_NOT_NEGATIVE = Kind(lambda v: is_number(v) and v >= 0, "a number of at least 0")
_ETA = Kind(lambda v: is_number(v) and 0.0 <= v < 0.25, "a number of at least 0, below 0.25")

_ALL: Mapping[str, Kind] = {"maxiter": optional(at_least(0)), "return_all": FLAG}
_WOLFE: Mapping[str, Kind] = {"c1": SHARE, "c2": SHARE}
_NYSTROM: Mapping[str, Kind] = {
    "nystrom": at_least(0),
    "nystrom_every": at_least(1),
    "damping": _NOT_NEGATIVE,
}


@dataclass(frozen=True)
class ConjugateMethod:
    """How a run is made of torch-CG, torch-Newton-CG or torch-trust-ncg.

    Attributes:
        name: as users write it.
        options: name -> what it accepts.
        rules: takes those of them that are no business of the preconditioner.
        solver: a run on vectors of a space.
    """

    name: str
    options: Mapping[str, Kind]
    rules: Callable[..., Any]
    solver: Callable[..., Any]

    def check(self, options: Mapping[str, Any]) -> None:
        """Refuse options that are not understood.

        Raises:
            ValueError: an option that is not known, of another kind, or at odds with another.
        """
        given = checked_options(self.name, options, self.options)
        rules = self._rules(given)
        if "c1" in self.options and not rules.c1 < rules.c2:
            raise ValueError(f"options: expected c1 < c2, got {rules.c1:g} and {rules.c2:g}")
        if "eta" in self.options and not rules.initial_trust_radius < rules.max_trust_radius:
            raise ValueError(
                "options: expected initial_trust_radius < max_trust_radius, got "
                f"{rules.initial_trust_radius:g} and {rules.max_trust_radius:g}"
            )

    def as_callable(self) -> Callable[..., Any]:
        """As a ``method`` of :func:`scipy.optimize.minimize`."""
        from .plain import minimised

        return functools.partial(minimised, self.name)

    def make(
        self, options: Mapping[str, Any], n: int, device: torch.device | None, warm: Any
    ) -> Any:
        """A run on arrays, or on tensors of a device; it takes nothing of an earlier run."""
        given = checked_options(self.name, options, self.options)
        space: Any = ARRAYS if device is None else TensorSpace(device)
        rank = min(n, given.get("nystrom", 0))
        if not rank:
            return self.solver(space, self._rules(given))
        every, damping = given.get("nystrom_every", 20), given.get("damping", 0.0)
        nystrom: Nystrom[Any] = Nystrom(space, rank, every, damping, device)
        return self.solver(space, self._rules(given), nystrom)

    def __reduce__(self) -> tuple[Any, ...]:
        """By name: what it accepts are functions, which cannot be pickled."""
        return _of_name, (self.name,)

    def _rules(self, given: Mapping[str, Any]) -> Any:
        known = {name: value for name, value in given.items() if not name.startswith("nystrom")}
        return self.rules(**known)


def _of_name(name: str) -> Any:
    return ROWS[name.lower()].native


_CG = ConjugateMethod(
    "torch-CG",
    {"gtol": NUMBER, "norm": ORDER, **_WOLFE, **_ALL},
    PolakRibiereRules,
    PolakRibiere,
)
_NEWTON_CG = ConjugateMethod(
    "torch-Newton-CG",
    {"xtol": NUMBER, **_WOLFE, **_ALL, **_NYSTROM},
    NewtonCGRules,
    NewtonCG,
)
_TRUST_NCG = ConjugateMethod(
    "torch-trust-ncg",
    {
        "gtol": NUMBER,
        "initial_trust_radius": _POSITIVE,
        "max_trust_radius": _POSITIVE,
        "eta": _ETA,
        **_ALL,
        **_NYSTROM,
    },
    SteihaugRules,
    Steihaug,
)


def _row(method: ConjugateMethod, **more: Any) -> Row:
    second_order = "nystrom" in method.options
    return Row(
        method.name,
        options=frozenset({*method.options, "disp"}),
        gradient=True,
        needs_gradient=True,
        curvature=("hessp",) if second_order else (),
        prints=False,
        habits=Habits(
            precision_lost=frozenset({2}),
            result=("jac", "njev", "nhev") if second_order else ("jac", "njev"),
        ),
        native=method,
        **more,
    )


ROWS: dict[str, Row] = {
    row.name.lower(): row
    for row in (
        _row(_CG, tolerances=("gtol",), gradient_test=1e-5),
        _row(_NEWTON_CG, tolerances=("xtol",)),
        _row(_TRUST_NCG, tolerances=("gtol",), gradient_test=1e-4),
    )
}
"""What the optimizers must know of each, by its name in lower case."""
