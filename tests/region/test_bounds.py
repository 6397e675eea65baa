"""Bounds: on the flat vector and per param group, for each local method that takes them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import plain
import pytest
import scipy.optimize
import torch
from instance import Instance, join
from scipy.optimize import Bounds
from torch import Tensor

from pytorch_minimize.optim import MinimizeWrapper
from pytorch_minimize.scipy_minimize.methods import METHODS

BOUNDED = [row.name for row in METHODS.values() if row.bounds]
TIGHT: dict[str, dict[str, Any]] = {
    "Nelder-Mead": {"xatol": 1e-8, "fatol": 1e-12, "maxfev": 4000, "adaptive": True},
    "Powell": {"xtol": 1e-8, "ftol": 1e-12},
    "L-BFGS-B": {"ftol": 1e-14, "gtol": 1e-9},
    "TNC": {"ftol": 1e-14, "gtol": 1e-9, "maxfun": 2000},
    "SLSQP": {"ftol": 1e-13},
    "COBYLA": {"rhobeg": 0.5, "tol": 1e-7, "maxiter": 4000},
    "COBYQA": {"final_tr_radius": 1e-7},
    "trust-constr": {"gtol": 0.0, "xtol": 1e-11, "barrier_tol": 1e-9},
}


@dataclasses.dataclass(frozen=True, eq=False)
class Bounded:
    """A problem, the (low, high) of each of its parameters and its bounded minimum."""

    name: str
    make: Callable[[], Instance]
    limits: Sequence[Any]
    minimum: float

    def __str__(self) -> str:
        return self.name

    def groups(self, instance: Instance) -> list[dict[str, Any]]:
        """One param group for each parameter; one without limits has no bounds at all."""
        pairs = zip(instance.params, self.limits, strict=True)
        return [{"params": [p]} | ({"bounds": b} if b else {}) for p, b in pairs]

    def flat(self) -> Bounds:
        """The same as scipy takes them."""
        instance = self.make()
        lower, upper = [], []
        for p, limits in zip(instance.params, self.limits, strict=True):
            low, high = limits or (None, None)
            low, high = -np.inf if low is None else low, np.inf if high is None else high
            lower.append(np.broadcast_to(low, p.shape).reshape(-1))
            upper.append(np.broadcast_to(high, p.shape).reshape(-1))
        return Bounds(np.concatenate(lower), np.concatenate(upper))


def valley() -> Instance:
    """A curved valley, its minimum at (1, 1) cut off."""

    def loss(tensors: Sequence[Tensor]) -> Tensor:
        x, y = join(tensors)
        return (y - x * x) ** 2 + (1 - x) ** 2

    return Instance([torch.tensor(-0.5).double(), torch.tensor([0.9]).double()], loss)


def corner() -> Instance:
    """Hock and Schittkowski's problem 45: the minimum is in the corner (1, 2, 3, 4, 5)."""

    def loss(tensors: Sequence[Tensor]) -> Tensor:
        return 2 - join(tensors).prod() / 120

    return Instance([torch.tensor([0.5, 1.0]).double(), torch.full((3, 1), 2.0).double()], loss)


# Well conditioned, so that a search without gradients needs no luck to come to the end.
_A = np.eye(9, 4) + 0.1 * np.random.default_rng(3).standard_normal((9, 4))
_B = np.array([1.0, -2.0, 0.5, -1.5, 0.0, 0.0, 1.0, 1.0, 1.0])


def nonnegative() -> Instance:
    """Least squares, in non-negative variables, one of which ends at its bound, and a free one."""
    a, b = torch.tensor(_A), torch.tensor(_B)

    def loss(tensors: Sequence[Tensor]) -> Tensor:
        return (a @ join(tensors) - b).square().sum()

    return Instance(
        [torch.ones(1, 2).double(), torch.ones(1).double(), torch.ones(1).double()], loss
    )


def _nonnegative_minimum() -> float:
    # Free is the difference of two that are not negative.
    return float(scipy.optimize.nnls(np.column_stack([_A, -_A[:, 3]]), _B)[1] ** 2)


PROBLEMS = (
    Bounded("valley", valley, [(None, 0.5), None], 0.25),
    Bounded("corner", corner, [(0, np.array([1, 2])), (0, [[3.0], [4.0], [5.0]])], 1.0),
    Bounded(
        "nonnegative",
        nonnegative,
        [(0.0, None), (torch.zeros(1), 1e3), None],
        _nonnegative_minimum(),
    ),
)


def arguments(method: str, instance: Instance, **more: Any) -> dict[str, Any]:
    hess = {"hess": instance.hess} if method == "trust-constr" else {}
    return {"method": method, "options": TIGHT[method]} | hess | more


@functools.cache
def scipys(problem: Bounded, method: str) -> Any:
    twin = problem.make()
    jac = twin.jac if METHODS[method.lower()].gradient else None
    keywords = arguments(method, twin, jac=jac, bounds=problem.flat())
    return plain.minimize(twin.fun, twin.x0, **keywords)


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
@pytest.mark.parametrize("method", BOUNDED)
def test_bounded_minimum_by_scipys_path(problem: Bounded, method: str) -> None:
    instance, seen = problem.make(), []

    def closure() -> Tensor:
        seen.append(instance.x)
        return instance.closure(2)()

    optimizer = MinimizeWrapper(problem.groups(instance), arguments(method, instance))
    optimizer.step(closure)
    expected = scipys(problem, method)
    assert abs(optimizer.res.fun - problem.minimum) < 1e-6
    assert optimizer.res.nfev == expected.nfev
    assert np.array_equal(optimizer.res.x, expected.x)
    assert np.array_equal(instance.x, expected.x)
    if METHODS[method.lower()].habits.keeps_bounds:
        bounds = problem.flat()
        assert (np.array(seen) >= bounds.lb).all()
        assert (np.array(seen) <= bounds.ub).all()


@pytest.mark.parametrize("method", ["L-BFGS-B", "trust-constr"])
def test_flat_forms(method: str) -> None:
    problem = PROBLEMS[0]
    bounds = problem.flat()
    for given in (bounds, [(None, 0.5), (None, None)], np.column_stack([bounds.lb, bounds.ub])):
        instance = problem.make()
        optimizer = MinimizeWrapper(instance.params, arguments(method, instance, bounds=given))
        optimizer.step(instance.closure(1))
        assert np.array_equal(optimizer.res.x, scipys(problem, method).x)
    assert np.array_equal(bounds.lb, problem.flat().lb)
    assert np.array_equal(bounds.ub, problem.flat().ub)


def test_keep_feasible_is_passed_on() -> None:
    instance, iterates = corner(), []
    bounds = Bounds(np.zeros(5), np.arange(1.0, 6.0), keep_feasible=True)
    keywords: dict[str, Any] = {"method": "trust-constr", "bounds": bounds}
    keywords["callback"] = lambda x, state: iterates.append(x)
    MinimizeWrapper(instance.params, keywords).step(instance.closure(2))
    assert (np.array(iterates) >= 0.0).all()
    assert (np.array(iterates) <= bounds.ub).all()


@pytest.mark.parametrize("bounds", [[(None, None)] * 2, [(-np.inf, np.inf)] * 2, Bounds()])
def test_infinite_bounds_are_none_for_scipy(bounds: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    minimize = scipy.optimize.minimize

    def spy(*args: Any, **keywords: Any) -> Any:
        given.append(keywords["bounds"])
        return minimize(*args, **keywords)

    monkeypatch.setattr(scipy.optimize, "minimize", spy)
    instance = valley()
    MinimizeWrapper(instance.params, {"method": "TNC", "bounds": bounds}).step(instance.closure(2))
    assert given == [None]


def test_scipys_choice_with_bounded_groups() -> None:
    instance = valley()
    optimizer = MinimizeWrapper(PROBLEMS[0].groups(instance), {"options": {"maxfun": 3}})
    assert "L-BFGS-B" in repr(optimizer)
    optimizer = MinimizeWrapper(instance.params[:1], {})
    assert "method=BFGS" in repr(optimizer)
    optimizer.add_param_group({"params": instance.params[1:], "bounds": (0, 1)})
    assert "L-BFGS-B" in repr(optimizer)


@pytest.mark.parametrize("method", ["BFGS", "trust-ncg"])
def test_a_method_without_bounds_names_those_with(method: str) -> None:
    instance = valley()
    for groups, more in (
        (PROBLEMS[0].groups(instance), {}),
        (instance.params, {"bounds": [(0, 1), (0, 1)]}),
    ):
        with pytest.raises(ValueError, match=f"{method} takes no bounds.*L-BFGS-B.*trust-constr"):
            MinimizeWrapper(groups, {"method": method} | more)
    optimizer = MinimizeWrapper(instance.params[:1], {"method": method})
    with pytest.raises(ValueError, match="takes no bounds"):
        optimizer.add_param_group({"params": instance.params[1:], "bounds": (0, 1)})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("method", ["L-BFGS-B", "TNC", "SLSQP"])
@pytest.mark.parametrize("all_fixed", [False, True])
def test_equal_bounds_fix_a_variable(method: str, all_fixed: bool) -> None:
    instance, twin = corner(), corner()
    lower = np.array([0.5, 0.25, 0.0, 0.0, 0.0])
    upper = lower.copy() if all_fixed else np.array([0.5, 0.25, 3.0, 4.0, 5.0])
    start = np.clip(twin.x0, lower, upper)
    keywords: dict[str, Any] = {"method": method, "bounds": Bounds(lower, upper)}
    expected = plain.minimize(twin.fun, start, jac=twin.jac, **keywords)
    optimizer = MinimizeWrapper(instance.params, keywords)
    with pytest.warns(UserWarning, match="outside the bounds"):
        optimizer.step(instance.closure(2))
    assert optimizer.res.nfev == expected.nfev
    assert np.array_equal(instance.x, expected.x)
    assert np.array_equal(instance.grad, twin.jac(instance.x))


@pytest.mark.parametrize("kind", ["zip", "generator", "tensor"])
def test_flat_bounds_that_are_read_twice(kind: str) -> None:
    given: Any = {
        "zip": zip([None, None], [0.5, 0.75], strict=True),
        "generator": ((None, high) for high in (0.5, 0.75)),
        "tensor": torch.tensor([[-torch.inf, 0.5], [-torch.inf, 0.75]], requires_grad=True),
    }[kind]
    w = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
    optimizer = MinimizeWrapper([w], {"method": "L-BFGS-B", "bounds": given})
    for _ in range(2):
        optimizer.step(lambda: (w - 9).square().sum())
        assert w.tolist() == [0.5, 0.75]


def test_a_rounding_of_the_solver_leaves_no_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    w, seen = torch.nn.Parameter(torch.full((2,), 0.5, dtype=torch.float64)), []
    outside = np.nextafter([0.0, 1.0], [-1.0, 2.0])

    def minimize(fun: Any, x0: Any, **_: Any) -> scipy.optimize.OptimizeResult:
        value = fun(outside)
        return scipy.optimize.OptimizeResult(x=outside, fun=value, success=True)

    def closure() -> Tensor:
        seen.append(w.tolist())
        return (w - 9).square().sum()

    monkeypatch.setattr(scipy.optimize, "minimize", minimize)
    optimizer = MinimizeWrapper([w], {"method": "TNC", "bounds": [(0, 1)] * 2})
    optimizer.step(closure)
    assert seen == [w.tolist()] == [optimizer.res.x.tolist()] == [[0.0, 1.0]]
