"""What scipy really does, where we rely on it.

A failure here says that a new scipy behaves differently, not that this package is wrong: find
what in the package rested on the old behaviour.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import plain
import pytest
import scipy.optimize
from instance import Array
from problems import rosenbrock
from scipy.optimize import OptimizeResult, OptimizeWarning

from pytorch_minimize.row import Row
from pytorch_minimize.scipy_minimize.methods import METHODS

PROBLEM = rosenbrock()
GRADIENT_METHODS = [row for row in METHODS.values() if row.gradient]


def minimize(method: str, **keywords: Any) -> Any:
    given = {"fun": PROBLEM.fun, "x0": PROBLEM.x0, "jac": PROBLEM.jac} | keywords
    return scipy.optimize.minimize(method=method, **given)


@pytest.mark.parametrize("method", ["BFGS", "CG", "trust-krylov"])
def test_gradients_are_kept_by_reference(method: str) -> None:
    """Note [fresh gradients]: one reused buffer and these methods do not converge."""
    buffer = np.empty(5)

    def jac(x: Array) -> Array:
        buffer[:] = PROBLEM.jac(x)
        return buffer

    more = {"hess": PROBLEM.hess} if method == "trust-krylov" else {}
    assert minimize(method, **more).success
    assert not minimize(method, jac=jac, **more).success


def test_newton_cg_writes_into_its_x() -> None:
    """Note [compare by value]: the same array, another point."""
    seen: list[tuple[Array, Array]] = []

    def hessp(x: Array, p: Array) -> Array:
        seen.append((x, x.copy()))
        product: Array = PROBLEM.hess(x) @ p
        return product

    minimize("Newton-CG", hessp=hessp)
    assert any(not np.array_equal(live, then) for live, then in seen)


@pytest.mark.parametrize(
    ("row", "bounded"),
    [(row, bounded) for row in GRADIENT_METHODS for bounded in {False, row.bounds}],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_fun_and_jac_get_copies_of_x(row: Row, bounded: bool) -> None:
    """Note [points stay]: the objective keeps these arrays as they are, and locks them."""
    seen: list[tuple[Array, Array]] = []

    def keep(x: Array) -> None:
        assert x.base is None
        seen.append((x, x.copy()))
        x.flags.writeable = False

    def fun(x: Array) -> float:
        keep(x)
        return PROBLEM.fun(x)

    def jac(x: Array) -> Array:
        keep(x)
        return PROBLEM.jac(x)

    more: dict[str, Any] = {"options": {"maxfun" if row.name == "TNC" else "maxiter": 30}}
    if bounded:
        more["bounds"] = [(-3.0, 3.0)] * 5
    if row.curvature:
        shift = 1e4 * np.eye(5) if row.asks.positive_definite else 0.0
        more["hess"] = lambda x: PROBLEM.hess(x) + shift
    if row.constraints:
        more["constraints"] = {"type": "ineq", "fun": lambda x: 9.0 - x @ x}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # trust-constr's, of a singular system
        minimize(row.name, fun=fun, jac=jac, **more)
    assert len(seen) > 10
    assert all(np.array_equal(kept, then) for kept, then in seen)


@pytest.mark.parametrize(
    "row", [row for row in METHODS.values() if row.habits.leaves_iterates], ids=lambda row: row.name
)
def test_iterates_are_not_written_again(row: Row) -> None:
    """Note [points stay]: where nobody else is told of them they stand for our own."""
    seen: list[tuple[Array, Array]] = []

    def keep(intermediate_result: OptimizeResult) -> None:
        x = intermediate_result.x
        seen.append((x, x.copy()))

    minimize(row.name, callback=keep)
    assert len(seen) > 10
    assert len({id(x) for x, _ in seen}) == len(seen)
    assert all(np.array_equal(kept, then) for kept, then in seen)


@pytest.mark.parametrize("row", METHODS.values(), ids=lambda row: row.name)
def test_the_start_is_not_written(row: Row) -> None:
    """Note [points stay]: it is the objective's first point."""
    x0 = PROBLEM.x0.copy()
    more: dict[str, Any] = {"options": {"maxfun" if row.name == "TNC" else "maxiter": 30}}
    if row.curvature:
        shift = 1e4 * np.eye(5) if row.asks.positive_definite else 0.0
        more["hess"] = lambda x: PROBLEM.hess(x) + shift
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of too few iterations
        minimize(row.name, x0=x0, jac=PROBLEM.jac if row.gradient else None, **more)
    assert np.array_equal(x0, PROBLEM.x0)


@pytest.mark.parametrize("method", ["TNC", "SLSQP"])
def test_float32_is_refused(method: str) -> None:
    """Note [float64 at the border]."""

    def jac(x: Array) -> Any:
        return PROBLEM.jac(x.astype(np.float64)).astype(np.float32)

    with pytest.raises(Exception, match=r"float|elsize"):
        minimize(method, x0=PROBLEM.x0.astype(np.float32), jac=jac)


@pytest.mark.parametrize("bad", [math.inf, 1e100])
def test_lbfgsb_reports_success_after_an_infinite_value(bad: float) -> None:
    calls = 0

    def fun(x: Array) -> float:
        nonlocal calls
        calls += 1
        return bad if calls == 4 else PROBLEM.fun(x)

    res = minimize("L-BFGS-B", fun=fun)
    assert res.success
    assert res.fun > 1.0


def test_tnc_fails_after_an_infinite_value() -> None:
    calls = 0

    def fun(x: Array) -> float:
        nonlocal calls
        calls += 1
        return math.inf if calls == 4 else PROBLEM.fun(x)

    res = minimize("TNC", fun=fun)
    assert not res.success
    assert res.fun > 1.0


def test_slsqp_asks_for_fewer_gradients_than_values() -> None:
    res = minimize("SLSQP")
    assert res.njev < res.nfev


@pytest.mark.parametrize("method", ["Nelder-Mead", "Powell"])
def test_the_last_evaluation_is_not_the_result(method: str) -> None:
    last = PROBLEM.x0

    def fun(x: Array) -> float:
        nonlocal last
        last = x.copy()
        return PROBLEM.fun(x)

    res = minimize(method, fun=fun, jac=None)
    assert not np.array_equal(last, res.x)


# What a callback raises, and since which scipy it ends the run rather than escape.
STOPPED = {"BFGS": 99, "CG": 99, "L-BFGS-B": 99, "SLSQP": 99, "Nelder-Mead": 99, "Powell": 99,
           "COBYLA": 30, "COBYQA": 3}  # fmt: skip
STOPS_SINCE = {"SLSQP": (1, 17), "COBYLA": (1, 16)}


def stop(xk: Array) -> None:
    raise StopIteration


@pytest.mark.parametrize("method", STOPPED)
def test_status_after_stop_iteration(method: str) -> None:
    gradient = {} if method in ("BFGS", "CG", "L-BFGS-B", "SLSQP") else {"jac": None}
    if STOPS_SINCE.get(method, plain.VERSION) > plain.VERSION:
        with pytest.raises(StopIteration):
            minimize(method, callback=stop, **gradient)
        return
    res = minimize(method, callback=stop, **gradient)
    assert res.status == STOPPED[method]
    assert res.success == (method == "COBYQA")


def test_stop_iteration_escapes_tnc() -> None:
    with pytest.raises(StopIteration):
        minimize("TNC", callback=stop)


def test_the_name_of_its_parameter_decides_what_a_callback_gets() -> None:
    given: list[Any] = []

    def new(intermediate_result: Any) -> None:
        given.append(intermediate_result)

    def old(x: Any) -> None:
        given.append(x)

    minimize("BFGS", callback=new, options={"maxiter": 1})
    minimize("BFGS", callback=old, options={"maxiter": 1})
    assert [type(value) for value in given] == [OptimizeResult, np.ndarray]


def test_an_unknown_option_is_only_a_warning() -> None:
    with pytest.warns(OptimizeWarning, match="learning_rate"):
        minimize("BFGS", options={"learning_rate": 1e-3})


def test_tnc_has_no_maxiter() -> None:
    with pytest.warns(OptimizeWarning, match="maxiter"):
        minimize("TNC", options={"maxiter": 3})


def test_a_small_loss_looks_converged_at_once() -> None:
    """Tolerances are absolute: the same problem in other units stops at its start."""
    small = 1e-10

    def fun(x: Array) -> float:
        return small * PROBLEM.fun(x)

    def jac(x: Array) -> Array:
        return small * PROBLEM.jac(x)

    res = minimize("L-BFGS-B", fun=fun, jac=jac)
    assert res.success
    assert res.nfev == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exact = minimize("L-BFGS-B", fun=fun, jac=jac, options={"ftol": 0.0, "gtol": 0.0})
    assert exact.fun < 1e-12 * res.fun
