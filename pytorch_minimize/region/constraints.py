"""Constraints as they are stated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from scipy.optimize import LinearConstraint, NonlinearConstraint
from torch import Tensor

from ..typing import Array
from ..wording import shown
from .bounds import as_array
from .constraint_checks import check_limits, check_stated
from .stated_limits import as_flags

__all__ = ["ClosureConstraint", "as_list", "overshoot"]


class ClosureConstraint:
    r"""A constraint :math:`l \le c \le u` on what a closure computes from the model.

    The Jacobian of c in the parameters comes from autograd, and the Hessian products that
    trust-constr asks for from double backward. Value and Jacobian at one point cost one run of
    ``fun``.

    Args:
        fun: takes no argument and returns c, a real tensor of any shape computed from the
            model's current parameters, the same shape every time.
        lb, ub: numbers, None for no limit, or arrays that broadcast to the shape of c. Equal
            limits make an equality.
        keep_feasible: the iterates of trust-constr are to satisfy the inequalities, from a start
            that does; a bool, or an array that broadcasts to the shape of c.

    Raises:
        TypeError: ``fun`` is not callable, or a limit is no number.
        ValueError: limits that leave everything or nothing.

    Example:
        >>> import torch
        >>> from pytorch_minimize.optim import MinimizeWrapper
        >>> w = torch.nn.Parameter(torch.tensor([1.0, 0.5], dtype=torch.float64))
        >>> on_circle = ClosureConstraint(lambda: w.square().sum(), 1.0, 1.0)
        >>> optimizer = MinimizeWrapper([w], dict(method="SLSQP", constraints=[on_circle]))
        >>> loss = optimizer.step(lambda: (w - 3).square().sum())
        >>> w.detach().round(decimals=4)
        tensor([0.7071, 0.7071], dtype=torch.float64)
    """

    def __init__(
        self,
        fun: Callable[[], Tensor],
        lb: Any = None,
        ub: Any = None,
        *,
        keep_feasible: Any = False,
    ) -> None:
        if not callable(fun):
            raise TypeError(
                f"ClosureConstraint: expected fun to be a callable without argument that returns "
                f"a tensor, got {shown(fun)}"
            )
        self.fun = fun
        self.lb = as_array(lb, "ClosureConstraint: lb", -np.inf)
        self.ub = as_array(ub, "ClosureConstraint: ub", np.inf)
        self.keep_feasible = as_flags(keep_feasible, "ClosureConstraint: keep_feasible")
        check_limits(self.lb, self.ub, "ClosureConstraint")
        if np.isneginf(self.lb).all() and np.isposinf(self.ub).all():
            raise ValueError("ClosureConstraint: expected a finite limit, lb or ub; got neither")

    def __repr__(self) -> str:
        return f"ClosureConstraint({self.fun!r}, lb={shown(self.lb)}, ub={shown(self.ub)})"


def as_list(given: Any) -> list[Any]:
    """The ``constraints`` argument as a list of what scipy takes, and of ours.

    Raises:
        TypeError: something else among them.
        ValueError: one that is misspelt, or whose limits leave nothing.
    """
    if given is None:
        return []
    kinds = (ClosureConstraint, NonlinearConstraint, LinearConstraint, Mapping)
    several = isinstance(given, Iterable) and not isinstance(given, kinds)
    constraints = list(given) if several else [given]
    for number, constraint in enumerate(constraints):
        misses = isinstance(constraint, Mapping) and not {"type", "fun"} <= set(constraint)
        if misses or not isinstance(constraint, kinds):
            raise TypeError(
                f"constraints: expected ClosureConstraint, scipy's NonlinearConstraint or "
                f"LinearConstraint, or a dict with type and fun; got {shown(constraint)}"
            )
        check_stated(constraint, f"constraint {number}")
    return constraints


def overshoot(values: Array, lb: Any, ub: Any) -> float:
    """How far values are outside [lb, ub] at most, relative to limits above 1; inf for NaN."""
    with np.errstate(invalid="ignore"):
        below = (lb - values) / np.maximum(1.0, np.abs(lb))
        above = (values - ub) / np.maximum(1.0, np.abs(ub))
    # An infinite limit gives NaN, which is no excess; a value that is NaN is beyond any.
    worst = np.fmax(np.fmax(below, above), 0.0)
    return float(np.max(np.where(np.isnan(values), np.inf, worst), initial=0.0))
