"""What every method promises: one contract, held against each row of the table.

Code that all methods share is tested once, where that code is. Here is what the code of a method
in scipy could break: what it calls and how often, which exceptions it keeps to itself, what it
prints. A new method is a new row, and passes this.
"""

from __future__ import annotations

import math
import signal
from typing import Any

import numpy as np
import plain
import pytest
from methods import CAPPED
from problems import himmelblau, rosenbrock
from raiser import Abort, ClosureError, Raiser
from scipy.optimize import OptimizeResult

from pytorch_minimize.optim import MinimizeWrapper
from pytorch_minimize.run import limits
from pytorch_minimize.scipy_minimize.methods import METHODS

ERRORS = (ClosureError, Abort, ZeroDivisionError, StopIteration, KeyboardInterrupt)
COUNTS = ("nfev", "nit", "njev", "nhev", "status", "success")


def is_fortran(method: str) -> bool:
    return method == "COBYLA" and plain.VERSION < (1, 16)


class Run:
    """A step of a method on Rosenbrock's function, its closure watched."""

    def __init__(self, method: str, error: BaseException | None = None, at: int = 0) -> None:
        self.row = METHODS[method.lower()]
        self.instance = rosenbrock()
        self.closure = Raiser(self.instance, error, at, form=1)

    def optimizer(self, *, callback: Any = None, **more: Any) -> Any:
        arguments = {"method": self.row.name, "callback": callback}
        arguments["options"] = CAPPED.get(self.row.name, {})
        # The Hessian product by product is the one whose every bit the oracle knows.
        return MinimizeWrapper(self.instance.params, arguments, hessian_block_bytes=1, **more)

    def assert_ends_at(self, optimizer: Any, loss: Any) -> None:
        res, x = optimizer.res, self.instance.x
        assert np.array_equal(x, res.x)
        assert loss.item() == res.fun == self.instance.fun(x)
        if self.row.gradient:
            assert np.array_equal(self.instance.grad, self.instance.jac(x))


def walks_scipys_path(method: str) -> None:
    """With the model at every iterate that the callback is told, and no evaluation added."""
    run, told, scipys = Run(method), [], []
    # It tells of most points before it evaluates them.
    early = is_fortran(method)

    def callback(intermediate_result: OptimizeResult) -> None:
        x = run.instance.x
        assert np.array_equal(x, intermediate_result.x)
        loss = intermediate_result.fun
        assert loss == run.instance.fun(x) or (early and math.isnan(loss))
        told.append(x)

    optimizer = run.optimizer(callback=callback)
    loss = optimizer.step(run.closure)
    expected = plain.path(
        rosenbrock(),
        method,
        options=CAPPED.get(method),
        callback=lambda xk, *state: scipys.append(xk.copy()),
    )
    assert {name: optimizer.res.get(name) for name in COUNTS} == {
        name: expected.get(name) for name in COUNTS
    }
    assert np.array_equal(optimizer.res.x, expected.x)
    run.assert_ends_at(optimizer, loss)
    assert told
    assert np.array_equal(told, scipys)
    # Powell asks for one point twice in a row, which costs no run.
    runs = optimizer.res.nfev + optimizer.profile.counts.get("reload", 0)
    assert len(run.closure.seen) == runs - (method == "Powell")


def ends_where_the_callback_stops_it(method: str) -> None:
    run, iterates = Run(method), []

    def callback(xk: Any, *state: Any) -> None:
        iterates.append(xk)
        if len(iterates) == 3:
            raise StopIteration

    optimizer = run.optimizer(callback=callback)
    loss = optimizer.step(run.closure)
    assert (len(iterates), optimizer.res.status, optimizer.res.success) == (3, 99, False)
    assert np.array_equal(optimizer.res.x, iterates[-1])
    run.assert_ends_at(optimizer, loss)


def lets_exceptions_out_and_keeps_the_best_point(method: str) -> None:
    for kind in ERRORS:
        run = Run(method, raised := kind("stop here"), at=9)
        optimizer = run.optimizer()
        with pytest.raises(kind) as caught:
            optimizer.step(run.closure)
        assert caught.value is raised
        assert len(run.closure.seen) == 8
        assert np.array_equal(run.instance.x, run.closure.best)
        assert not np.array_equal(run.instance.x, run.instance.x0)
    # The optimizer can go on.
    best = run.instance.fun(run.closure.best)
    assert optimizer.step(run.instance.closure(1)).item() < best


def heeds_ctrl_c(method: str) -> None:
    run = Run(method)

    def closure() -> Any:
        if len(run.closure.seen) == 6:
            signal.raise_signal(signal.SIGINT)
        return run.closure()

    with pytest.raises(KeyboardInterrupt):
        run.optimizer().step(closure)
    assert len(run.closure.seen) == 6
    assert np.array_equal(run.instance.x, run.closure.best)


def heeds_our_limits(method: str) -> None:
    for limit, status in (("max_evaluations", 102), ("timeout", 101)):
        run = Run(method)
        with pytest.MonkeyPatch.context() as patch:
            # A clock that ticks once a run of the closure.
            patch.setattr(limits, "perf_counter", lambda run=run: float(len(run.closure.seen)))
            patch.setattr(limits.Limits, "rest", lambda self: (0.0, 0))  # by that clock
            optimizer = run.optimizer(**{limit: 9})
            loss = optimizer.step(run.closure)
        assert (optimizer.res.status, optimizer.res.success) == (status, False)
        # On the clock, a point that is loaded again takes its time as well.
        again = optimizer.profile.counts.get("reload", 0)
        assert len(run.closure.seen) == 9 + again * (limit == "max_evaluations")
        assert optimizer.res.nfev == len(run.closure.seen) - again
        assert np.array_equal(run.instance.x, run.closure.best)
        assert loss.item() == optimizer.res.fun == run.instance.fun(optimizer.res.x)


def prints_when_asked_alone(method: str, capfd: pytest.CaptureFixture[str]) -> None:
    """TNC's C code writes to the file descriptor of stderr, past Python."""
    # What Fortran prints stays in a buffer of its own until the process ends.
    for disp in (False,) if is_fortran(method) else (False, True):
        instance = himmelblau()
        arguments = {"method": method, "options": {"disp": disp}}
        optimizer = MinimizeWrapper(instance.params, arguments)
        capfd.readouterr()
        optimizer.step(instance.closure(1))
        assert optimizer.res.success
        assert bool("".join(capfd.readouterr()).strip()) is disp


@pytest.mark.parametrize("method", [row.name for row in METHODS.values()])
def test_contract(method: str, capfd: pytest.CaptureFixture[str]) -> None:
    walks_scipys_path(method)
    ends_where_the_callback_stops_it(method)
    lets_exceptions_out_and_keeps_the_best_point(method)
    heeds_ctrl_c(method)
    heeds_our_limits(method)
    prints_when_asked_alone(method, capfd)
