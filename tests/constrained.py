"""Constrained problems, in tensors for the optimizer and converted for scipy.

The numbered ones are from Hock and Schittkowski, Test Examples for Nonlinear Programming Codes
(1981).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from converted import Array, Converted
from instance import Instance, join
from scipy.optimize import NonlinearConstraint
from torch import Tensor, nn

from pytorch_minimize.optim import ClosureConstraint
from pytorch_minimize.scipy_minimize.methods import METHODS

Scalars = Sequence[Tensor]


@dataclasses.dataclass(frozen=True, eq=False)
class Constrained:
    """min f(x) where lb <= c(x) <= ub, and low <= x <= high where bounds are given.

    Attributes:
        start: one array for each parameter.
        loss, constraints: f and the elements of c, of the list of all variables.
        lb, ub: one for each element of c.
        bounds: (low, high) for all variables, or None.
        minimum: the least feasible f.
    """

    name: str
    start: Sequence[Any]
    loss: Callable[[Scalars], Tensor]
    constraints: Callable[[Scalars], Sequence[Tensor]]
    lb: Sequence[float]
    ub: Sequence[float]
    minimum: float
    bounds: tuple[float, float] | None = None

    def __str__(self) -> str:
        return self.name

    def make(self) -> Instance:
        tensors = [torch.tensor(t, dtype=torch.float64) for t in self.start]
        return Instance(tensors, lambda parts: self.loss(join(parts).unbind()))

    def stated(self, instance: Instance) -> ClosureConstraint:
        """In tensors, of the instance's parameters."""
        return ClosureConstraint(lambda: self.c(join(instance.params)), self.lb, self.ub)

    def c(self, x: Tensor) -> Tensor:
        """The constraints as a function of one flat vector, for `torch.func`."""
        return torch.stack(list(self.constraints(x.unbind())))

    @functools.cached_property
    def fun(self) -> Callable[[Array], float]:
        return self.make().fun

    @functools.cached_property
    def values(self) -> Callable[[Array], Array]:
        instance = self.make()
        return Converted(instance.params, self.stated(instance).fun).values

    def for_scipy(self, method: str) -> list[NonlinearConstraint]:
        instance = self.make()
        return for_scipy(instance.params, [self.stated(instance)], method)


def for_scipy(
    params: Iterable[nn.Parameter], stated: Iterable[ClosureConstraint], method: str
) -> list[NonlinearConstraint]:
    """Constraints of parameters as plain scipy's ``method`` takes them."""
    row, made = METHODS[method.lower()], []
    params = list(params)
    for constraint in stated:
        c = Converted(params, constraint.fun)
        shape = c.closure().shape
        lb, ub = (np.broadcast_to(b, shape).reshape(-1) for b in (constraint.lb, constraint.ub))
        if row.asks.constraint_curvature:
            hess = c.weighted_hessian
            made.append(NonlinearConstraint(c.values, lb, ub, jac=c.jacobian, hess=hess))
            continue
        limited = np.isfinite(lb) | np.isfinite(ub)
        # Equalities apart keep the methods that separate them from a warning.
        kinds = (lb == ub, limited & (lb != ub)) if row.asks.separates else (limited,)
        made += [_rows(c, kind, lb, ub) for kind in kinds if kind.any()]
    return made


def _rows(c: Converted, rows: Any, lb: Array, ub: Array) -> NonlinearConstraint:
    return NonlinearConstraint(
        lambda x: c.values(x)[rows], lb[rows], ub[rows], jac=lambda x: c.jacobian(x)[rows]
    )


HS6 = Constrained(
    "HS6",
    start=[[-1.2], 1.0],
    loss=lambda x: (1 - x[0]) * (1 - x[0]),
    constraints=lambda x: [10 * (x[1] - x[0] * x[0])],
    lb=[0.0],
    ub=[0.0],
    minimum=0.0,
)

HS7 = Constrained(
    "HS7",
    start=[[2.0, 2.0]],
    loss=lambda x: torch.log(1 + x[0] * x[0]) - x[1],
    constraints=lambda x: [(1 + x[0] * x[0]) * (1 + x[0] * x[0]) + x[1] * x[1]],
    lb=[4.0],
    ub=[4.0],
    minimum=-np.sqrt(3.0),
)

HS26 = Constrained(
    "HS26",
    start=[[-2.6], [2.0, 2.0]],
    loss=lambda x: (x[0] - x[1]) * (x[0] - x[1]) + _power4(x[1] - x[2]),
    constraints=lambda x: [(1 + x[1] * x[1]) * x[0] + _power4(x[2])],
    lb=[3.0],
    ub=[3.0],
    minimum=0.0,
)

HS71 = Constrained(
    "HS71",
    start=[[[1.0, 5.0], [5.0, 1.0]]],
    loss=lambda x: x[0] * x[3] * (x[0] + x[1] + x[2]) + x[2],
    constraints=lambda x: [
        x[0] * x[1] * x[2] * x[3],
        x[0] * x[0] + x[1] * x[1] + x[2] * x[2] + x[3] * x[3],
    ],
    lb=[25.0, 40.0],
    ub=[np.inf, 40.0],
    minimum=17.0140173,
    bounds=(1.0, 5.0),
)

HS100 = Constrained(
    "HS100",
    start=[[1.0, 2.0, 0.0], [[4.0, 0.0], [1.0, 1.0]]],
    loss=lambda x: (
        (x[0] - 10) * (x[0] - 10)
        + 5 * (x[1] - 12) * (x[1] - 12)
        + _power4(x[2])
        + 3 * (x[3] - 11) * (x[3] - 11)
        + 10 * _power4(x[4]) * x[4] * x[4]
        + 7 * x[5] * x[5]
        + _power4(x[6])
        - 4 * x[5] * x[6]
        - 10 * x[5]
        - 8 * x[6]
    ),
    constraints=lambda x: [
        2 * x[0] * x[0] + 3 * _power4(x[1]) + x[2] + 4 * x[3] * x[3] + 5 * x[4],
        7 * x[0] + 3 * x[1] + 10 * x[2] * x[2] + x[3] - x[4],
        23 * x[0] + x[1] * x[1] + 6 * x[5] * x[5] - 8 * x[6],
        4 * x[0] * x[0] + x[1] * x[1] - 3 * x[0] * x[1] + 2 * x[2] * x[2] + 5 * x[5] - 11 * x[6],
    ],
    lb=[-np.inf] * 4,
    ub=[127.0, 282.0, 196.0, 0.0],
    minimum=680.6300573,
)


def _power4(x: Tensor) -> Tensor:
    square = x * x
    return square * square


HOCK_SCHITTKOWSKI = (HS6, HS7, HS26, HS71, HS100)
