"""However a global run ends, the parameters hold the point that was promised."""

from __future__ import annotations

import itertools
import signal
import time
from typing import Any

import numpy as np
import plain
import pytest
import torch
from instance import Array, Instance
from landscapes import STYBLINSKI_TANG
from raiser import Abort, ClosureError, Raiser
from scipy.optimize import OptimizeResult
from searches import MAKE, QUICK
from torch import Tensor

from pytorch_minimize.scipy_global.algorithms import ALGORITHMS

ALL = list(ALGORITHMS)
TOLD = [name for name, row in ALGORITHMS.items() if row.habits.told]


def make(algorithm: str, instance: Instance, keywords: dict[str, Any], **run: Any) -> Any:
    search = QUICK[algorithm]
    cls = type(search.optimizer(instance))
    both = search.all_keywords | keywords
    if ALGORITHMS[algorithm].local is None:
        return cls(instance.params, both, **run)
    return cls(instance.params, search.local, both, **run)


@pytest.mark.parametrize("algorithm", TOLD)
def test_the_model_is_at_the_point_that_the_callback_is_told(algorithm: str) -> None:
    instance, without = QUICK[algorithm].instance(), QUICK[algorithm].instance()
    told: list[float] = []

    def callback(x: Array, *more: Any) -> None:
        assert np.array_equal(instance.x, x)
        told.append(instance.fun(x))
        if len(ALGORITHMS[algorithm].habits.told) == 3:  # the value besides
            assert more[0] == told[-1]

    closure, plain_closure = Raiser(instance, form=2), Raiser(without, form=2)
    optimizer = make(algorithm, instance, {"callback": callback})
    optimizer.step(closure)
    make(algorithm, without, {}).step(plain_closure)
    assert told
    assert len(closure.seen) == len(plain_closure.seen)
    assert np.array_equal(instance.x, without.x)
    assert len(optimizer.history) == len(told)


@pytest.mark.parametrize("algorithm", TOLD)
def test_the_callback_is_told_what_scipy_tells(algorithm: str) -> None:
    search = QUICK[algorithm]
    instance, twin = search.instance(), search.instance()
    ours: list[Any] = []
    theirs: list[Any] = []
    bounds, keywords = search.landscape.bounds(2), dict(search.keywords)
    local: dict[str, Any] = {"jac": twin.jac}
    args: tuple[Any, ...] = (twin.fun, bounds)
    if algorithm == "basinhopping":
        local |= {"method": "L-BFGS-B", "bounds": bounds}
        args = (twin.fun, twin.x0)
    elif algorithm == "shgo":
        local |= {"method": "SLSQP", "options": {"ftol": 1e-12}}
    elif algorithm == "dual_annealing":
        local |= {"method": "L-BFGS-B", "bounds": bounds, "options": {"maxiter": 100}}
    if ALGORITHMS[algorithm].local is not None:
        keywords["minimizer_kwargs"] = local
    if algorithm in ("differential_evolution", "dual_annealing"):
        keywords["x0"] = twin.x0
    more = {"polish": False} if algorithm == "differential_evolution" else {}

    def recorder(into: list[Any]) -> Any:
        return lambda x, *told: into.append((x.copy(), *told))

    plain.call(algorithm, *args, callback=recorder(theirs), **keywords, **more)
    make(algorithm, instance, {"callback": recorder(ours), **more}).step(instance.closure(2))
    assert len(ours) == len(theirs) > 0
    for mine, scipys in zip(ours, theirs, strict=True):
        assert np.array_equal(mine[0], scipys[0])
        assert mine[1:] == scipys[1:]


def test_evolution_may_ask_for_a_result() -> None:
    told: list[OptimizeResult] = []

    def callback(intermediate_result: OptimizeResult) -> None:
        told.append(intermediate_result)

    instance = QUICK["differential_evolution"].instance()
    optimizer = make("differential_evolution", instance, {"callback": callback, "polish": False})
    optimizer.step(instance.closure(2))
    assert told[-1].fun == optimizer.res.fun
    assert told[-1].population.shape[1] == 2
    assert told[-1].nfev <= optimizer.res.nfev


@pytest.mark.parametrize("how", ["raise", "return"])
@pytest.mark.parametrize("algorithm", TOLD)
def test_the_callback_ends_the_run_at_the_best_point(algorithm: str, how: str) -> None:
    instance = QUICK[algorithm].instance()
    calls = 0

    def callback(x: Array, *more: Any) -> bool:
        nonlocal calls
        calls += 1
        if calls == 2 and how == "raise":
            raise StopIteration
        return calls == 2

    closure = Raiser(instance, form=2)
    polish = {"polish": False} if ALGORITHMS[algorithm].polish else {}
    optimizer = make(algorithm, instance, {"callback": callback, **polish})
    loss = optimizer.step(closure)
    res = optimizer.res
    assert (calls, res.status, res.success) == (2, 99, False)
    assert np.array_equal(instance.x, res.x)
    assert np.array_equal(instance.x, closure.best)
    assert loss.item() == res.fun == instance.fun(instance.x)
    calls = 2
    optimizer.step(closure)  # the optimizer can go on
    assert optimizer.res.fun <= res.fun


def test_a_polish_is_carried_out_after_a_stop() -> None:
    """As scipy's differential_evolution does."""
    instance = QUICK["differential_evolution"].instance()
    optimizer = make("differential_evolution", instance, {"callback": lambda x, convergence: True})
    optimizer.step(instance.closure(2))
    assert optimizer.res.status == 99
    assert optimizer.profile.counts["jac"] > 0
    assert np.abs(instance.jac(instance.x)).max() < 1e-3
    assert np.array_equal(instance.x, optimizer.res.x)


@pytest.mark.parametrize("algorithm", ALL)
def test_max_evaluations(algorithm: str) -> None:
    for limit in (1, 7, 30):
        instance = QUICK[algorithm].instance()
        closure = Raiser(instance, form=2)
        optimizer = make(algorithm, instance, {}, max_evaluations=limit)
        loss = optimizer.step(closure)
        res = optimizer.res
        assert len(closure.seen) == limit
        assert (res.status, res.success) == (102, False)
        assert np.array_equal(instance.x, closure.best)
        assert loss.item() == res.fun == instance.fun(res.x)


@pytest.mark.parametrize("algorithm", ALL)
def test_timeout(algorithm: str) -> None:
    instance = QUICK[algorithm].instance()
    closure = Raiser(instance, form=2)
    optimizer = make(algorithm, instance, {}, timeout=0.05)

    def slow() -> Tensor:
        if len(closure.seen) == 12:
            time.sleep(0.06)
        return closure()

    optimizer.step(slow)
    assert optimizer.res.status == 101
    assert len(closure.seen) <= 13
    assert np.array_equal(instance.x, closure.best)


@pytest.mark.parametrize("algorithm", ALL)
def test_the_exception_comes_out_and_the_best_point_stays(algorithm: str) -> None:
    for error, at in itertools.product((ClosureError, Abort, StopIteration), (1, 9, 60)):
        instance = QUICK[algorithm].instance()
        closure = Raiser(instance, raised := error("stop here"), at, form=2)
        optimizer = make(algorithm, instance, {})
        with pytest.raises(error) as caught:
            optimizer.step(closure)
        assert caught.value is raised
        assert len(closure.seen) == at - 1
        assert np.array_equal(instance.x, closure.best if closure.seen else instance.x0)
    loss = optimizer.step(instance.closure(2))
    assert loss.item() == pytest.approx(STYBLINSKI_TANG.minimum(2), abs=1e-3)


@pytest.mark.parametrize("algorithm", ALL)
def test_ctrl_c(algorithm: str) -> None:
    instance = QUICK[algorithm].instance()
    closure = Raiser(instance, form=2)

    def interrupted() -> Tensor:
        if len(closure.seen) == 20:
            signal.raise_signal(signal.SIGINT)
        return closure()

    with pytest.raises(KeyboardInterrupt):
        make(algorithm, instance, {}).step(interrupted)
    assert len(closure.seen) == 20
    assert np.array_equal(instance.x, closure.best)


@pytest.mark.parametrize("algorithm", TOLD)
def test_an_exception_in_the_callback_comes_out(algorithm: str) -> None:
    instance = QUICK[algorithm].instance()
    raised = ClosureError()

    def callback(x: Array, *more: Any) -> None:
        raise raised

    closure = Raiser(instance, form=2)
    with pytest.raises(ClosureError) as caught:
        make(algorithm, instance, {"callback": callback}).step(closure)
    assert caught.value is raised
    assert np.array_equal(instance.x, closure.best)


@pytest.mark.parametrize("algorithm", ALL)
def test_values_that_are_not_finite_are_survived(algorithm: str) -> None:
    instance = QUICK[algorithm].instance()
    closure = Raiser(instance, form=2)

    def sometimes() -> Tensor:
        loss = closure()
        return loss * torch.nan if len(closure.seen) % 7 == 3 else loss

    optimizer = make(algorithm, instance, {})
    with pytest.warns(RuntimeWarning, match="nonfinite"):
        optimizer.step(sometimes)
    assert optimizer.res.nonfinite > 0
    assert np.isfinite(optimizer.res.fun)
    assert optimizer.res.fun < -60.0


@pytest.mark.parametrize("algorithm", ALL)
def test_a_step_inside_the_closure_is_refused(algorithm: str) -> None:
    instance = QUICK[algorithm].instance()
    optimizer = make(algorithm, instance, {})
    with pytest.raises(RuntimeError, match="inside a closure"):
        optimizer.step(lambda: optimizer.step(lambda: 0.0))
    assert np.array_equal(instance.x, instance.x0)


@pytest.mark.parametrize(
    ("algorithm", "endless"),
    [
        ("differential_evolution", {"tol": 0.0, "atol": 0.0}),
        ("direct", {"maxfun": 10**6, "len_tol": 0.0}),
    ],
)
def test_rtol_ends_a_run_that_has_come_to_rest(algorithm: str, endless: dict[str, Any]) -> None:
    instance = QUICK[algorithm].instance()
    optimizer = make(algorithm, instance, endless | {"maxiter": 10_000}, rtol=1e-6)
    optimizer.step(instance.closure(2))
    assert (optimizer.res.status, optimizer.res.success) == (103, True)
    assert optimizer.res.fun == pytest.approx(STYBLINSKI_TANG.minimum(2), abs=1e-2)


def test_rtol_needs_iterations() -> None:
    with pytest.raises(ValueError, match="rtol"):
        make("brute", QUICK["brute"].instance(), {}, rtol=1e-3)


def test_a_callback_that_cannot_be_called_is_refused() -> None:
    instance = QUICK["direct"].instance()
    with pytest.raises(TypeError, match="callback"):
        MAKE["direct"](instance.params, {}, {"bounds": [(0, 1)] * 2, "callback": 3}).step(
            instance.closure(2)
        )
