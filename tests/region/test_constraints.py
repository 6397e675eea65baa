"""Constraints stated in tensors, for each method that takes them, by scipy's path."""

from __future__ import annotations

import copy
import pickle
import weakref
from typing import Any

import numpy as np
import plain
import pytest
import torch
from constrained import HOCK_SCHITTKOWSKI, HS7, HS71, HS100, Constrained, for_scipy
from converted import Converted
from fitted_module import ModuleFit
from instance import Array
from methods import EQUALITIES
from scipy.optimize import Bounds, LinearConstraint, NonlinearConstraint
from torch import Tensor, nn

from pytorch_minimize.optim import ClosureConstraint, MinimizeWrapper
from pytorch_minimize.scipy_minimize.methods import METHODS

CONSTRAINED = [row.name for row in METHODS.values() if row.constraints]
OPTIONS: dict[str, dict[str, Any]] = {
    "SLSQP": {"ftol": 1e-8},
    "COBYLA": {"tol": 1e-6, "maxiter": 400},
    "COBYQA": {"maxfev": 400},
    "trust-constr": {"gtol": 1e-8, "xtol": 1e-10, "barrier_tol": 1e-8},
}


class Circle(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(2, dtype=torch.float64))

    def radius(self) -> Tensor:
        return self.w.square().sum()


# trust-constr stops short of its barriers; searches without gradients end where their trust
# region is small, feasible or not quite.
ACCURACY = {"SLSQP": 1e-6, "trust-constr": 1e-3, "COBYLA": 1e-2, "COBYQA": 1e-2}
PATHS = [
    pytest.param(problem, method, id=f"{problem}-{method}")
    for method in EQUALITIES
    for problem in (HOCK_SCHITTKOWSKI if METHODS[method.lower()].gradient else (HS7, HS71))
]


def arguments(problem: Constrained, method: str) -> dict[str, Any]:
    keywords: dict[str, Any] = {"method": method, "options": OPTIONS[method]}
    if problem.bounds is not None:
        n = problem.make().x0.size
        keywords["bounds"] = Bounds(*(np.full(n, limit) for limit in problem.bounds))
    return keywords


def violation(problem: Constrained, x: Array) -> float:
    c = problem.values(x)
    return float(np.maximum(np.maximum(problem.lb - c, c - problem.ub), 0.0).max())


@pytest.mark.parametrize(("problem", "method"), PATHS)
def test_constrained_minimum_by_scipys_path(problem: Constrained, method: str) -> None:
    instance, keywords = problem.make(), arguments(problem, method)
    expected = plain.path(problem.make(), constraints=problem.for_scipy(method), **keywords)
    optimizer = MinimizeWrapper(
        instance.params, keywords | {"constraints": problem.stated(instance)}
    )
    optimizer.step(instance.closure(1))
    res = optimizer.res
    assert np.array_equal(res.x, expected.x)
    assert (res.nfev, res.get("nit")) == (expected.nfev, expected.get("nit"))
    assert np.array_equal(instance.x, res.x)
    assert res.fun == pytest.approx(problem.minimum, abs=ACCURACY[method], rel=ACCURACY[method])
    assert violation(problem, res.x) < ACCURACY[method]


@pytest.mark.parametrize("method", ["SLSQP", "trust-constr"])
def test_constrained_fit_of_a_module(method: str) -> None:
    """Its path is close to scipy's: of a batch of rows a Jacobian is summed in another order."""
    fit, twin = ModuleFit(), ModuleFit()
    keywords: dict[str, Any] = {"method": method, "options": OPTIONS[method]}
    optimizer = MinimizeWrapper(fit.model.parameters(), keywords | {"constraints": fit.stated()})
    optimizer.step(fit.closure)
    params = list(twin.model.parameters())
    converted = Converted(params, twin.closure)
    expected = plain.minimize(
        converted.fun,
        twin.x0,
        jac=converted.jac,
        hessp=converted.hessp if method == "trust-constr" else None,
        constraints=for_scipy(params, twin.stated(), method),
        **keywords,
    )
    assert np.allclose(optimizer.res.x, expected.x, rtol=1e-5, atol=1e-5)
    assert fit.violation() < 1e-4
    assert optimizer.res.fun < 0.1 * converted.fun(twin.x0)


@pytest.mark.parametrize("problem", [HS71, HS100], ids=str)
@pytest.mark.parametrize("method", EQUALITIES)
def test_one_run_of_each_at_one_point(problem: Constrained, method: str) -> None:
    """The loss and a constraint at one x, with their derivatives, cost one run each."""
    instance, losses, constraints = problem.make(), [], []
    stated = problem.stated(instance)

    def closure() -> Tensor:
        losses.append(instance.x.tobytes())
        return instance.closure(2)()

    def fun() -> Tensor:
        constraints.append(instance.x.tobytes())
        return stated.fun()

    constraint = ClosureConstraint(fun, stated.lb, stated.ub)
    keywords = arguments(problem, method) | {"constraints": [constraint]}
    optimizer = MinimizeWrapper(instance.params, keywords)
    optimizer.step(closure)
    reloads = optimizer.profile.counts.get("reload", 0)
    assert len(losses) == len(set(losses)) + reloads == optimizer.res.nfev + reloads
    assert len(constraints) == len(set(constraints)) + reloads
    assert set(losses) <= set(constraints)
    assert optimizer.profile.counts["constraint"] == len(constraints)


@pytest.mark.parametrize("method", CONSTRAINED)
def test_forms_of_scipy_pass_through(method: str) -> None:
    def radius(x: Array, scale: float = 1.0) -> float:
        return float(scale * x @ x)

    def loss(w: Tensor) -> Tensor:
        return (w - torch.tensor([3.0, 1.0])).square().sum()

    ours, theirs = (
        [
            {"type": "ineq", "fun": lambda x, a: 4.0 - radius(x, a), "args": (1.0,)},
            NonlinearConstraint(radius, 1.0, np.inf),
            LinearConstraint([[1.0, -2.0]], -1.0, 1.0),
        ]
        for _ in range(2)
    )
    w = nn.Parameter(torch.tensor([1.5, 0.5], dtype=torch.float64))
    keywords: dict[str, Any] = {"method": method, "options": OPTIONS[method]}
    if method == "trust-constr":
        keywords["hess"] = lambda x: 2 * np.eye(2)
    before = dict(ours[0])  # type: ignore[arg-type]
    optimizer = MinimizeWrapper([w], keywords | {"constraints": ours})
    optimizer.step(lambda: loss(w))
    assert ours[0] == before
    jac = (lambda x: 2 * (x - [3.0, 1.0])) if METHODS[method.lower()].gradient else None
    expected = plain.minimize(
        lambda x: loss(torch.tensor(x)).item(), [1.5, 0.5], jac=jac, constraints=theirs, **keywords
    )
    assert optimizer.res.nfev == expected.nfev
    assert np.allclose(optimizer.res.x, expected.x, rtol=1e-9)


class Several:
    """Two-sided and one-sided, equal and unequal limits, and rows without any, in one."""

    minimum = ((0.5, -1.0), (2.0, 2.0))

    def __init__(self) -> None:
        self.w = w = nn.Parameter(torch.zeros(2, 2, dtype=torch.float64))
        lower = torch.tensor([[0.5, -torch.inf], [2.0, -torch.inf]])
        upper = np.array([[np.inf, -1.0], [2.0, np.inf]])
        self.stated = [
            ClosureConstraint(lambda: w, lower, upper),
            ClosureConstraint(lambda: w[1, 1] ** 3, None, 8.0),
            ClosureConstraint(lambda: w.sum(0), -1.0, [[4.0, 5.0]][0]),
        ]

    def closure(self) -> Tensor:
        return (self.w - torch.tensor([[0.0, 0.0], [0.0, 3.0]])).square().sum()


@pytest.mark.parametrize("method", EQUALITIES)
def test_several_constraints_of_any_shape(method: str) -> None:
    ours, twin = Several(), Several()
    options = {"options": OPTIONS[method]}
    optimizer = MinimizeWrapper([ours.w], {"method": method, "constraints": ours.stated} | options)
    optimizer.step(ours.closure)
    if METHODS[method.lower()].gradient:
        assert np.allclose(ours.w.detach(), ours.minimum, atol=ACCURACY[method])
        return
    # COBYLA may end well before the minimum, by how it rounds, and so does scipy's own run.
    converted = Converted([twin.w], twin.closure)
    constraints = for_scipy([twin.w], twin.stated, method)
    scipys = plain.minimize(
        converted.fun, np.zeros(4), method=method, constraints=constraints, **options
    )
    assert np.array_equal(optimizer.res.x, scipys.x)
    assert np.allclose(ours.w.detach()[:, 0], [0.5, 2.0], atol=ACCURACY[method])


def test_keep_feasible() -> None:
    w, iterates = nn.Parameter(torch.tensor([0.1, 0.1], dtype=torch.float64)), []
    ball = ClosureConstraint(lambda: w.square().sum(), None, 1.0, keep_feasible=True)
    keywords: dict[str, Any] = {"method": "trust-constr", "constraints": ball}
    keywords["callback"] = lambda x, state: iterates.append(x @ x)
    MinimizeWrapper([w], keywords).step(lambda: (w - 2).square().sum())
    assert max(iterates) <= 1.0
    optimizer = MinimizeWrapper([w], {"method": "SLSQP", "constraints": ball})
    with pytest.raises(ValueError, match="keep_feasible is for trust-constr"):
        optimizer.step(lambda: (w - 2).square().sum())


def test_graphs_end_with_the_step() -> None:
    w = nn.Parameter(torch.ones(3, dtype=torch.float64))
    outputs = []

    def fun() -> Tensor:
        outputs.append(weakref.ref(c := w.square().sum()))
        return c

    constraints = ClosureConstraint(fun, None, 1.0)
    optimizer = MinimizeWrapper([w], {"method": "trust-constr", "constraints": constraints})
    optimizer.step(lambda: (w - 1).square().sum())
    assert outputs
    assert all(output() is None for output in outputs)


@pytest.mark.parametrize("loads", [False, True])
def test_a_generator_of_constraints_is_kept(loads: bool) -> None:
    w = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    stated = (ClosureConstraint(lambda i=i: w[i], None, 1.0 + i) for i in range(2))
    optimizer = MinimizeWrapper([w], {"method": "SLSQP", "constraints": stated})
    if loads:
        optimizer.load_state_dict(optimizer.state_dict())
    for _ in range(2):
        optimizer.step(lambda: (w - 9).square().sum())
        assert torch.allclose(w.detach(), torch.tensor([1.0, 2.0]).double())


def test_a_constraint_serves_several_optimizers() -> None:
    v, w = (nn.Parameter(torch.zeros(2, dtype=torch.float64)) for _ in range(2))
    both = ClosureConstraint(lambda: v + w, None, 1.0)
    for params, method in ((v, "SLSQP"), (w, "COBYQA"), (v, "trust-constr")):
        keywords = {"method": method, "constraints": [both, both]}
        MinimizeWrapper([params], keywords).step(lambda: (v - 9).square().sum() + (w**2).sum())
    assert torch.allclose(v.detach(), torch.ones(2).double(), atol=1e-2)


def test_constraints_are_copied_with_the_model() -> None:
    fit = Circle()
    keywords = {"method": "SLSQP", "constraints": ClosureConstraint(fit.radius, None, 1.0)}
    optimizer = MinimizeWrapper(fit.parameters(), keywords)
    for again, other in (
        copy.deepcopy((fit, optimizer)),
        pickle.loads(pickle.dumps((fit, optimizer))),
    ):
        other.step(lambda again=again: (again.w - 9).square().sum())
        assert again.w.detach().square().sum().item() == pytest.approx(1.0, abs=1e-6)
        assert not fit.w.any()


@pytest.mark.parametrize("method", CONSTRAINED)
def test_what_a_constraint_does_to_the_model_is_undone_at_the_end(method: str) -> None:
    w = nn.Parameter(torch.zeros(2, dtype=torch.float64))

    def fun() -> Tensor:
        c = w.square().sum()
        c.backward(retain_graph=True)  # type: ignore[no-untyped-call]
        return c

    def flat_and_writing() -> Tensor:
        w.data.clamp_(max=0.25)
        return 0 * w.sum()

    stated = [ClosureConstraint(fun, None, 2.0), ClosureConstraint(flat_and_writing, -1.0)]
    keywords = {"method": method, "constraints": stated, "options": {"maxiter": 20}}
    optimizer = MinimizeWrapper([w], keywords)
    optimizer.step(lambda: (w - 9).square().sum())
    assert np.array_equal(w.detach().numpy(), optimizer.res.x)


@pytest.mark.parametrize("method", ["SLSQP", "trust-constr"])
def test_a_constraint_may_run_backward(method: str) -> None:
    w = nn.Parameter(torch.zeros(2, dtype=torch.float64))

    def fun() -> Tensor:
        c = w.square().sum() + w.sum()
        c.backward(retain_graph=True)  # type: ignore[no-untyped-call]
        return c

    keywords = {"method": method, "constraints": ClosureConstraint(fun, None, 2.0)}
    MinimizeWrapper([w], keywords).step(lambda: (w - 9).square().sum())
    assert w.grad is not None
    assert torch.allclose(w.grad, 2 * (w.detach() - 9))
