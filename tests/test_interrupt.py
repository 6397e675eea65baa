"""However a run is cut short, the exception comes out and the best point stays."""

from __future__ import annotations

import gc
import signal
import weakref

import numpy as np
import pytest
from instance import Array
from methods import ALL, CAPPED, arguments
from problems import himmelblau, rosenbrock
from raiser import Abort, ClosureError, Raiser
from torch import Tensor

from pytorch_minimize.optim import MinimizeWrapper

ERRORS = (ClosureError, Abort, ZeroDivisionError, StopIteration, KeyboardInterrupt)


@pytest.mark.parametrize("form", [1, 2])
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("method", ALL)
def test_the_exception_comes_out_and_the_best_point_stays(
    method: str, error: type[BaseException], form: int
) -> None:
    instance = rosenbrock()
    raised = error("stop here")
    closure = Raiser(instance, raised, at=9, form=form)
    optimizer = MinimizeWrapper(instance.params, arguments(method, options=CAPPED.get(method, {})))
    with pytest.raises(error) as caught:
        optimizer.step(closure)
    assert caught.value is raised
    assert len(closure.seen) == 8
    assert np.array_equal(instance.x, closure.best)
    assert not np.array_equal(instance.x, instance.x0)

    loss = optimizer.step(instance.closure(form))
    assert loss.item() == instance.fun(optimizer.res.x) < instance.fun(closure.best)


@pytest.mark.parametrize("method", ALL)
def test_raised_at_once(method: str) -> None:
    instance = rosenbrock()
    optimizer = MinimizeWrapper(instance.params, arguments(method))
    with pytest.raises(ClosureError):
        optimizer.step(Raiser(instance, ClosureError(), at=1, form=1))
    assert np.array_equal(instance.x, instance.x0)


@pytest.mark.parametrize("method", ALL)
def test_ctrl_c(method: str) -> None:
    """The signal itself, while scipy is at work or the closure is."""
    instance, calls = rosenbrock(), 0

    def closure() -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 7:
            signal.raise_signal(signal.SIGINT)
        return instance.closure(1)()

    optimizer = MinimizeWrapper(instance.params, arguments(method))
    with pytest.raises(KeyboardInterrupt):
        optimizer.step(closure)
    assert instance.fun(instance.x) < instance.fun(instance.x0)
    assert calls == 7


@pytest.mark.parametrize("method", ALL)
def test_raised_in_a_callback(method: str) -> None:
    instance, raised = himmelblau(), ClosureError()

    def callback(xk: Array, *state: object) -> None:
        raise raised

    optimizer = MinimizeWrapper(instance.params, arguments(method, callback=callback))
    recorder = Raiser(instance, ClosureError(), at=10_000, form=1)
    with pytest.raises(ClosureError) as caught:
        optimizer.step(recorder)
    assert caught.value is raised
    assert np.array_equal(instance.x, recorder.best)


@pytest.mark.parametrize("form", [1, 2])
def test_raised_in_backward(form: int) -> None:
    instance = rosenbrock()
    raised = ClosureError()

    def hook(grad: Tensor) -> Tensor:
        raise raised

    instance.params[0].register_hook(hook)
    with pytest.raises(ClosureError) as caught:
        MinimizeWrapper(instance.params, {"method": "BFGS"}).step(instance.closure(form))
    assert caught.value is raised
    assert np.array_equal(instance.x, instance.x0)


def test_res_of_an_earlier_step_is_not_mistaken_for_the_cut_one() -> None:
    instance = rosenbrock()
    optimizer = MinimizeWrapper(instance.params, {"method": "BFGS", "options": {"maxiter": 2}})
    optimizer.step(instance.closure(1))
    earlier = optimizer.res
    with pytest.raises(ClosureError):
        optimizer.step(Raiser(instance, ClosureError(), at=3, form=1))
    assert getattr(optimizer, "res", None) is None or optimizer.res is earlier


def test_nothing_of_the_closure_is_kept() -> None:
    """A step must not keep the model's graph, or the closure, alive after it ends."""
    instance = rosenbrock()
    optimizer = MinimizeWrapper(instance.params, {"method": "BFGS"})
    whole = Raiser(instance, ClosureError(), at=10_000, form=1)
    cut = Raiser(instance, ClosureError(), at=1, form=1)
    optimizer.step(whole)
    with pytest.raises(ClosureError):
        optimizer.step(cut)
    watched = [weakref.ref(whole), weakref.ref(cut)]
    del whole, cut
    gc.collect()
    assert [ref() for ref in watched] == [None, None]
