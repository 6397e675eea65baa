"""load_state_dict: what it restores, and what it leaves alone."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from problems import rosenbrock
from saved_run import fitted
from torch import Tensor

from pytorch_minimize.optim import (
    BasinHoppingWrapper,
    DifferentialEvolutionWrapper,
    MinimizeWrapper,
)


def test_method_options_and_limits_are_this_optimizers() -> None:
    instance, source = fitted(max_evaluations=3, rtol=0.5)
    target = MinimizeWrapper(instance.params, {"method": "CG", "options": {"maxiter": 400}})
    with pytest.warns(UserWarning, match="load_state_dict") as caught:
        target.load_state_dict(source.state_dict())
    assert [str(w.message) for w in caught] == [
        "load_state_dict: of the saved run, its method is BFGS and this optimizer's CG. Those of "
        "this optimizer hold; history, best point and curvature are loaded."
    ]
    target.step(instance.closure(1))
    assert target.res.success
    assert target.res.nit > 5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MinimizeWrapper(instance.params, {}).load_state_dict(source.state_dict())  # BFGS as well


def test_a_global_search_can_be_refined_by_another_optimizer() -> None:
    """A state of another wrapper is taken, with the same warning."""
    instance = rosenbrock()
    source = DifferentialEvolutionWrapper(
        instance.params, {"bounds": [(-2, 2)] * 5, "rng": 0, "maxiter": 3, "polish": False}
    )
    source.step(instance.closure(2))
    found = instance.x
    other = rosenbrock()
    target = MinimizeWrapper(other.params, {"method": "L-BFGS-B"})
    with pytest.warns(UserWarning, match="differential_evolution and this optimizer's L-BFGS-B"):
        target.load_state_dict(source.state_dict())
    target.load_best()
    assert np.array_equal(other.x, found)
    hopping = BasinHoppingWrapper(other.params, {"method": "BFGS"}, {"niter": 7})
    with pytest.warns(UserWarning, match="this optimizer's basinhopping with BFGS"):
        hopping.load_state_dict(source.state_dict())
    assert hopping._keywords == {"niter": 7}


def test_a_warning_that_is_an_error_leaves_all_as_it_was() -> None:
    instance, source = fitted()
    target = MinimizeWrapper(instance.params, {"method": "CG"})
    with pytest.raises(UserWarning, match="its method"):
        target.load_state_dict(source.state_dict())
    assert len(target.history) == 0
    target.register_load_state_dict_post_hook(lambda _: pytest.fail("loaded"))
    with pytest.raises(UserWarning, match="its method"):
        target.load_state_dict(source.state_dict())


def test_curvature_is_restored_bit_by_bit() -> None:
    first, source = fitted()
    state = pickle.loads(pickle.dumps(source.state_dict()))
    second = rosenbrock()
    given = {"method": "BFGS", "options": {"maxiter": 5}}
    target = MinimizeWrapper(second.params, given, warm_start=True)
    target.load_state_dict(state)
    target.load_best()
    source.step(first.closure(1))
    target.step(second.closure(1))
    assert np.array_equal(second.x, first.x)
    assert target.res.nfev == source.res.nfev
    assert "hess_inv" not in MinimizeWrapper(second.params, given).state_dict()["run"]


def test_curvature_of_other_variables_is_dropped() -> None:
    _, source = fitted()
    second, cold = rosenbrock(), rosenbrock()
    for instance in (second, cold):
        instance.params[0].requires_grad_(False)
    target = MinimizeWrapper(second.params, {"method": "BFGS"}, warm_start=True)
    target.load_state_dict(source.state_dict())
    target.step(second.closure(2))
    fresh = MinimizeWrapper(cold.params, {"method": "BFGS"})
    fresh.step(cold.closure(2))
    assert target.res.nfev == fresh.res.nfev


def test_a_state_can_be_loaded_where_it_cannot_be_run() -> None:
    """Whatever is frozen at the moment."""
    instance, source = fitted()
    for param in instance.params:
        param.requires_grad_(False)
    assert len(source.state_dict()["state"]) == 3
    source.load_state_dict(source.state_dict())
    source.load_best()


def test_history_and_counters_go_on() -> None:
    _, source = fitted()
    second = rosenbrock()
    target = MinimizeWrapper(second.params, {"method": "BFGS"})
    target.load_state_dict(source.state_dict())
    assert target.history.loss.tolist() == source.history.loss.tolist()
    target.step(second.closure(1))
    assert target.history.segments == [0, len(source.history)]
    before = source.history.evaluations[-1]
    assert target.history.evaluations[len(source.history)] > before
    assert (np.diff(target.history.seconds) > 0).all()


def as_in_version_0_1_0(state: dict[str, Any], loss: float) -> dict[str, Any]:
    run = {name: state["run"][name] for name in ("settings", "arguments", "history")}
    return state | {"run": run | {"loss": loss}}


def test_states_of_version_0_1_0_load() -> None:
    """A checkpoint; a state saved after a step; and one before any, whose "best" was of no run."""
    first, source = fitted()
    fresh = MinimizeWrapper(rosenbrock().params, {"method": "BFGS"}).state_dict()
    where_it_was = {i: {"best": p.detach()} for i, p in enumerate(rosenbrock().params)}
    loss = source.state_dict()["run"]["loss"]
    for state, best in (
        (as_in_version_0_1_0(source.state_dict(), loss), loss),
        (as_in_version_0_1_0(source.state_dict(), float("nan")), None),
    ):
        second = rosenbrock()
        target = MinimizeWrapper(second.params, {"method": "BFGS"})
        target.load_state_dict(state)
        target.load_best()
        assert np.array_equal(second.x, first.x)
        again = target.state_dict()
        assert again["run"]["loss"] == best
        target.load_state_dict(again)
    old = as_in_version_0_1_0(fresh | {"state": where_it_was}, float("nan"))
    target.load_state_dict(old)
    with pytest.raises(RuntimeError, match="no best point"):
        target.load_best()


def test_a_state_is_not_loaded_while_a_step_runs() -> None:
    instance, optimizer = fitted()
    state = optimizer.state_dict()
    for meddle in (optimizer.load_best, lambda: optimizer.load_state_dict(state)):

        def closure(meddle: Callable[[], None] = meddle) -> Tensor:
            meddle()
            return instance.closure(2)()

        with pytest.raises(RuntimeError, match="from inside a step of the same optimizer"):
            optimizer.step(closure)


def test_saved_options_need_not_be_ones_of_this_optimizer() -> None:
    _, source = fitted()
    state = source.state_dict()
    state["run"]["arguments"]["options"] = {"of_another_scipy": 1}
    source.load_state_dict(state)
    assert "of_another_scipy" not in source.state_dict()["run"]["arguments"]["options"]
