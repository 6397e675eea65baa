"""The user's callback: what it is told, where the model is meanwhile, how it ends a run."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import plain
import pytest
import torch
from instance import Instance
from methods import CAPPED
from problems import rosenbrock
from scipy.optimize import OptimizeResult
from torch import Tensor

from pytorch_minimize._methods import METHODS
from pytorch_minimize._watch import Watch
from pytorch_minimize.optim import MinimizeWrapper

ALL = [row.name for row in METHODS.values()]


def make(instance: Instance, method: str, callback: Any) -> MinimizeWrapper:
    options = CAPPED.get(method, {})
    return MinimizeWrapper(
        instance.params, {"method": method, "callback": callback, "options": options}
    )


class Counting:
    """The closure of an instance, and how often it ran."""

    def __init__(self, instance: Instance) -> None:
        self._closure = instance.closure(1)
        self.runs = 0

    def __call__(self) -> Tensor:
        self.runs += 1
        return self._closure()


@pytest.mark.parametrize("method", ALL)
def test_the_model_is_at_the_iterate_and_no_evaluation_is_added(method: str) -> None:
    instance, without = rosenbrock(), rosenbrock()
    told: list[tuple[float, float]] = []

    def callback(intermediate_result: OptimizeResult) -> None:
        assert np.array_equal(instance.x, intermediate_result.x)
        told.append((intermediate_result.fun, instance.fun(intermediate_result.x)))

    closure, plain_closure = Counting(instance), Counting(without)
    optimizer = make(instance, method, callback)
    optimizer.step(closure)
    make(without, method, None).step(plain_closure)
    assert told
    assert all(fun == true for fun, true in told)
    assert closure.runs == plain_closure.runs
    assert np.array_equal(instance.x, without.x)


@pytest.mark.parametrize("method", ALL)
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


@pytest.mark.parametrize("how", ["raise", "return"])
@pytest.mark.parametrize("method", ALL)
def test_stop_iteration_ends_the_run_at_the_iterate(method: str, how: str) -> None:
    instance = rosenbrock()
    iterates: list[Any] = []

    def callback(intermediate_result: OptimizeResult) -> type[StopIteration] | None:
        iterates.append(intermediate_result.x)
        if len(iterates) == 3 and how == "raise":
            raise StopIteration
        return StopIteration if len(iterates) == 3 else None

    optimizer = make(instance, method, callback)
    loss = optimizer.step(instance.closure(1))
    res = optimizer.res
    assert (len(iterates), res.status, res.success) == (3, 99, False)
    assert np.array_equal(res.x, iterates[-1])
    assert np.array_equal(instance.x, iterates[-1])
    assert loss.item() == res.fun == instance.fun(res.x)
    optimizer.step(instance.closure(1))  # the optimizer can go on


@pytest.mark.parametrize("method", ["BFGS", "TNC", "COBYLA", "COBYQA", "SLSQP", "Powell"])
def test_an_exception_in_the_callback_comes_out(method: str) -> None:
    instance = rosenbrock()
    error = ValueError("mine")

    def callback(xk: Any) -> None:
        raise error

    with pytest.raises(ValueError, match="mine") as caught:
        make(instance, method, callback).step(instance.closure(1))
    assert caught.value is error


@pytest.mark.parametrize("method", ["CG", "BFGS", "L-BFGS-B", "Nelder-Mead"])
def test_the_path_is_scipys_with_a_callback(method: str) -> None:
    instance = rosenbrock()
    ours: list[Any] = []
    theirs: list[Any] = []
    make(instance, method, ours.append).step(instance.closure(1))
    jac = instance.jac if METHODS[method.lower()].gradient else None
    plain.minimize(
        instance.fun,
        instance.x0,
        jac=jac,
        method=method,
        callback=theirs.append,
        options=CAPPED.get(method, {}),
    )
    assert len(ours) == len(theirs)
    assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_tnc_counts_iterations() -> None:
    instance = rosenbrock()
    optimizer = MinimizeWrapper(instance.params, {"method": "TNC", "options": {"maxiter": 4}})
    optimizer.step(instance.closure(1))
    assert (optimizer.res.nit, optimizer.res.status, optimizer.res.success) == (4, 1, False)
    assert np.array_equal(instance.x, optimizer.res.x)
    assert np.array_equal(instance.grad, optimizer.res.jac)


def test_scipy_is_shown_the_signature_that_asks_for_a_result() -> None:
    # Watch answers inspect.signature from a constant; the method itself must agree with it.
    assert list(inspect.signature(Watch.__call__).parameters) == ["self", "intermediate_result"]


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


@pytest.mark.parametrize("what", ["values", "storage", "gradient", "no gradient"])
@pytest.mark.parametrize("method", ALL)
def test_what_the_callback_does_to_the_model_is_undone(method: str, what: str) -> None:
    instance, without = rosenbrock(), rosenbrock()

    def callback(xk: Any, *state: Any) -> None:
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
