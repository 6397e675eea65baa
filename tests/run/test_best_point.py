"""The best point: it comes from a run alone, and load_best goes back to it."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from problems import rosenbrock
from torch import Tensor, nn

from pytorch_minimize.optim import ClosureConstraint, DirectWrapper, MinimizeWrapper


def sent_to(state: Any, device: str) -> Any:
    """As accelerate's prepare() does with the state of each optimizer that it is given."""
    if isinstance(state, Mapping):
        return {name: sent_to(value, device) for name, value in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(sent_to(value, device) for value in state)
    return state.to(device) if isinstance(state, Tensor) else state


def best_of(optimizer: MinimizeWrapper) -> Any:
    state = optimizer.state_dict()["state"]
    return torch.cat([entry["best"].double().flatten() for entry in state.values()]).numpy()


def test_before_a_run_there_is_none() -> None:
    instance = rosenbrock()
    optimizer = MinimizeWrapper(instance.params, {"method": "BFGS"})
    state = optimizer.state_dict()
    assert state["state"] == {}
    assert (state["run"]["loss"], state["run"]["variables"]) == (None, 0)
    other = MinimizeWrapper(instance.params, {"method": "BFGS"})
    other.load_state_dict(sent_to(state, "cpu"))
    for without in (optimizer, other):
        with pytest.raises(RuntimeError, match="load_best: there is no best point; expected"):
            without.load_best()
    assert np.array_equal(instance.x, instance.x0)
    other.step(instance.closure(1))
    assert other.res.success


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", ["Nelder-Mead", "L-BFGS-B"])
def test_its_loss_is_the_lowest_that_the_closure_gave(method: str, dtype: torch.dtype) -> None:
    instance = rosenbrock(dtype)
    losses: list[float] = []

    def closure() -> Tensor:
        loss = instance.closure(2)()
        losses.append(loss.item())
        return loss

    optimizer = MinimizeWrapper(instance.params, {"method": method}, max_evaluations=60)
    optimizer.step(closure)
    loss = optimizer.state_dict()["run"]["loss"]
    assert loss == min(losses)
    for param in instance.params:
        param.data.zero_()
    optimizer.load_best()
    assert np.array_equal(instance.x, best_of(optimizer))
    assert instance.closure(2)().item() == loss


def test_it_is_feasible_where_a_point_was() -> None:
    w = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    inside = ClosureConstraint(lambda: w.sum(), None, 1.0)
    optimizer = MinimizeWrapper([w], {"method": "COBYLA", "constraints": inside})
    optimizer.step(lambda: (w - 3).square().sum())
    w.data.fill_(3.0)
    optimizer.load_best()
    assert w.sum().item() <= 1.0 + 1e-6


def test_a_run_that_found_nothing_leaves_the_one_before() -> None:
    instance = rosenbrock()
    optimizer = MinimizeWrapper(instance.params, {"method": "BFGS"})
    optimizer.step(instance.closure(1))
    found = instance.x
    for param in instance.params:
        param.data.zero_()

    def failing() -> Tensor:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        optimizer.step(failing)
    assert np.array_equal(best_of(optimizer), found)


def test_a_run_that_fails_later_has_its_best() -> None:
    instance = rosenbrock()
    optimizer = MinimizeWrapper(instance.params, {"method": "BFGS"})
    losses: list[float] = []

    def closure() -> Tensor:
        if len(losses) == 9:
            raise ZeroDivisionError
        loss = instance.closure(2)()
        losses.append(loss.item())
        return loss

    with pytest.raises(ZeroDivisionError):
        optimizer.step(closure)
    assert optimizer.state_dict()["run"]["loss"] == min(losses)
    assert np.array_equal(best_of(optimizer), instance.x)


def test_the_next_run_takes_its_place() -> None:
    """Also where its loss is higher: the data may have changed."""
    instance = rosenbrock()
    optimizer = MinimizeWrapper(instance.params, {"method": "BFGS", "options": {"maxiter": 3}})
    optimizer.step(instance.closure(1))
    optimizer.step(lambda: instance.model() + 1000)
    assert optimizer.state_dict()["run"]["loss"] > 1000


def test_what_was_read_of_it_may_be_written_to() -> None:
    instance = rosenbrock()
    optimizer = MinimizeWrapper(instance.params, {"method": "BFGS"})
    optimizer.step(instance.closure(1))
    found = instance.x
    state = optimizer.state_dict()
    other = MinimizeWrapper(instance.params, {"method": "BFGS"})
    other.load_state_dict(state)
    optimizer.res.x[:] = 7.0
    for entry in state["state"].values():
        entry["best"].fill_(7.0)
    assert np.array_equal(best_of(optimizer), found)
    assert np.array_equal(best_of(other), found)


@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize("how", ["pickle", "deepcopy"])
def test_it_is_copied_with_the_optimizer(how: str, loaded: bool) -> None:
    instance = rosenbrock()
    optimizer = MinimizeWrapper(instance.params, {"method": "BFGS"}, warm_start=True)
    optimizer.step(instance.closure(1))
    if loaded:
        optimizer.load_state_dict(optimizer.state_dict())
    twin = copy.deepcopy(optimizer) if how == "deepcopy" else pickle.loads(pickle.dumps(optimizer))
    params = twin.param_groups[0]["params"]
    for param in params:
        param.data.zero_()
    before = instance.x
    twin.load_best()
    assert np.array_equal(torch.cat([p.detach().flatten() for p in params]).numpy(), before)
    assert np.array_equal(instance.x, before)
    mine, its = (one.state_dict()["run"]["hess_inv"] for one in (optimizer, twin))
    assert torch.equal(mine, its)


def test_parameters_taken_out_of_the_groups_take_it_with_them() -> None:
    instance = rosenbrock()
    optimizer = MinimizeWrapper(instance.params, {"method": "BFGS"})
    optimizer.step(instance.closure(1))
    optimizer.param_groups[0]["params"] = instance.params[:2]
    assert optimizer.state_dict()["state"] == {}
    with pytest.raises(RuntimeError, match="no best point"):
        optimizer.load_best()


def test_frozen_parameters_are_of_the_point_that_was_saved() -> None:
    instance = rosenbrock()
    optimizer = MinimizeWrapper(instance.params, {"method": "BFGS"})
    optimizer.step(instance.closure(1))
    found = instance.x
    instance.params[0].requires_grad_(False)
    for param in instance.params:
        param.data.zero_()
    optimizer.load_best()
    assert np.array_equal(instance.x, found)


def test_complex_parameters_and_global_searches() -> None:
    z = nn.Parameter(torch.zeros(2, 1, dtype=torch.complex64))
    target = torch.tensor([[1 + 0.5j], [-0.25j]])
    bounds = [(-1.3, 1.4)] * 4
    optimizer = DirectWrapper([z], {"bounds": bounds, "maxfun": 200})
    optimizer.step(lambda: (z - target).abs().square().sum())
    found = z.detach().clone()
    state = optimizer.state_dict()
    assert state["run"]["variables"] == 4
    z.data.zero_()
    other = DirectWrapper([z], {"bounds": bounds})
    other.load_state_dict(state)
    other.load_best()
    assert torch.equal(z.detach(), found)
    assert state["run"]["loss"] == (z - target).abs().square().sum().item()
