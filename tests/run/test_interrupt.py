"""Runs that an exception cuts short: where it may come from, and what is left behind.

That it comes out of every method, and that the best point stays, is in the methods' contract.
"""

from __future__ import annotations

import contextlib
import gc
import weakref
from typing import Any

import numpy as np
import pytest
import scipy.optimize
from instance import Array
from methods import KINDS, arguments
from problems import himmelblau, rosenbrock
from raiser import ClosureError, Raiser
from scipy.optimize import OptimizeResult
from torch import Tensor

from pytorch_minimize.optim import MinimizeWrapper


@pytest.mark.parametrize("method", KINDS)
def test_raised_at_once(method: str) -> None:
    instance = rosenbrock()
    optimizer = MinimizeWrapper(instance.params, arguments(method))
    with pytest.raises(ClosureError):
        optimizer.step(Raiser(instance, ClosureError(), at=1, form=1))
    assert np.array_equal(instance.x, instance.x0)


@pytest.mark.parametrize("method", KINDS)
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
    assert optimizer.res is not earlier
    assert not optimizer.res.success
    assert np.array_equal(optimizer.res.x, instance.x)


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


def test_an_error_that_the_solver_keeps_to_itself_comes_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As those did that came through older scipy's compiled code."""
    instance, raised = rosenbrock(), ClosureError()

    def minimize(fun: Any, x0: Array, **_: Any) -> OptimizeResult:
        fun(x0)
        with contextlib.suppress(ClosureError):
            fun(x0 + 1)
        return OptimizeResult(x=x0 + 1, fun=-1.0, success=True)

    monkeypatch.setattr(scipy.optimize, "minimize", minimize)
    with pytest.raises(ClosureError) as caught:
        MinimizeWrapper(instance.params, {"method": "BFGS"}).step(
            Raiser(instance, raised, at=2, form=1)
        )
    assert caught.value is raised
    assert np.array_equal(instance.x, instance.x0)
