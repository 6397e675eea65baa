"""Our methods as scipy's ``method=``."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.optimize
from numpy.typing import NDArray
from runs import Function, run, tanh_fit
from scipy.optimize import OptimizeResult, minimize, rosen, rosen_der

import pytorch_minimize
from pytorch_minimize.solvers.methods import METHODS

START = np.array([-1.2, 1.0, 0.5, -0.3])
BOTH = {"SSBFGS": pytorch_minimize.ssbfgs, "SSBroyden": pytorch_minimize.ssbroyden}


@pytest.fixture(params=BOTH.values(), ids=BOTH)
def method(request: pytest.FixtureRequest) -> Callable[..., OptimizeResult]:
    return request.param


@pytest.mark.parametrize("name", BOTH)
def test_it_is_the_solver_bit_for_bit(name: str) -> None:
    function = tanh_fit(6)
    solver, asked = run(function, METHODS[name].rules({"maxiter": 60}))
    res = minimize(
        function.fun,
        function.start,
        jac=function.jac,
        method=BOTH[name],
        options={"maxiter": 60, "return_all": True},
    )
    assert np.array_equal(res.x, solver.x)
    assert np.array_equal(res.hess_inv, solver.fields()["hess_inv"])
    assert (res.fun, res.nit, res.nfev) == (solver.value, solver.nit, asked.nfev)
    assert np.array_equal(res.allvecs[-1], res.x)


def test_the_result_has_scipys_fields_and_two_more(method: Any) -> None:
    scipys = minimize(rosen, START, jac=rosen_der, method="BFGS")
    res = minimize(rosen, START, jac=rosen_der, method=method)
    assert res.keys() == scipys.keys() | {"resets", "skipped"}
    assert (res.status, res.success, res.message) == (0, True, scipys.message)
    assert res.fun == rosen(res.x)
    np.testing.assert_array_equal(res.jac, rosen_der(res.x))
    np.testing.assert_allclose(res.x, 1.0, rtol=1e-4)
    assert res.hess_inv.shape == (4, 4)
    assert res.resets == res.skipped == 0


def test_forms_of_the_gradient(method: Any) -> None:
    apart = minimize(rosen, START, jac=rosen_der, method=method)
    together = minimize(lambda x: (rosen(x), rosen_der(x)), START, jac=True, method=method)
    direct = method(lambda x: (rosen(x), rosen_der(x)), START, jac=True)
    for res in (together, direct):
        assert np.array_equal(apart.x, res.x)
        assert (apart.nfev, apart.njev) == (res.nfev, res.njev)
    differences = minimize(rosen, START, method=method)
    np.testing.assert_allclose(differences.x, 1.0, rtol=1e-3)
    # One more evaluation for each variable and gradient.
    assert differences.nfev == differences.njev * (1 + START.size)
    central = method(rosen, START, jac="3-point")
    np.testing.assert_allclose(central.x, 1.0, rtol=1e-4)


def test_arguments_reach_function_and_gradient(method: Any) -> None:
    def fun(x: Any, scale: float) -> float:
        return scale * rosen(x)

    res = minimize(
        fun, START, args=(3.0,), jac=lambda x, scale: scale * rosen_der(x), method=method
    )
    assert res.success
    assert minimize(fun, START, args=(3.0,), method=method).fun < 1e-8


def test_tol_is_gtol(method: Any) -> None:
    loose = minimize(rosen, START, jac=rosen_der, method=method, tol=1.0)
    assert 1e-3 < abs(loose.jac).max() <= 1.0
    both = minimize(rosen, START, jac=rosen_der, method=method, tol=1.0, options={"gtol": 1e-6})
    assert abs(both.jac).max() <= 1e-6


class TestCallback:
    def test_by_point(self, method: Any) -> None:
        seen: list[NDArray[np.float64]] = []
        res = minimize(rosen, START, jac=rosen_der, method=method, callback=seen.append)
        assert len(seen) == res.nit
        assert np.array_equal(seen[-1], res.x)

    def test_by_result(self, method: Any) -> None:
        seen = []

        def callback(*, intermediate_result: OptimizeResult) -> None:
            seen.append(intermediate_result)

        res = minimize(rosen, START, jac=rosen_der, method=method, callback=callback)
        assert len(seen) == res.nit
        assert all(state.fun == rosen(state.x) for state in seen)

    def test_it_may_end_the_run(self, method: Any) -> None:
        def callback(x: Any) -> None:
            x[:] = 0.0  # a copy, and so of no consequence
            raise StopIteration

        res = minimize(rosen, START, jac=rosen_der, method=method, callback=callback)
        stopped = minimize(rosen, START, jac=rosen_der, method="BFGS", callback=callback)
        assert (res.nit, res.status, res.success) == (1, stopped.status, False)
        assert res.message == stopped.message
        assert res.fun == rosen(res.x)

    def test_its_errors_pass_through(self, method: Any) -> None:
        def callback(x: Any) -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            minimize(rosen, START, jac=rosen_der, method=method, callback=callback)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"bounds": [(0, 1)] * 4}, "takes no bounds; scipy's L-BFGS-B does"),
        ({"bounds": scipy.optimize.Bounds(0, 1)}, "takes no bounds"),
        ({"constraints": {"type": "eq", "fun": sum}}, "takes no constraints"),
        ({"hess": scipy.optimize.rosen_hess}, "takes no hess; it builds"),
        ({"options": {"method_bfgs": "SSBroyden2"}}, "method_bfgs is of a scipy"),
        ({"options": {"max_iter": 10}}, "did you mean maxiter"),
        ({"options": {"maxiter": "10"}}, "maxiter: expected a whole number"),
    ],
)
def test_what_it_cannot_do_is_refused(method: Any, given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        minimize(rosen, START, **{"jac": rosen_der, "method": method, **given})


def test_functions_of_the_wrong_shape_are_refused(method: Any) -> None:
    with pytest.raises(ValueError, match=r"fun must return a scalar.*\(2,\)"):
        minimize(lambda x: x[:2], START, jac=rosen_der, method=method)
    with pytest.raises(ValueError, match="jac must return 4 numbers, got 3"):
        minimize(rosen, START, jac=lambda x: x[:3], method=method)


def test_a_gradient_may_always_be_the_same_array(method: Any) -> None:
    kept = np.empty(4)

    def jac(x: Any) -> Any:
        kept[:] = rosen_der(x)
        return kept

    res = minimize(rosen, START, jac=jac, method=method)
    assert np.array_equal(res.x, minimize(rosen, START, jac=rosen_der, method=method).x)


def test_the_start_is_left_alone_and_may_be_a_list(method: Any) -> None:
    start = START.copy()
    res = minimize(rosen, start, jac=rosen_der, method=method)
    assert np.array_equal(start, START)
    assert np.array_equal(res.x, minimize(rosen, START.tolist(), jac=rosen_der, method=method).x)


def test_disp_says_how_it_ended(method: Any, capsys: pytest.CaptureFixture[str]) -> None:
    res = minimize(rosen, START, jac=rosen_der, method=method, options={"disp": True})
    said = capsys.readouterr().out
    assert res.message in said
    assert f"{res.nit} iterations, {res.nfev} evaluations" in said


def test_it_goes_lower_than_bfgs_where_it_is_meant_to(method: Any) -> None:
    function: Function = tanh_fit(20)
    options = {"gtol": 0.0, "maxiter": 600}
    scipys = minimize(
        function.fun, function.start, jac=function.jac, method="BFGS", options=options
    )
    ours = minimize(function.fun, function.start, jac=function.jac, method=method, options=options)
    assert ours.fun < 0.1 * scipys.fun


def test_no_optimizer_is_imported_for_them() -> None:
    code = (
        "import sys, pytorch_minimize; pytorch_minimize.ssbfgs; pytorch_minimize.ssbroyden; "
        "assert 'pytorch_minimize.run.optimizer' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_differences_that_it_cannot_take_are_refused(method: Any) -> None:
    with pytest.raises(ValueError, match="jac: expected a callable"):
        method(rosen, START, jac="cs")
