"""What a solver is handed for a constraint: values, fresh Jacobians, Hessian products."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from constrained import HOCK_SCHITTKOWSKI, HS71, HS100, Constrained
from instance import Array
from scipy.optimize import NonlinearConstraint, OptimizeResult
from torch import Tensor, nn

from pytorch_minimize.optim import ClosureConstraint, MinimizeWrapper
from pytorch_minimize.region.constraint_function import ConstraintFunction
from pytorch_minimize.scipy_minimize.methods import METHODS

CONSTRAINED = [row.name for row in METHODS.values() if row.constraints]
Probe = Callable[[NonlinearConstraint], None]


def probing(probe: Probe) -> Any:
    """A method of the user's own: looks at its one constraint and returns the start."""

    def method(fun: Any, x0: Array, constraints: Any, **rest: Any) -> OptimizeResult:
        (constraint,) = constraints
        probe(constraint)
        return OptimizeResult(x=x0, fun=fun(x0), success=True)

    return method


def probe(params: Sequence[nn.Parameter], stated: ClosureConstraint, look: Probe) -> None:
    optimizer = MinimizeWrapper(params, {"method": probing(look), "constraints": stated})
    optimizer.step(lambda: sum(p.square().sum() for p in params))  # type: ignore[arg-type,return-value]


def around(problem: Constrained, count: int) -> list[Array]:
    rng = np.random.default_rng(0)
    start = problem.make().x0
    return [start + 0.3 * rng.standard_normal(start.size) for _ in range(count)]


def weighted_hessian(problem: Constrained, x: Array, weights: Array) -> Array:
    sum_of = lambda x: torch.tensor(weights) @ problem.c(x)  # noqa: E731
    hessian: Tensor = torch.func.hessian(sum_of)(torch.tensor(x))
    return hessian.numpy()


@pytest.mark.parametrize("problem", HOCK_SCHITTKOWSKI, ids=str)
def test_values_jacobians_and_hessian_products(problem: Constrained) -> None:
    def look(constraint: NonlinearConstraint) -> None:
        for x in around(problem, 3):
            assert np.allclose(constraint.fun(x), problem.values(x), rtol=1e-14)
            jacobian = torch.func.jacrev(problem.c)(torch.tensor(x))
            assert np.allclose(constraint.jac(x), jacobian, rtol=1e-12, atol=1e-12)
            v = np.linspace(-1, 2, len(problem.lb))
            hessian, expected = constraint.hess(x, v), weighted_hessian(problem, x, v)
            for p in np.eye(x.size):
                assert np.allclose(hessian @ p, expected @ p, rtol=1e-12, atol=1e-12)
            assert not (hessian @ np.zeros(x.size, dtype=np.int8)).any()

    instance = problem.make()
    probe(instance.params, problem.stated(instance), look)


def test_a_hessian_is_of_its_point_after_the_parameters_moved() -> None:
    """trust-constr tries a point elsewhere and still asks for products at the older one."""

    def look(constraint: NonlinearConstraint) -> None:
        v, p = np.array([0.5, -1.0]), np.ones(4)
        x, elsewhere = around(HS71, 2)
        live = x.copy()
        hessian = constraint.hess(live, v)
        live[:] = 0.0  # a solver may go on writing into its x
        constraint.fun(elsewhere)
        assert np.allclose(hessian @ p, weighted_hessian(HS71, x, v) @ p, rtol=1e-12)
        other = constraint.hess(elsewhere, 2 * v)
        expected = weighted_hessian(HS71, elsewhere, 2 * v) @ p
        assert np.allclose(other @ p, expected, rtol=1e-12)

    instance = HS71.make()
    probe(instance.params, HS71.stated(instance), look)


@pytest.mark.parametrize("method", [name for name in CONSTRAINED if METHODS[name.lower()].gradient])
def test_arrays_handed_over_are_never_written_again(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    held: list[tuple[Array, Array]] = []
    original = ConstraintFunction._rows_for_scipy

    def holding(fun: Callable[[Array], Array]) -> Callable[[Array], Array]:
        def held_fun(x: Array) -> Array:
            array = fun(x)
            held.append((array, array.copy()))
            return array

        return held_fun

    def rows(self: ConstraintFunction, kept: Any) -> NonlinearConstraint:
        constraint = original(self, kept)
        constraint.fun, constraint.jac = holding(constraint.fun), holding(constraint.jac)
        return constraint

    monkeypatch.setattr(ConstraintFunction, "_rows_for_scipy", rows)
    instance = HS100.make()
    keywords = {"method": method, "constraints": HS100.stated(instance)}
    MinimizeWrapper(instance.params, keywords).step(instance.closure(1))
    assert len(held) > 20
    for array, copy in held:
        assert np.array_equal(array, copy)
    addresses = {array.ctypes.data for array, _ in held}
    assert len(addresses) == len(held)
