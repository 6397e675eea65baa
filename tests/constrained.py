"""Constrained problems with two faces: tensors for the optimizer, numpy with derivatives for scipy.

The numbered ones are from Hock and Schittkowski, Test Examples for Nonlinear Programming Codes
(1981). Values are written for scalars of either kind; Jacobians are written by hand.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from instance import Array, Instance, join
from scipy.optimize import NonlinearConstraint
from torch import Tensor

from pytorch_minimize.optim import ClosureConstraint

Scalars = Sequence[Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Constrained:
    """min f(x) where lb <= c(x) <= ub, and low <= x <= high where bounds are given.

    Attributes:
        start: one array for each parameter.
        loss, constraints: f and the elements of c, of the list of all variables.
        grad, jac: their derivatives.
        lb, ub: one for each element of c.
        bounds: (low, high) for all variables, or None.
        minimum: the least feasible f.
    """

    name: str
    start: Sequence[Any]
    loss: Callable[[Scalars], Any]
    grad: Callable[[Array], Array]
    constraints: Callable[[Scalars], Sequence[Any]]
    jac: Callable[[Array], Array]
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
        return ClosureConstraint(
            lambda: torch.stack(list(self.constraints(join(instance.params).unbind()))),
            self.lb,
            self.ub,
        )

    def fun(self, x: Array) -> float:
        return float(self.loss(list(x)))

    def values(self, x: Array) -> Array:
        return np.array([float(c) for c in self.constraints(list(x))])

    def hess(self, x: Array) -> Array:
        return _hessian(lambda v: self.loss(v.unbind()), x)

    def for_scipy(self, method: str) -> list[NonlinearConstraint]:
        """For plain scipy; equalities apart, which keeps SLSQP from a warning."""
        if method == "trust-constr":
            constraint = NonlinearConstraint(self.values, self.lb, self.ub, self.jac, self._hess)
            return [constraint]
        equal = np.equal(self.lb, self.ub)
        return [
            NonlinearConstraint(
                lambda x, rows=rows: self.values(x)[rows],
                np.array(self.lb)[rows],
                np.array(self.ub)[rows],
                jac=lambda x, rows=rows: self.jac(x)[rows],
            )
            for rows in (equal, ~equal)
            if rows.any()
        ]

    def _hess(self, x: Array, v: Array) -> Array:
        weights = torch.tensor(v)
        return _hessian(lambda u: weights @ torch.stack(list(self.constraints(u.unbind()))), x)


def _hessian(fun: Callable[[Tensor], Tensor], x: Array) -> Array:
    return cast(Tensor, torch.func.hessian(fun)(torch.tensor(x))).numpy()


HS6 = Constrained(
    "HS6",
    start=[[-1.2], 1.0],
    loss=lambda x: (1 - x[0]) * (1 - x[0]),
    grad=lambda x: np.array([2 * (x[0] - 1), 0.0]),
    constraints=lambda x: [10 * (x[1] - x[0] * x[0])],
    jac=lambda x: np.array([[-20 * x[0], 10.0]]),
    lb=[0.0],
    ub=[0.0],
    minimum=0.0,
)

HS7 = Constrained(
    "HS7",
    start=[[2.0, 2.0]],
    loss=lambda x: _log(1 + x[0] * x[0]) - x[1],
    grad=lambda x: np.array([2 * x[0] / (1 + x[0] * x[0]), -1.0]),
    constraints=lambda x: [(1 + x[0] * x[0]) * (1 + x[0] * x[0]) + x[1] * x[1]],
    jac=lambda x: np.array([[4 * x[0] * (1 + x[0] * x[0]), 2 * x[1]]]),
    lb=[4.0],
    ub=[4.0],
    minimum=-np.sqrt(3.0),
)

HS26 = Constrained(
    "HS26",
    start=[[-2.6], [2.0, 2.0]],
    loss=lambda x: (x[0] - x[1]) * (x[0] - x[1]) + _power4(x[1] - x[2]),
    grad=lambda x: np.array(
        [
            2 * (x[0] - x[1]),
            -2 * (x[0] - x[1]) + 4 * (x[1] - x[2]) ** 3,
            -4 * (x[1] - x[2]) ** 3,
        ]
    ),
    constraints=lambda x: [(1 + x[1] * x[1]) * x[0] + _power4(x[2])],
    jac=lambda x: np.array([[1 + x[1] * x[1], 2 * x[0] * x[1], 4 * x[2] ** 3]]),
    lb=[3.0],
    ub=[3.0],
    minimum=0.0,
)

HS71 = Constrained(
    "HS71",
    start=[[[1.0, 5.0], [5.0, 1.0]]],
    loss=lambda x: x[0] * x[3] * (x[0] + x[1] + x[2]) + x[2],
    grad=lambda x: np.array(
        [
            x[3] * (2 * x[0] + x[1] + x[2]),
            x[0] * x[3],
            x[0] * x[3] + 1,
            x[0] * (x[0] + x[1] + x[2]),
        ]
    ),
    constraints=lambda x: [
        x[0] * x[1] * x[2] * x[3],
        x[0] * x[0] + x[1] * x[1] + x[2] * x[2] + x[3] * x[3],
    ],
    jac=lambda x: np.array([np.prod(x) / x, 2 * x]),
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
    grad=lambda x: np.array(
        [
            2 * (x[0] - 10),
            10 * (x[1] - 12),
            4 * x[2] ** 3,
            6 * (x[3] - 11),
            60 * x[4] ** 5,
            14 * x[5] - 4 * x[6] - 10,
            4 * x[6] ** 3 - 4 * x[5] - 8,
        ]
    ),
    constraints=lambda x: [
        2 * x[0] * x[0] + 3 * _power4(x[1]) + x[2] + 4 * x[3] * x[3] + 5 * x[4],
        7 * x[0] + 3 * x[1] + 10 * x[2] * x[2] + x[3] - x[4],
        23 * x[0] + x[1] * x[1] + 6 * x[5] * x[5] - 8 * x[6],
        4 * x[0] * x[0] + x[1] * x[1] - 3 * x[0] * x[1] + 2 * x[2] * x[2] + 5 * x[5] - 11 * x[6],
    ],
    jac=lambda x: np.array(
        [
            [4 * x[0], 12 * x[1] ** 3, 1, 8 * x[3], 5, 0, 0],
            [7, 3, 20 * x[2], 1, -1, 0, 0],
            [23, 2 * x[1], 0, 0, 0, 12 * x[5], -8],
            [8 * x[0] - 3 * x[1], 2 * x[1] - 3 * x[0], 4 * x[2], 0, 0, 5, -11],
        ]
    ),
    lb=[-np.inf] * 4,
    ub=[127.0, 282.0, 196.0, 0.0],
    minimum=680.6300573,
)


def _power4(x: Any) -> Any:
    square = x * x
    return square * square


def _log(x: Any) -> Any:
    # torch's for both, since numpy's differs in the last bit.
    return (
        torch.log(x)
        if isinstance(x, Tensor)
        else torch.tensor(float(x), dtype=torch.float64).log().item()
    )


HOCK_SCHITTKOWSKI = (HS6, HS7, HS26, HS71, HS100)
