"""How a step of many runs ends: limits, NaN, exceptions, interrupts; and what is left behind."""

from __future__ import annotations

import contextlib
import functools
import gc
import signal
import warnings
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from many import STARTS, Many, rosenbrock, threads_left
from plain import VERSION
from torch import Tensor

from pytorch_minimize.optim import ClosureConstraint, NonfiniteError
from pytorch_minimize.run.endings import Ending

WAYS = ["L-BFGS-B", "BFGS", "torch-BFGS", "torch-L-BFGS"]  # threads, and generators


@functools.cache
def warm() -> None:
    """What is imported at a first step has filters of its own."""
    many = Many()
    many.optimizer().step(many.closure)


@pytest.fixture(autouse=True)
def nothing_left_over() -> Iterator[None]:
    warm()
    filters = list(warnings.filters)
    yield
    assert threads_left() == []
    assert list(warnings.filters) == filters


class Failing(Many):
    """Whose losses of many points do something else in one round.

    Args:
        at: the round.
        fail: (losses, stacks) -> what is returned instead.
    """

    def __init__(self, at: int, fail: Any) -> None:
        super().__init__()
        self._at, self._fail = at, fail

    def losses(self, stacks: list[Tensor]) -> Tensor:
        losses = super().losses(stacks)
        return self._fail(losses, stacks) if self.rounds == self._at else losses


class OwnError(Exception):
    pass


def raising(losses: Tensor, stacks: list[Tensor]) -> Tensor:
    raise OwnError("in a round")


@pytest.mark.parametrize("at", [1, 2, 9])
@pytest.mark.parametrize("method", WAYS)
def test_what_a_round_raises_ends_all_runs(method: str, at: int) -> None:
    many = Failing(at, raising)
    optimizer = many.optimizer(method)
    with pytest.raises(OwnError, match="in a round"):
        optimizer.step(many.closure, vectorized=many.losses)
    if at == 1:  # the model is where it was; else at the best point of any run
        assert np.array_equal(many.x, np.zeros(4))
    else:
        assert float(rosenbrock(torch.from_numpy(many.x))) <= min(
            float(rosenbrock(torch.from_numpy(start))) for start in STARTS
        )
    optimizer.step(many.closure, vectorized=many.losses)  # and it can be stepped again
    assert len(optimizer.results) == len(STARTS)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("method", WAYS)
def test_an_interrupt_inside_the_users_code(method: str, together: bool) -> None:
    def interrupted(losses: Tensor, stacks: list[Tensor]) -> Tensor:
        signal.raise_signal(signal.SIGINT)
        return losses

    many = Failing(5, interrupted)

    def closure() -> Tensor:
        if many.closures == 20:
            signal.raise_signal(signal.SIGINT)
        return many.closure()

    optimizer = many.optimizer(method)
    with pytest.raises(KeyboardInterrupt):
        optimizer.step(closure, vectorized=many.losses if together else None)
    assert np.isfinite(many.x).all()
    assert len(optimizer.history) > 0


# One that comes into a finalizer is all that it says there.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("method", ["BFGS", "torch-BFGS"])
def test_interrupts_wherever_they_come(method: str) -> None:
    """In the round, in scipy's code, in a switch between threads."""
    many = Many()
    optimizer = many.optimizer(method)

    def is_interrupted(delay: float) -> bool:
        signal.setitimer(signal.ITIMER_REAL, delay)
        try:
            for _ in range(50):
                optimizer.step(many.closure, vectorized=many.losses)
        except KeyboardInterrupt:
            return True
        return False  # it came into a finalizer, where Python only prints it

    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        ended = []
        for delay in (0.001, 0.003, 0.007, 0.015, 0.03, 0.06):
            ended.append(is_interrupted(delay))
            assert threads_left() == []
        assert sum(ended) >= 4
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def test_an_exit_of_a_callback_and_errors_of_one() -> None:
    for error in (OwnError(), KeyboardInterrupt(), SystemExit()):
        for method in WAYS:
            many = Many()

            def callback(xk: Any, error: BaseException = error) -> None:
                raise error

            optimizer = many.optimizer(method, arguments={"callback": callback})
            with pytest.raises(type(error)):
                optimizer.step(many.closure, vectorized=many.losses)
            with pytest.raises(type(error)):
                optimizer.step(many.closure)


@pytest.mark.parametrize(
    ("fail", "error", "message"),
    [
        (lambda losses, stacks: losses[:-1], ValueError, r"shape \(7,\), one loss for each"),
        (lambda losses, stacks: losses.sum(), ValueError, r"shape \(7,\).*got \(\)"),
        (lambda losses, stacks: losses.tolist(), ValueError, "got list"),
        (lambda losses, stacks: losses + 0j, TypeError, "expected real losses"),
        (lambda losses, stacks: losses.detach(), RuntimeError, "no graph that reaches"),
        (lambda losses, stacks: losses * 2.0, ValueError, "closure's loss at the first start"),
    ],
    ids=["fewer", "scalar", "list", "complex", "detached", "another"],
)
def test_losses_that_are_none(fail: Any, error: type[Exception], message: str) -> None:
    for method in WAYS:
        many = Failing(1, fail)
        with pytest.raises(error, match=message):
            many.optimizer(method).step(many.closure, vectorized=many.losses)


def test_what_vectorized_cannot_do_is_refused() -> None:
    many = Many()
    with pytest.raises(TypeError, match="vectorized: expected a callable"):
        many.optimizer().step(many.closure, vectorized=3)  # type: ignore[arg-type]
    for method in ("Newton-CG", "torch-Newton-CG"):
        with pytest.raises(ValueError, match=f"{method} asks for Hessians"):
            many.optimizer(method).step(many.closure, vectorized=many.losses)
    locked = ["COBYQA"] if VERSION >= (1, 16) else ["COBYQA", "COBYLA"]
    for method in locked:
        with pytest.raises(ValueError, match=f"{method} of scipy .* holds a lock"):
            many.optimizer(method).step(many.closure, vectorized=many.losses)
    constraint = ClosureConstraint(lambda: many.params[1].sum(), ub=0.5)
    optimizer = many.optimizer("SLSQP", arguments={"constraints": constraint})
    with pytest.raises(ValueError, match="ClosureConstraint is evaluated at one point"):
        optimizer.step(many.closure, vectorized=many.losses)
    assert many.closures == many.rounds == 0


def walled(x: Tensor) -> Tensor:
    """NaN where the first variable is above 1.2, on the way of some runs only."""
    return torch.where(x[..., 0] > 1.2, torch.nan, rosenbrock(x))


@pytest.mark.parametrize("method", WAYS)
def test_nan_in_one_run_touches_no_other(method: str) -> None:
    many, free = Many(walled), Many()
    starts = np.vstack([STARTS, [[1.1, 1.4, -1.4, 1.4], [1.4, 1.0, 1.0, 1.0]]])
    optimizer = many.optimizer(method, starts=starts)
    with pytest.warns(RuntimeWarning, match="the closure gave a loss of nan") as told:
        optimizer.step(many.closure, vectorized=many.losses)
    assert len(told) == 1  # of all runs
    by_run = sorted(optimizer.results, key=lambda res: res.run)
    met = [res.run for res in by_run if res.nonfinite]
    assert 8 in met
    assert len(met) < len(starts)
    assert np.isnan(by_run[8].fun)
    assert optimizer.results[-1].run == 8
    assert optimizer.res.nonfinite == sum(res.nonfinite for res in by_run)
    for res in by_run:
        if res.run not in met:
            alone = free.alone(starts[res.run], method)
            assert np.array_equal(res.x, alone.x)
            assert (res.nit, res.nfev, res.success) == (alone.nit, alone.nfev, alone.success)
    assert optimizer.res.success == optimizer.results[0].success
    with pytest.raises(NonfiniteError):
        many.optimizer(method, starts=starts, nonfinite="raise").step(
            many.closure, vectorized=many.losses
        )


@pytest.mark.parametrize("method", WAYS)
def test_exceptions_that_are_announced(method: str) -> None:
    def loss(x: Tensor) -> Tensor:
        if x[0] > 1.2:
            raise OwnError("too far")
        return rosenbrock(x)

    starts = np.vstack([STARTS, [[1.1, 1.4, -1.4, 1.4], [1.4, 1.0, 1.0, 1.0]]])
    many, walls = Many(loss), Many(walled)
    optimizer = many.optimizer(method, starts=starts, recover=OwnError)
    optimizer.step(many.closure, vectorized=many.losses)
    other = walls.optimizer(method, starts=starts)
    with pytest.warns(RuntimeWarning, match="the closure gave a loss of nan"):
        other.step(walls.closure, vectorized=walls.losses)
    assert optimizer.res.recovered == other.res.nonfinite > 0
    assert optimizer.res.nonfinite == 0
    for one, another in zip(optimizer.results, other.results, strict=True):
        assert one.run == another.run
        assert np.array_equal(one.x, another.x)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("method", WAYS)
@pytest.mark.parametrize("limit", [1, 3, 40])
def test_evaluations_are_those_of_all_runs(method: str, together: bool, limit: int) -> None:
    many = Many()
    optimizer = many.optimizer(method, max_evaluations=limit)
    optimizer.step(many.closure, vectorized=many.losses if together else None)
    assert (many.points if together else many.closures) == optimizer.res.evaluations == limit
    begun = min(limit, len(STARTS)) if together else len(optimizer.results)
    assert len(optimizer.results) == begun  # those that began
    assert optimizer.results[-1].status == Ending.EVALUATIONS.status
    assert all(np.isfinite(res.fun) for res in optimizer.results)
    assert np.array_equal(many.x, optimizer.results[0].x)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("method", WAYS)
def test_time_is_that_of_all_runs(method: str, together: bool) -> None:
    many = Many()
    optimizer = many.optimizer(method, timeout=1e-9)
    optimizer.step(many.closure, vectorized=many.losses if together else None)
    assert [res.status for res in optimizer.results] == [Ending.TIMEOUT.status]
    assert optimizer.results[0].nfev == 1


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("method", WAYS)
def test_hopeless_runs_end_early(method: str, together: bool) -> None:
    many = Many()
    every = many.optimizer(method)
    every.step(many.closure, vectorized=many.losses if together else None)
    optimizer = many.optimizer(method, hopeless_after=5)
    optimizer.step(many.closure, vectorized=many.losses if together else None)
    ended = [res for res in optimizer.results if res.status == Ending.HOPELESS.status]
    assert 0 < len(ended) < len(STARTS) - 3
    for res in ended:
        assert not res.success
        assert res.nit >= 5
        assert "hopeless_after" in res.message
        assert np.isfinite(res.fun)
    assert optimizer.res.evaluations < every.res.evaluations
    assert optimizer.res.fun == min(res.fun for res in optimizer.results)


def test_filters_of_warnings_are_each_threads_own() -> None:
    """scipy changes them around searches along a line, inside of which it asks."""
    seen: list[int] = []

    class Watching(Many):
        def losses(self, stacks: list[Tensor]) -> Tensor:
            seen.append(len(warnings.filters))
            return super().losses(stacks)

    many = Watching()
    before = len(warnings.filters)
    many.optimizer("CG").step(many.closure, vectorized=many.losses)
    assert set(seen) == {before}


def test_gradients_that_were_switched_off_and_inference() -> None:
    for mode in (torch.no_grad, torch.inference_mode):
        many = Many()
        with mode():
            many.optimizer("BFGS").step(many.closure, vectorized=many.losses)
        assert float(rosenbrock(torch.from_numpy(many.x))) < 1e-8


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("method", WAYS)
def test_nothing_of_a_step_stays_alive(method: str, together: bool) -> None:
    many = Failing(4, raising)
    optimizer = many.optimizer(method)

    def closure() -> Tensor:
        if many.closures == 30:
            raise OwnError
        return many.closure()

    alive = weakref.ref(closure)
    losses = many.losses if together else None
    gc.collect()
    gc.disable()
    try:
        with contextlib.suppress(OwnError):
            optimizer.step(closure, vectorized=losses)
        with contextlib.suppress(OwnError):
            optimizer.step(closure, vectorized=losses)
        del closure
        gc.collect()
        assert alive() is None
    finally:
        gc.enable()


@pytest.mark.filterwarnings("ignore:the closure gave:RuntimeWarning")
@pytest.mark.parametrize("method", WAYS)
def test_a_limit_is_exact_where_runs_met_nan(method: str) -> None:
    def wall(x: Tensor) -> Tensor:
        return ((x - 2.0).square() - 1e-3 * torch.log(0.9 - x)).sum(-1)

    many = Many(wall)
    starts = np.linspace(-8.0, 0.0, 64).reshape(16, 4)
    optimizer = many.optimizer(method, starts=starts, max_evaluations=128)
    optimizer.step(many.closure, vectorized=many.losses)
    assert optimizer.res.nonfinite > 0
    assert many.points == optimizer.res.evaluations == 128


@pytest.mark.parametrize("method", WAYS)
def test_a_step_that_is_over_is_let_go_of(method: str) -> None:
    """Without the collector: what runs held lies on the model's device."""
    many = Many()
    optimizer = many.optimizer(method, starts=STARTS[:3])

    class Data:
        pass

    data = Data()
    alive = weakref.ref(data)

    def losses(stacks: list[Tensor], data: Data = data) -> Tensor:
        return many.losses(stacks)

    gc.collect()
    gc.disable()
    try:
        optimizer.step(many.closure, vectorized=losses)
        del losses, data
        assert alive() is None
    finally:
        gc.enable()
