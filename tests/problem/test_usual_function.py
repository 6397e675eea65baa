"""What scipy asks for, in one call of the extension's, and the same in Python."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from problems import rosenbrock
from scipy.optimize import OptimizeResult
from torch import Tensor

from pytorch_minimize.extension import native
from pytorch_minimize.optim import BasinHoppingWrapper, MinimizeWrapper
from pytorch_minimize.record.bar import ProgressBar
from pytorch_minimize.run.watch import Watch
from pytorch_minimize.scipy_minimize import function

METHODS = ("L-BFGS-B", "CG", "BFGS", "SLSQP", "TNC")
Closure = Callable[[list[Tensor], int], Any]


def _plain(params: list[Tensor], call: int) -> Any:
    return sum((p - 0.3).square().mul(torch.arange(1.0, 1 + p.numel())).sum() for p in params)


def _wall(params: list[Tensor], call: int) -> Any:
    """Of NaN, where the first steps of some methods end."""
    loss = _plain(params, call)
    return loss * math.nan if params[0].detach().min() < -0.5 else loss


def _sometimes_raises(params: list[Tensor], call: int) -> Any:
    if call in (1, 4):
        raise torch.linalg.LinAlgError("not positive definite")
    return _plain(params, call)


def _infinite_gradient(params: list[Tensor], call: int) -> Any:
    loss = _plain(params, call)
    loss.backward()
    if call == 2:
        params[0].grad.fill_(math.inf)  # type: ignore[union-attr]
    return loss


def _run(
    closure: Closure,
    method: str,
    dtype: torch.dtype,
    max_evaluations: int | None = None,
    **keywords: Any,
) -> list[Any]:
    """All that a run leaves."""
    params = [torch.full((k,), 2.0, dtype=dtype, requires_grad=True) for k in (2, 3)]
    optimizer = MinimizeWrapper(
        params,
        {"method": method, **keywords},
        recover=torch.linalg.LinAlgError,
        max_evaluations=max_evaluations,
    )
    calls = -1

    def counted() -> Any:
        nonlocal calls
        calls += 1
        return closure(params, calls)

    optimizer.step(counted)
    res, history = optimizer.res, optimizer.history.to_dict()
    del history["seconds"]
    fields = ("fun", "nit", "nfev", "njev", "status", "message", "nonfinite", "recovered")
    told = [res.x.tolist(), res.jac.tolist()]
    told += [repr(res.get(name)) for name in fields]
    grads = [None if p.grad is None else p.grad.tolist() for p in params]
    return [*told, grads, repr(history), dict(optimizer.profile.counts), calls]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Each that was asked for: the extension's, or None."""
    seen, make = [], function.make_usual_function

    def seeing(*given: Any) -> Any:
        seen.append(make(*given))
        return seen[-1]

    monkeypatch.setattr(function, "make_usual_function", seeing)
    return seen


@pytest.mark.filterwarnings("ignore:the closure gave:RuntimeWarning")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "closure", [_plain, _wall, _sometimes_raises, _infinite_gradient], ids=lambda c: c.__name__
)
def test_both_ways_leave_the_same(
    closure: Closure,
    method: str,
    dtype: torch.dtype,
    made: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Note [oracle]."""
    options = {"options": {"maxiter": 15}}
    usual = _run(closure, method, dtype, **options)
    assert [type(each).__name__ for each in made] == ["UsualFunction"]
    monkeypatch.setattr(function, "make_usual_function", lambda *given: None)
    assert usual == _run(closure, method, dtype, **options)


def test_the_run_may_end_while_a_thread_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    inside, over, waits = threading.Event(), threading.Event(), [False]
    x = torch.full((3,), -0.5, dtype=torch.float64, requires_grad=True)
    threads: list[threading.Thread] = []
    values: list[Any] = []

    def closure() -> Tensor:
        if waits[0]:
            inside.set()
            over.wait(10.0)
        return x.square().sum()

    def minimize(fun: Any, x0: Any, **keywords: Any) -> Any:
        def ask() -> None:
            try:
                values.append(fun(x0 + 1.0))
            except (AttributeError, ValueError) as error:  # of a run that is over
                values.append(error)

        waits[0] = True
        threads.append(threading.Thread(target=ask))
        threads[0].start()
        inside.wait(10.0)
        waits[0] = False
        return OptimizeResult(x=x0, fun=1.0, jac=0.0 * x0, nit=0, nfev=1, success=True, status=0)

    monkeypatch.setattr("scipy.optimize.minimize", minimize)
    MinimizeWrapper([x], {"method": "L-BFGS-B"}).step(closure)
    over.set()
    threads[0].join()
    assert len(values) == 1


@pytest.mark.parametrize("most", [1, 2, 5, 10**400])
def test_limits_are_looked_at_before_each(
    most: int, made: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = _run(_plain, "L-BFGS-B", torch.float64, max_evaluations=most)
    assert [type(each).__name__ for each in made] == ["UsualFunction"]
    assert usual[-2]["closure"] == usual[-1] + 1 <= most
    assert usual[-1] + 1 == most or most > 5
    monkeypatch.setattr(function, "make_usual_function", lambda *given: None)
    assert usual == _run(_plain, "L-BFGS-B", torch.float64, max_evaluations=most)


def _asked_for_permits(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> tuple[int, int]:
    """How often, in how many evaluations."""
    asked: list[float] = []
    due = Watch.due

    def counting(self: Watch[Any]) -> Any:
        asked.append(self._evaluator.evaluations)
        return due(self)

    monkeypatch.setattr(Watch, "due", counting)
    x = torch.full((5,), 2.0, dtype=torch.float64, requires_grad=True)
    optimizer = MinimizeWrapper([x], {"method": "BFGS"}, **settings)

    def closure() -> Tensor:
        time.sleep(0.01)
        return ((x - 3.0) ** 4).sum()

    optimizer.step(closure)
    return len(asked), optimizer.res.nfev


def test_far_from_limits_no_permit_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, evaluations = _asked_for_permits(monkeypatch, timeout=60.0, max_evaluations=10**6)
    assert asked < 4 < 10 < evaluations  # by scipy's questions at the start, and one more


def test_a_permit_ends_with_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    _, evaluations = _asked_for_permits(monkeypatch, timeout=0.1)
    assert evaluations <= 11  # of 10 ms each, at least


def test_a_checkpoint_is_written_before_each_evaluation_where_it_is_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, evaluations = _asked_for_permits(monkeypatch, checkpoint=(tmp_path / "state.pt", 0.0))
    assert asked == evaluations


def test_a_bar_is_shown_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, show = [], ProgressBar.show

    def counting(self: ProgressBar, *args: Any) -> None:
        shown.append(args)
        show(self, *args)

    monkeypatch.setattr(ProgressBar, "show", counting)
    monkeypatch.setattr(ProgressBar, "__init__", _of_interval(ProgressBar.__init__, 0.05))
    asked, evaluations = _asked_for_permits(monkeypatch, progress=True)
    # Of at least 10 ms an evaluation; and at the end.
    assert 3 <= evaluations // 10 + 2 <= len(shown) <= asked + 1 <= evaluations + 1


def _of_interval(init: Any, seconds: float) -> Any:
    def made(self: Any, *args: Any, **keywords: Any) -> None:
        init(self, *args, **keywords)
        self._interval = seconds

    return made


def test_after_the_run_it_is_refused(made: list[Any]) -> None:
    _run(_plain, "BFGS", torch.float64)
    for method in (made[0].fun, made[0].jac):
        with pytest.raises(ValueError, match="after the run"):
            method(np.zeros(5))
    assert (made[0].fun.__name__, made[0].jac.__name__) == ("fun", "jac")


def test_methods_are_of_their_own_type(made: list[Any]) -> None:
    _run(_plain, "BFGS", torch.float64)
    kind = type(made[0])
    with pytest.raises(TypeError):
        kind.fun.fget(object())
    with pytest.raises(TypeError):
        kind.__new__(kind).fun(np.zeros(2))


ENDS_IN_A_CLOSURE = """
import os, sys, threading, time
import torch
from pytorch_minimize.optim import MinimizeWrapper

class Last:
    def __init__(self):
        self.sleep, self.exit = time.sleep, os._exit

    def __del__(self):  # when the interpreter ends, where the other thread wakes up meanwhile
        self.sleep(0.5)

sys.last = Last()
calls = [0]

def work(sleep=time.sleep):
    x = torch.full((5,), 2.0, dtype=torch.float64, requires_grad=True)
    optimizer = MinimizeWrapper([x], {"method": "BFGS", "options": {"maxiter": 10**6, "gtol": 0}})

    def closure():
        calls[0] += 1
        sleep(0.05)
        return ((x - 3.0 - 0.001 * calls[0]) ** 4).sum()

    while True:
        optimizer.step(closure)

threading.Thread(target=work, daemon=True).start()
while calls[0] < 8:
    time.sleep(0.01)
"""


@pytest.mark.skipif(
    native is not None and native.build_info()["debug"],
    reason="Python ends such a thread without the GIL, where a debug build drops no object",
)
def test_a_process_may_end_while_a_thread_is_in_a_closure() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ENDS_IN_A_CLOSURE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("L-BFGS-B", {"bounds": [(0.0, 1.0)] * 2}),
        ("SLSQP", {"constraints": {"type": "ineq", "fun": lambda x: 1.0 - x.sum()}}),
        ("trust-ncg", {}),
        ("L-BFGS-B", {"jac": "2-point"}),
        ("Nelder-Mead", {}),
    ],
    ids=["bounds", "constraint", "curvature", "differences", "values"],
)
def test_not_where_an_evaluation_is_more(method: str, arguments: Any, made: list[Any]) -> None:
    x = torch.full((2,), 0.5, dtype=torch.float64, requires_grad=True)
    optimizer = MinimizeWrapper([x], {"method": method, **arguments})
    optimizer.step(lambda: (x - 0.3).square().sum())
    assert all(each is None for each in made)


def test_not_in_a_search_that_has_others_in_it(made: list[Any]) -> None:
    x = torch.full((2,), 0.5, dtype=torch.float64, requires_grad=True)
    BasinHoppingWrapper([x], {}, {"niter": 2}).step(lambda: (x - 0.3).square().sum())
    assert not made


def test_what_the_closure_raises_is_raised_as_it_is() -> None:
    x = torch.full((2,), 0.5, dtype=torch.float64, requires_grad=True)
    optimizer = MinimizeWrapper([x], {"method": "L-BFGS-B"})
    raised, points = KeyboardInterrupt(), []

    def closure() -> Tensor:
        points.append(x.detach().tolist())
        if len(points) == 3:
            raise raised
        return ((x - 3.0) ** 4).sum()

    with pytest.raises(KeyboardInterrupt) as caught:
        optimizer.step(closure)
    assert caught.value is raised
    assert optimizer.res.nfev == len(points) == 3
    assert x.tolist() in points[:2]
    assert optimizer.step(closure) < 1e-3


def test_a_gradient_that_does_not_fit_ends_the_run_at_the_best_point() -> None:
    x = torch.full((2,), 0.5, dtype=torch.float64, requires_grad=True)
    optimizer = MinimizeWrapper([x], {"method": "L-BFGS-B"})
    calls = 0

    def closure() -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 3:
            x.data = torch.zeros(3, dtype=torch.float64)
            x.grad = torch.zeros(3, dtype=torch.float64)
            return torch.tensor(0.0, dtype=torch.float64)
        return ((x - 3.0) ** 4).sum()

    with pytest.raises(RuntimeError, match="shape"):
        optimizer.step(closure)
    assert optimizer.res.nfev == 3


def test_a_solver_that_writes_into_its_copy_hears_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Note [points stay]."""

    def minimize(fun: Any, x0: Any, **keywords: Any) -> None:
        x = np.array([1.0, 2.0])
        fun(x)
        x[0] = 3.0

    monkeypatch.setattr("scipy.optimize.minimize", minimize)
    x = torch.full((2,), 0.5, dtype=torch.float64, requires_grad=True)
    with pytest.raises(ValueError, match="read-only"):
        MinimizeWrapper([x], {"method": "BFGS"}).step(lambda: (x - 3.0).square().sum())


@pytest.mark.parametrize("method", ["CG", "L-BFGS-B"])
def test_the_gradient_at_the_start_is_not_kept(method: str) -> None:
    seen: list[weakref.ref[np.ndarray]] = []
    instance, alive = rosenbrock(), []
    closure = instance.closure(1)
    optimizer = MinimizeWrapper(instance.params, {"method": method})

    def counted() -> Any:
        objective = optimizer._objective
        assert objective is not None
        if objective.last_finite is not None:
            assert objective.last_finite.gradient is not None
            seen.append(weakref.ref(objective.last_finite.gradient))
        del objective
        alive.append(sum(gradient() is not None for gradient in seen))
        return closure()

    optimizer.step(counted)
    assert len(seen) > 10
    assert max(alive[3:]) <= 2  # the last finite one, and that at the iterate, which scipy holds
    assert seen[0]() is None
