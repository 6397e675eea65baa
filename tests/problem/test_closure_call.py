"""An evaluation in one call of the extension's, and the same in Python."""

from __future__ import annotations

import gc
import math
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pytorch_minimize.bridge.make import make_bridge
from pytorch_minimize.bridge.space import ARRAYS
from pytorch_minimize.closure.backward_calls import Backward, capturing, plain_backward
from pytorch_minimize.closure.loss import NoGraphError
from pytorch_minimize.closure.runner import ClosureRunner
from pytorch_minimize.optim import MinimizeWrapper
from pytorch_minimize.problem import evaluator as module
from pytorch_minimize.problem.evaluator import Evaluator
from pytorch_minimize.problem.guard import make_guard
from pytorch_minimize.record.profile import Profile

Params = list[Tensor]
Form = Callable[[Params, int], Any]  # the closure's n-th call
_POINTS = [np.linspace(-1.0, 1.0, 5) * k for k in (1.0, 2.0, -0.5, 3.0, 0.1, 1.5)]


def _loss(params: Params) -> Tensor:
    return sum(((p - 0.3) ** 4).sum() for p in params)  # type: ignore[return-value]


def _graph(params: Params, call: int) -> Any:
    return _loss(params)


def _backward(params: Params, call: int) -> Any:
    loss = _loss(params)
    loss.backward()
    return loss


def _number(params: Params, call: int) -> Any:
    return _backward(params, call).item()


def _kinds(params: Params, call: int) -> Any:
    loss = _backward(params, call)
    return (loss, loss.float(), loss.reshape(1, 1), loss.detach(), np.float64(loss.item()))[
        call % 5
    ]


def _some_nan(params: Params, call: int) -> Any:
    return _loss(params) * (math.nan if call == 2 else 1.0)


def _bare_nan(params: Params, call: int) -> Any:
    return math.nan if call == 1 else _backward(params, call)


def _some_inf_gradient(params: Params, call: int) -> Any:
    loss = _loss(params)
    loss.backward()
    if call == 3:
        assert params[0].grad is not None
        params[0].grad[0] = math.inf
    return loss


def _half_fails(params: Params, call: int) -> Any:
    if call % 2:
        raise torch.linalg.LinAlgError("not positive definite")
    return _loss(params)


def _fails_backward(params: Params, call: int) -> Any:
    loss = _loss(params)
    if call == 2:

        def fail(gradient: Tensor) -> None:
            raise torch.linalg.LinAlgError("in backward")

        loss.register_hook(fail)
    return loss


def _spent_where_infinite(params: Params, call: int) -> Any:
    loss = _loss(params) * (math.inf if call == 2 else 1.0)
    if call == 2:
        torch.autograd.grad(loss, params)
    return loss


def _flat_somewhere(params: Params, call: int) -> Any:
    """A graph that reaches no parameter at one point."""
    return (
        torch.zeros(1, dtype=torch.float64, requires_grad=True) * 2 if call == 3 else _loss(params)
    )


def _forgets_graph(params: Params, call: int) -> Any:
    with torch.no_grad():
        return _loss(params) * math.inf if call == 1 else _enabled(params)


def _enabled(params: Params) -> Tensor:
    with torch.enable_grad():
        return _loss(params)


class _Own(torch.Tensor):
    """A subclass, whose ``item`` and ``backward`` may be its own."""


def _subclass(params: Params, call: int) -> Any:
    return _backward(params, call).detach().as_subclass(_Own)


_FORMS = (
    *(_graph, _backward, _number, _kinds, _some_nan, _bare_nan, _some_inf_gradient, _half_fails),
    *(_fails_backward, _spent_where_infinite, _flat_somewhere, _forgets_graph, _subclass),
)


def _evaluations(form: Form, *, native: bool, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What each point gave: the evaluation, the runner's marks, and the profile's counts."""
    with monkeypatch.context() as patch:
        if not native:
            patch.setattr(module, "make_closure_call", lambda *given: None)
        params = [torch.zeros(k, dtype=torch.float64, requires_grad=True) for k in (2, 3)]
        calls = -1

        def closure() -> Any:
            nonlocal calls
            calls += 1
            return form(params, calls)

        bridge, profile = make_bridge(params), Profile()
        runner = ClosureRunner(closure, bridge, (torch.linalg.LinAlgError,))
        evaluator = Evaluator(runner, bridge, ARRAYS, make_guard(profile), profile, gradient=True)
        assert (evaluator._call is not None) is native
        told = []
        for x in _POINTS:
            found = evaluator.evaluate(x)
            assert evaluator.evaluate(x.copy()) is found
            gradient = None if found.gradient is None else found.gradient.tolist()
            marks = (runner.recovered, runner.recovered_why, runner.reaches)
            seen = found.x.tolist(), repr(found.value), repr(gradient), found.finite
            told.append((*seen, found.recovered, marks, runner.loss_like.dtype))
            if native and found.finite:
                assert found.largest == np.abs(found.gradient).max()
        return [*told, dict(profile.counts), calls]


@pytest.mark.parametrize("form", _FORMS, ids=lambda form: form.__name__)
def test_both_ways_give_the_same(form: Form, monkeypatch: pytest.MonkeyPatch) -> None:
    """Note [oracle]."""
    native = _evaluations(form, native=True, monkeypatch=monkeypatch)
    assert native == _evaluations(form, native=False, monkeypatch=monkeypatch)


def _step(closure: Callable[[Tensor], Any] = lambda x: ((x - 3.0) ** 4).sum()) -> int:
    """How often a closure ran that only returns its loss."""
    x = torch.ones(2, dtype=torch.float64, requires_grad=True)
    optimizer = MinimizeWrapper([x], {"method": "L-BFGS-B"})
    optimizer.step(lambda: closure(x))
    assert optimizer.res.nfev > 3
    return int(optimizer.res.nfev)


def test_who_stands_in_for_backward_sees_each(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, original = [], Tensor.backward

    def backward(self: Tensor, *args: Any, **keywords: Any) -> None:
        seen.append(self)
        original(self, *args, **keywords)

    monkeypatch.setattr(Tensor, "backward", backward)
    assert len(seen) == 0
    assert _step() == len(seen)


def test_a_mode_sees_each_backward() -> None:
    seen = []

    class Mode(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            seen.append(func)
            return func(*args, **(kwargs or {}))

    with Mode():
        assert _step() == seen.count(Tensor.backward)


def test_who_captures_hears_each_backward() -> None:
    heard: list[Backward] = []

    def listener(call: Backward) -> None:
        heard.append(call)
        plain_backward(call)

    with capturing(listener):
        assert _step() == len(heard)


def test_what_a_hook_raises_is_raised_as_it_is() -> None:
    raised, calls = KeyError("mine"), 0

    def hook(gradient: Tensor) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise raised

    def closure(x: Tensor) -> Tensor:
        loss = ((x - 3.0) ** 4).sum()
        loss.register_hook(hook)
        return loss

    with pytest.raises(KeyError) as caught:
        _step(closure)
    assert caught.value is raised


def test_a_finite_loss_whose_graph_is_gone_is_refused_later_too() -> None:
    calls = 0

    def closure(x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        loss = ((x - 3.0) ** 4).sum()
        if calls == 3:
            torch.autograd.grad(loss, x)
        return loss

    with pytest.raises(NoGraphError, match="gone through already"):
        _step(closure)


def test_warnings_of_backward_are_pythons() -> None:
    def closure(x: Tensor) -> Tensor:
        return _Warns.apply(((x - 3.0) ** 4).sum())  # type: ignore[no-any-return,no-untyped-call]

    with pytest.warns(UserWarning, match="of backward") as caught:
        nfev = _step(closure)
    assert len(caught) == nfev


class _Warns(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loss: Tensor) -> Tensor:
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        warnings.warn("of backward", UserWarning, stacklevel=1)
        return gradient


def test_gradients_are_recorded_where_the_caller_forgot_them() -> None:
    x = torch.ones(2, dtype=torch.float64, requires_grad=True)
    optimizer = MinimizeWrapper([x], {"method": "BFGS"})
    with torch.no_grad():
        optimizer.step(lambda: ((x - 3.0) ** 2).sum())
    assert torch.allclose(x, torch.full_like(x, 3.0))


def test_a_cast_of_autocast_is_not_kept_over_a_move() -> None:
    layer = torch.nn.Linear(3, 1)
    optimizer = MinimizeWrapper(layer.parameters(), {"method": "BFGS", "options": {"maxiter": 3}})
    inputs, target = torch.eye(3), torch.ones(3, 1)

    def closure() -> Tensor:
        return (layer(inputs).float() - target).square().sum()

    with torch.autocast("cpu", dtype=torch.bfloat16):
        before = closure().item()
        loss = optimizer.step(closure)
        assert loss.item() == closure().item() < before


def test_what_is_raised_is_the_closures_and_leaves_the_rest_whole() -> None:
    x = torch.ones(2, dtype=torch.float64, requires_grad=True)
    optimizer = MinimizeWrapper([x], {"method": "L-BFGS-B"})
    raised, calls = KeyError("mine"), 0

    def closure() -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise raised
        return ((x - 3.0) ** 4).sum()

    with pytest.raises(KeyError) as caught:
        optimizer.step(closure)
    assert caught.value is raised
    assert caught.traceback[-1].name == "closure"
    assert optimizer.step(closure) < 1e-6


def test_nothing_of_a_run_outlives_it() -> None:
    class Held:
        pass

    x = torch.ones(2, dtype=torch.float64, requires_grad=True)
    optimizer = MinimizeWrapper([x], {"method": "L-BFGS-B"})

    def closure() -> Tensor:
        return ((x - 3.0) ** 2).sum()

    closure.__dict__["held"] = held = Held()
    alive = weakref.ref(held)
    optimizer.step(closure)
    gc.disable()
    try:
        del closure, held
        assert alive() is None
    finally:
        gc.enable()


def test_a_backward_of_the_loss_itself_is_called() -> None:
    x, called = nn.Parameter(torch.tensor([3.0, -1.0], dtype=torch.float64)), []

    def closure() -> Tensor:
        loss = x.square().sum()

        def backward(*given: Any, **named: Any) -> None:
            called.append(len(called))
            Tensor.backward(loss, *given, **named)

        loss.backward = backward  # type: ignore[method-assign]
        return loss

    optimizer = MinimizeWrapper([x], {"method": "BFGS"})
    optimizer.step(closure)
    assert len(called) == optimizer.res.nfev > 1


def test_one_that_is_put_there_during_a_step_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    x, called = nn.Parameter(torch.tensor([3.0, -1.0], dtype=torch.float64)), []
    own, calls = Tensor.backward, []

    def backward(self: Tensor, *given: Any, **named: Any) -> None:
        called.append(len(calls))
        own(self, *given, **named)

    def closure() -> Tensor:
        calls.append(None)
        if len(calls) == 4:
            monkeypatch.setattr(Tensor, "backward", backward)
        return (x.square().sum() - x[0]).exp()

    optimizer = MinimizeWrapper([x], {"method": "BFGS"})
    optimizer.step(closure)
    assert called == list(range(4, len(calls) + 1))
