"""The last local search, with gradients; and constraints of the algorithms that sample."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from landscapes import ACKLEY, RASTRIGIN
from scipy.optimize import LinearConstraint, NonlinearConstraint, OptimizeResult
from torch import Tensor, nn

from pytorch_minimize.optim import (
    ClosureConstraint,
    DifferentialEvolutionWrapper,
    DualAnnealingWrapper,
    SHGOWrapper,
)

BOUNDS = RASTRIGIN.bounds(2)
EVOLVE: dict[str, Any] = {"bounds": BOUNDS, "popsize": 8, "maxiter": 12, "rng": 1}
ANNEAL: dict[str, Any] = {"bounds": BOUNDS, "maxiter": 30, "rng": 1}


def evolve(**more: Any) -> Any:
    instance = RASTRIGIN.instance(2)
    with torch.no_grad():
        instance.params[0].fill_(2.0)
        instance.params[1].fill_(-2.5)
    optimizer = DifferentialEvolutionWrapper(instance.params, EVOLVE | more)
    optimizer.step(instance.closure(2))
    return optimizer, instance


def test_evolution_polishes_with_gradients() -> None:
    """scipy's own polish takes finite differences."""
    (rough, _), (polished, instance) = evolve(polish=False), evolve()
    assert polished.res.fun < rough.res.fun
    assert np.abs(instance.jac(instance.x)).max() < 1e-4
    np.testing.assert_array_equal(instance.grad, instance.jac(instance.x))
    counts = polished.profile.counts
    assert 0 < counts["jac"] < 20
    assert polished.res.nfev - rough.res.nfev == counts["fun"] - rough.profile.counts["fun"] < 20
    assert polished.res.njev == counts["jac"]
    assert rough.profile.counts["jac"] == 0


def test_the_polish_keeps_the_bounds() -> None:
    _, instance = evolve(bounds=[(0.3, 4.3), (-5.0, -0.2)])
    assert instance.x[0] >= 0.3
    assert instance.x[1] <= -0.2


def test_a_polish_that_finds_nothing_better_changes_nothing() -> None:
    def worse(fun: Any, x0: Any, **rest: Any) -> OptimizeResult:
        return OptimizeResult(x=x0 + 0.1, fun=fun(x0 + 0.1), success=True, nfev=1)

    (rough, _), (kept, instance) = evolve(polish=False), evolve(polish=worse)
    assert np.array_equal(kept.res.x, rough.res.x)
    assert np.array_equal(instance.x, rough.res.x)
    assert kept.res.nfev == rough.res.nfev + 1


def test_a_polish_of_the_users_own() -> None:
    seen: list[Any] = []

    def users(fun: Any, x0: Any, *, bounds: Any, constraints: Any) -> OptimizeResult:
        seen.append((x0.copy(), bounds.lb.tolist(), constraints))
        return OptimizeResult(x=np.zeros(2), fun=fun(np.zeros(2)), success=True, nfev=1)

    optimizer, instance = evolve(polish=users)
    assert np.array_equal(instance.x, [0.0, 0.0])
    assert optimizer.res.fun == 0.0
    assert seen[0][1:] == ([-5.12, -5.12], ())


def test_integers_stay_integers() -> None:
    x = nn.Parameter(torch.tensor([-1.0, 0.5], dtype=torch.float64))
    keywords = {"bounds": [(-4, 4)] * 2, "integrality": [True, False], "rng": 0}
    goal = torch.tensor([1.7, 0.3], dtype=torch.float64)
    DifferentialEvolutionWrapper([x], keywords).step(lambda: (x - goal).square().sum())
    assert x[0].item() == 2.0
    assert x[1].item() == pytest.approx(0.3, abs=1e-6)
    evolve(integrality=[True, True])  # nothing is left to polish


def test_a_loss_without_gradient_is_not_polished() -> None:
    x = nn.Parameter(torch.tensor([3.0, 2.0], dtype=torch.float64))

    def closure() -> float:
        return float((x.detach() ** 2).sum())

    optimizer = DifferentialEvolutionWrapper([x], EVOLVE)
    with pytest.warns(RuntimeWarning, match="not polished"):
        optimizer.step(closure)
    assert optimizer.res.fun == float((x.detach() ** 2).sum()) < 0.1
    DifferentialEvolutionWrapper([x], EVOLVE | {"polish": False}).step(closure)


def test_annealing_is_polished_where_no_search_with_gradients_has_ended_there() -> None:
    """It runs no local search at its last jump, and Nelder-Mead uses no gradient."""
    accuracy = []
    for args, more in [
        ({"method": "Nelder-Mead", "options": {"maxiter": 5}}, {"polish": False}),
        ({"method": "Nelder-Mead", "options": {"maxiter": 5}}, {}),
        ({}, {}),
        ({}, {"no_local_search": True}),
    ]:
        instance = RASTRIGIN.instance(2)
        optimizer = DualAnnealingWrapper(instance.params, args, ANNEAL | more)
        optimizer.step(instance.closure(2))
        accuracy.append(np.abs(instance.jac(instance.x)).max())
        if more:
            assert optimizer.profile.counts["jac"] == 0
    assert accuracy[0] > 1e-3
    assert accuracy[1] < 1e-4
    assert accuracy[2] < 1e-4
    assert accuracy[3] > 1e-3


def test_a_finished_search_is_not_polished_again() -> None:
    counts = []
    for more in ({}, {"polish": False}):
        instance = ACKLEY.instance(2)
        optimizer = DualAnnealingWrapper(instance.params, {}, ANNEAL | more)
        optimizer.step(instance.closure(2))
        counts.append(optimizer.profile.counts["jac"])
    assert counts[0] == counts[1]


def bowl() -> tuple[nn.Parameter, Any]:
    """|x - (2, 1)|^2, to be minimised where x_0 + x_1 <= 1: at (1, 0)."""
    x = nn.Parameter(torch.tensor([-1.0, 0.5], dtype=torch.float64))
    goal = torch.tensor([2.0, 1.0], dtype=torch.float64)

    def closure() -> Tensor:
        return ((x - goal) ** 2).sum()

    return x, closure


CONSTRAINTS: dict[str, Any] = {
    "closure": lambda x: ClosureConstraint(lambda: x.sum(), ub=1.0),
    "nonlinear": lambda x: NonlinearConstraint(lambda v: v.sum(), -np.inf, 1.0),
    "linear": lambda x: LinearConstraint([[1.0, 1.0]], -np.inf, 1.0),
}


@pytest.mark.parametrize("kind", CONSTRAINTS)
def test_evolution_under_a_constraint(kind: str) -> None:
    x, closure = bowl()
    keywords = {"bounds": [(-3.0, 3.0)] * 2, "rng": 0, "constraints": CONSTRAINTS[kind](x)}
    optimizer = DifferentialEvolutionWrapper([x], keywords)
    optimizer.step(closure)
    np.testing.assert_allclose(x.detach().numpy(), [1.0, 0.0], atol=1e-3)
    assert optimizer.res.maxcv <= 1e-6
    assert optimizer.res.success


@pytest.mark.filterwarnings("ignore:delta_grad == 0.0")  # trust-constr's, of what is linear
@pytest.mark.parametrize("kind", [*CONSTRAINTS, "dict"])
@pytest.mark.parametrize("method", ["SLSQP", "COBYLA", "COBYQA", "trust-constr"])
def test_shgo_under_a_constraint(method: str, kind: str) -> None:
    x, closure = bowl()
    constraint: Any = {"type": "ineq", "fun": lambda v: 1.0 - v.sum()}
    if kind != "dict":
        constraint = CONSTRAINTS[kind](x)
    keywords = {"bounds": [(-3.0, 3.0)] * 2, "n": 30, "constraints": constraint}
    optimizer = SHGOWrapper([x], {"method": method}, keywords)
    optimizer.step(closure)
    np.testing.assert_allclose(x.detach().numpy(), [1.0, 0.0], atol=1e-3)


@pytest.mark.parametrize("algorithm", [DifferentialEvolutionWrapper, SHGOWrapper])
def test_the_loss_is_asked_for_at_feasible_points_alone(algorithm: Any) -> None:
    """A loss that does not exist elsewhere is what such constraints are for."""
    x, evaluate = bowl()

    def closure() -> Tensor:
        loss = evaluate()
        sampled.append(x.detach().sum().item())
        return loss

    sampled: list[float] = []
    keywords: dict[str, Any] = {"bounds": [(-3.0, 3.0)] * 2}
    constraint = ClosureConstraint(lambda: x.sum(), ub=1.0)
    if algorithm is SHGOWrapper:
        optimizer = SHGOWrapper([x], {}, keywords | {"constraints": constraint, "n": 30})
    else:
        optimizer = DifferentialEvolutionWrapper(
            [x], keywords | {"constraints": constraint, "polish": False, "rng": 0}
        )
    optimizer.step(closure)
    assert len(sampled) > 20
    assert max(sampled) <= 1.0 + 1e-6


def test_a_constrained_run_that_is_cut_short_ends_at_a_feasible_point() -> None:
    x, closure = bowl()
    with torch.no_grad():
        x.copy_(torch.tensor([2.0, 1.0]))  # the loss's own minimum, which is not feasible
    keywords = {
        "bounds": [(-3.0, 3.0)] * 2,
        "rng": 0,
        "constraints": ClosureConstraint(lambda: x.sum(), ub=1.0),
    }
    optimizer = DifferentialEvolutionWrapper([x], keywords, max_evaluations=50)
    optimizer.step(closure)
    assert optimizer.res.status == 102
    assert x.sum().item() <= 1.0 + 1e-6


@pytest.mark.parametrize("polish", [True, False])
def test_evolution_that_finds_no_feasible_point(polish: bool) -> None:
    x, closure = bowl()
    keywords: dict[str, Any] = {"bounds": [(-3.0, 3.0)] * 2, "rng": 0, "maxiter": 5}
    keywords |= {"constraints": ClosureConstraint(lambda: x.sum(), 50.0), "polish": polish}
    optimizer = DifferentialEvolutionWrapper([x], keywords)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Singular Jacobian", UserWarning)  # trust-constr's
        optimizer.step(closure)
    assert not optimizer.res.success
    assert "MAXCV" in optimizer.res.message
    assert optimizer.res.fun == closure().item()  # where scipy says inf
    assert x.sum().item() > 5.0  # as near as the box allows
    assert np.array_equal(x.detach().numpy(), optimizer.res.x)


@pytest.mark.parametrize("sampling", ["simplicial", "sobol"])
def test_shgo_that_finds_no_feasible_point_stays_at_the_start(sampling: str) -> None:
    """scipy's own x is None then."""
    x, closure = bowl()
    start = x.detach().clone()
    keywords = {"bounds": [(-3.0, 3.0)] * 2, "n": 12, "sampling_method": sampling}
    constraint = ClosureConstraint(lambda: x.sum(), 50.0)
    optimizer = SHGOWrapper([x], {}, keywords | {"constraints": constraint})
    loss = optimizer.step(closure)
    assert torch.equal(x, start)
    assert np.array_equal(optimizer.res.x, start.numpy())
    assert loss.item() == closure().item()  # where scipy says inf
    assert not optimizer.res.success
    assert "feasible" in optimizer.res.message


def test_constraints_that_are_not_understood() -> None:
    x, _ = bowl()
    keywords: dict[str, Any] = {"bounds": [(-3.0, 3.0)] * 2}
    positive: dict[str, Any] = {"type": "ineq", "fun": lambda v: v}
    with pytest.raises(ValueError, match="differential_evolution takes no dicts"):
        DifferentialEvolutionWrapper([x], keywords | {"constraints": [positive]})
    for make in (DifferentialEvolutionWrapper, lambda p, k: SHGOWrapper(p, {}, k)):
        with pytest.raises(TypeError, match=r"expected ClosureConstraint, .*got 5"):
            make([x], keywords | {"constraints": 5})
