"""Each run is the one that it would be alone, in either way of running many."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from many import METHODS, STARTS, Many, rosenbrock, threads_left
from scipy.optimize import Bounds, NonlinearConstraint

from pytorch_minimize.optim import ClosureConstraint, MinimizeWrapper, MultiStartWrapper
from pytorch_minimize.scipy_minimize.methods import METHODS as SCIPYS

FIELDS = ("nit", "nfev", "njev", "status", "message", "fun")


def same(one: Any, other: Any) -> bool:
    """Whether two results tell of one path."""
    fields = [name for name in FIELDS if name in other]
    return np.array_equal(one.x, other.x) and all(one[name] == other[name] for name in fields)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_a_run_is_that_of_minimize_wrapper(method: str, together: bool) -> None:
    many = Many()
    optimizer = many.optimizer(method, starts=STARTS[:4])
    optimizer.step(many.closure, vectorized=many.losses if together else None)
    assert sorted(res.run for res in optimizer.results) == [0, 1, 2, 3]
    for res in optimizer.results:
        assert same(res, many.alone(STARTS[res.run], method)), (method, res.run)


@pytest.mark.parametrize("method", METHODS)
def test_rounds_are_as_many_as_the_longest_run_has_evaluations(method: str) -> None:
    many = Many()
    optimizer = many.optimizer(method)
    optimizer.step(many.closure, vectorized=many.losses)
    assert many.closures == 1  # at the first start, where both must agree
    assert many.rounds == optimizer.res.rounds == optimizer.profile.counts["vectorized"]
    assert many.rounds <= max(res.nfev for res in optimizer.results) + 1
    evaluations = sum(res.nfev for res in optimizer.results)
    assert many.points == optimizer.profile.counts["points"] == optimizer.res.evaluations
    assert evaluations <= many.points <= evaluations + len(STARTS)
    assert threads_left() == []


@pytest.mark.parametrize("method", ["BFGS", "torch-BFGS", "L-BFGS-B"])
def test_rows_of_one_batch_part_only_by_roundings(method: str) -> None:
    many = Many()
    optimizer = many.optimizer(method, arguments={"options": {"maxiter": 10}})

    def losses(stacks: list[torch.Tensor]) -> torch.Tensor:
        return rosenbrock(torch.cat(stacks, dim=1))

    optimizer.step(many.closure, vectorized=losses)
    for res in optimizer.results:
        alone = many.alone(STARTS[res.run], method, options={"maxiter": 10})
        np.testing.assert_allclose(res.x, alone.x, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("together", [False, True])
def test_finite_differences_and_methods_without_gradients(together: bool) -> None:
    for method, arguments in (("L-BFGS-B", {"jac": False}), ("Nelder-Mead", {})):
        many = Many(n=2)
        starts = STARTS[:3, :2]
        optimizer = MultiStartWrapper(many.params, {"method": method, **arguments}, starts)
        optimizer.step(many.closure, vectorized=many.losses if together else None)
        for res in optimizer.results:
            assert same(res, many.alone(starts[res.run], method, **arguments))


TAKE_TURNS = [
    row.name for row in SCIPYS.values() if row.habits.takes_turns and not row.needs_gradient
]


@pytest.mark.parametrize("method", TAKE_TURNS)
def test_no_method_waits_for_another_run_for_ever(method: str) -> None:
    """The second run of one that holds a lock of the process would; those are refused."""
    many, starts = Many(n=2), STARTS[:3, :2]
    arguments = METHODS.get(method, {}) | {"options": {"maxiter": 8}}
    optimizer = MultiStartWrapper(many.params, {"method": method, **arguments}, starts)
    optimizer.step(many.closure, vectorized=many.losses)
    for res in optimizer.results:
        assert same(res, many.alone(starts[res.run], method, **arguments))


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("method", ["L-BFGS-B", "torch-L-BFGS", "SLSQP", "TNC"])
def test_bounds_hold_in_every_run(method: str, together: bool) -> None:
    many, bounds = Many(), [(-1.6, 0.5)] * 4
    optimizer = many.optimizer(method, arguments={"bounds": bounds}, starts=np.clip(STARTS, -1, 0))
    optimizer.step(many.closure, vectorized=many.losses if together else None)
    for res in optimizer.results:
        assert res.x.min() >= -1.6
        assert res.x.max() <= 0.5
        assert same(res, many.alone(np.clip(STARTS, -1, 0)[res.run], method, bounds=bounds))


@pytest.mark.parametrize("together", [False, True])
def test_constraints_on_the_flat_vector(together: bool) -> None:
    many = Many()
    constraint = NonlinearConstraint(lambda x: x @ x, 0.5, 1.0, jac=lambda x: 2 * x[None])
    optimizer = many.optimizer("SLSQP", arguments={"constraints": constraint})
    optimizer.step(many.closure, vectorized=many.losses if together else None)
    assert optimizer.results[0].x @ optimizer.results[0].x <= 1.0 + 1e-6
    for res in optimizer.results:
        assert same(res, many.alone(STARTS[res.run], "SLSQP", constraints=constraint))


@pytest.mark.parametrize("together", [False, True])
def test_starts_are_put_inside_bounds_that_are_kept_strictly(together: bool) -> None:
    many = Many()
    bounds = Bounds([0.0] * 4, [2.0] * 4, keep_feasible=True)
    more = {"bounds": bounds, "options": {"maxiter": 20}}
    starts = np.array([[0.0] * 4, [2.0] * 4, [0.5] * 4])
    optimizer = many.optimizer("trust-constr", arguments=more, starts=starts)
    optimizer.step(many.closure, vectorized=many.losses if together else None)
    assert optimizer.starts is not None
    assert (np.abs(optimizer.starts - 1.0) < 1.0).all()
    for res in optimizer.results:
        assert same(res, many.alone(starts[res.run], "trust-constr", **more))


def test_constraints_of_the_model_and_curvature_one_after_another() -> None:
    many = Many()
    constraint = ClosureConstraint(lambda: many.params[1].square().sum(), ub=0.5)
    optimizer = many.optimizer("SLSQP", arguments={"constraints": constraint})
    optimizer.step(many.closure)
    for res in optimizer.results:
        assert same(res, many.alone(STARTS[res.run], "SLSQP", constraints=constraint))
    for method in ("trust-ncg", "torch-Newton-CG"):
        optimizer = many.optimizer(method, starts=STARTS[:3])
        optimizer.step(many.closure)
        for res in optimizer.results:
            assert same(res, many.alone(STARTS[res.run], method))


def test_float32_parameters_and_duplicate_starts() -> None:
    many = Many(dtype=torch.float32)
    starts = np.repeat(STARTS[:2], 2, axis=0)
    optimizer = many.optimizer("BFGS", starts=starts)
    optimizer.step(many.closure, vectorized=many.losses)
    assert np.array_equal(optimizer.starts, starts.astype(np.float32))
    by_run = sorted(optimizer.results, key=lambda res: res.run)
    assert same(by_run[0], by_run[1])
    assert same(by_run[2], by_run[3])
    for res in by_run:
        assert same(res, many.alone(starts[res.run], "BFGS"))


def test_complex_parameters() -> None:
    z = torch.nn.Parameter(torch.zeros(2, dtype=torch.complex128))
    target = torch.tensor([1 + 2j, -3j], dtype=torch.complex128)

    def loss(z: torch.Tensor) -> torch.Tensor:
        return (z - target).abs().square().sum(-1)

    starts = np.arange(12.0).reshape(3, 4)
    optimizer = MultiStartWrapper([z], {"method": "BFGS"}, starts)
    optimizer.step(lambda: loss(z), vectorized=lambda stacks: loss(stacks[0]))
    assert torch.allclose(z.detach(), target, atol=1e-6)
    assert optimizer.res.rounds <= max(res.nfev for res in optimizer.results) + 1


def test_a_method_of_the_users_own() -> None:
    def descent(fun: Any, x0: Any, args: Any, **keywords: Any) -> Any:
        from scipy.optimize import OptimizeResult

        x = x0
        for _ in range(5):
            x = x - 1e-3 * keywords["jac"](x)
        return OptimizeResult(x=x, fun=fun(x), nit=5)

    many = Many()
    optimizer = MultiStartWrapper(many.params, {"method": descent}, STARTS)
    optimizer.step(many.closure, vectorized=many.losses)
    one = MinimizeWrapper(many.params, {"method": descent})
    for res in optimizer.results:
        with torch.no_grad():
            for param, part in zip(many.params, np.split(STARTS[res.run], [1]), strict=True):
                param.copy_(torch.from_numpy(part))
        one.step(many.closure)
        assert np.array_equal(res.x, one.res.x)
