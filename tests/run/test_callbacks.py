"""The user's callback: what it is told, where the model is meanwhile, how it ends a run."""

from __future__ import annotations

import inspect
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from instance import Instance
from methods import CAPPED, KINDS
from problems import rosenbrock
from scipy.optimize import OptimizeResult

from pytorch_minimize.optim import MinimizeWrapper
from pytorch_minimize.scipy_minimize.callback import _ASKS_FOR_A_RESULT, ScipyCallback
from pytorch_minimize.scipy_minimize.methods import METHODS


def make(instance: Instance, method: str, callback: Any) -> MinimizeWrapper:
    options = CAPPED.get(method, {})
    return MinimizeWrapper(
        instance.params, {"method": method, "callback": callback, "options": options}
    )


@pytest.mark.parametrize("method", KINDS)
def test_the_older_form_gets_arrays_of_its_own(method: str) -> None:
    instance = rosenbrock()
    kept = []

    def callback(xk: Any) -> None:
        kept.append((xk, xk.copy()))

    def with_state(xk: Any, state: Any) -> None:
        assert "tr_radius" in state
        callback(xk)

    make(instance, method, with_state if method == "trust-constr" else callback).step(
        instance.closure(2)
    )
    assert len(kept) > 3
    assert all(np.array_equal(now, then) for now, then in kept)


@pytest.mark.parametrize("method", KINDS)
def test_stop_iteration_may_be_returned(method: str) -> None:
    instance = rosenbrock()
    iterates: list[Any] = []

    def callback(intermediate_result: OptimizeResult) -> type[StopIteration] | None:
        iterates.append(intermediate_result.x)
        return StopIteration if len(iterates) == 3 else None

    optimizer = make(instance, method, callback)
    loss = optimizer.step(instance.closure(1))
    res = optimizer.res
    assert (len(iterates), res.status, res.success) == (3, 99, False)
    assert np.array_equal(res.x, iterates[-1])
    assert np.array_equal(instance.x, iterates[-1])
    assert loss.item() == res.fun == instance.fun(res.x)
    optimizer.step(instance.closure(1))  # the optimizer can go on


def test_tnc_counts_iterations() -> None:
    instance = rosenbrock()
    optimizer = MinimizeWrapper(instance.params, {"method": "TNC", "options": {"maxiter": 4}})
    optimizer.step(instance.closure(1))
    assert (optimizer.res.nit, optimizer.res.status, optimizer.res.success) == (4, 1, False)
    assert np.array_equal(instance.x, optimizer.res.x)
    assert np.array_equal(instance.grad, optimizer.res.jac)


def test_scipy_is_shown_the_signature_that_asks_for_a_result() -> None:
    # The callback answers inspect.signature from a constant; it must be called like that.
    asked = list(_ASKS_FOR_A_RESULT.parameters)
    assert asked == ["intermediate_result"]
    assert set(asked) <= set(inspect.signature(ScipyCallback.__call__).parameters)


def test_a_callback_that_cannot_be_called_is_refused() -> None:
    instance = rosenbrock()
    with pytest.raises(TypeError, match="callback"):
        make(instance, "BFGS", 3)


@pytest.mark.parametrize("returned", [StopIteration("enough"), True, np.True_])
@pytest.mark.parametrize("method", ["BFGS", "TNC", "COBYLA", "trust-constr"])
def test_other_ways_to_say_stop(method: str, returned: object) -> None:
    """Of trust-constr's callback alone scipy heeds what it returns."""
    instance, calls = rosenbrock(), 0

    def callback(xk: Any, *state: Any) -> object:
        nonlocal calls
        calls += 1
        return returned

    optimizer = make(instance, method, callback)
    optimizer.step(instance.closure(1))
    ended = method == "trust-constr" or isinstance(returned, StopIteration)
    assert (optimizer.res.status == 99) is ended
    assert (calls == 1) is ended


def test_what_else_a_callback_returns_means_nothing() -> None:
    instance = rosenbrock()
    returned = iter([1, "stop", [True], 0.5] + [None] * 1000)
    optimizer = make(instance, "BFGS", lambda xk: next(returned))
    optimizer.step(instance.closure(1))
    assert optimizer.res.success


@pytest.mark.parametrize("method", KINDS)
def test_what_the_callback_does_to_the_model_is_undone(method: str) -> None:
    instance, without = rosenbrock(), rosenbrock()
    deeds = itertools.cycle(("values", "storage", "gradient", "no gradient"))

    def callback(xk: Any, *state: Any) -> None:
        what = next(deeds)
        for p in instance.params:
            if what == "values":
                p.data.mul_(3.0)
            elif what == "storage":
                p.data = torch.full_like(p, 7.0)
            elif what == "no gradient":
                p.grad = None
        if what == "gradient":
            instance.closure(2)().backward()  # type: ignore[no-untyped-call]

    optimizer, plain_optimizer = make(instance, method, callback), make(without, method, None)
    optimizer.step(instance.closure(1))
    plain_optimizer.step(without.closure(1))
    assert optimizer.res.nfev == plain_optimizer.res.nfev
    assert np.array_equal(instance.x, optimizer.res.x)
    assert np.array_equal(instance.x, without.x)
    if METHODS[method.lower()].gradient:
        assert np.array_equal(instance.grad, without.grad)


@pytest.mark.parametrize("method", ["BFGS", "COBYQA", "trust-constr"])
def test_a_step_inside_the_callback_is_refused(method: str) -> None:
    instance = rosenbrock()
    optimizer = make(instance, method, lambda *told: optimizer.step(instance.closure(1)))
    with pytest.raises(RuntimeError, match="inside a closure"):
        optimizer.step(instance.closure(1))
