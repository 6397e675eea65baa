"""What scipy calls back at an iterate, by the extension and in Python."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from methods import KINDS
from torch import Tensor

from pytorch_minimize.extension import native
from pytorch_minimize.optim import BasinHoppingWrapper, MinimizeWrapper
from pytorch_minimize.run import watch as watch_module
from pytorch_minimize.scipy_minimize.callback import _ASKS_FOR_A_RESULT, ScipyCallback

pytestmark = pytest.mark.skipif(native is None, reason="the extension is not built")

Closure = Callable[[list[Tensor]], Tensor]


def _valley(params: list[Tensor]) -> Tensor:
    x = torch.cat(params)
    return (100.0 * (x[1:] - x[:-1].square()).square() + (1.0 - x[:-1]).square()).sum()


def _wall(params: list[Tensor]) -> Tensor:
    """Of NaN, beside the way."""
    loss = _valley(params)
    return loss * math.nan if params[0].detach().max() > 0.4 else loss


def _below_zero(params: list[Tensor]) -> Tensor:
    return _valley(params) - 50.0


def _run(
    closure: Closure, method: str, more: dict[str, Any], settings: dict[str, Any], steps: int = 1
) -> Any:
    """All that a run leaves, with what the ledger had before each evaluation."""
    params = [torch.full((k,), -0.5, dtype=torch.float64, requires_grad=True) for k in (2, 3)]
    optimizer = MinimizeWrapper(params, {"method": method, **more}, **settings)
    ledger: list[Any] = []

    def seen() -> Tensor:
        objective = optimizer._objective
        assert objective is not None
        iterate, last = objective.iterate, objective.last_finite
        ledger.append(
            (
                *(objective.level, objective.worst, objective.largest, objective.best_value),
                objective.recently_nonfinite,
                objective.best_x.tolist(),
                None if iterate is None else (iterate.x.tolist(), *iterate[1:5]),
                None if last is None else (last.x.tolist(), last.value),
            )
        )
        return closure(params)

    for _ in range(steps):
        optimizer.step(seen)
    res, history = optimizer.res, optimizer.history.to_dict()
    del history["seconds"]
    kept = {name: value for name, value in res.items() if name != "hess_inv"}
    kinds = [{type(number) for number in row} for row in optimizer.history._rows]
    counts = dict(optimizer.profile.counts)
    return repr((kept, history, kinds, counts, optimizer.history.endings, ledger))


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Each that was asked for: the extension's, or None."""
    seen, make = [], watch_module.make_usual_iteration

    def seeing(*given: Any) -> Any:
        seen.append(make(*given))
        return seen[-1]

    monkeypatch.setattr(watch_module, "make_usual_iteration", seeing)
    return seen


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Each time that Python was asked."""
    seen: list[Any] = []
    call = ScipyCallback.__call__

    def seeing(self: Any, *told: Any, intermediate_result: Any = None) -> bool:
        seen.append(told)
        return call(self, *told, intermediate_result=intermediate_result)

    monkeypatch.setattr(ScipyCallback, "__call__", seeing)
    return seen


def _require_the_same(
    made: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    closure: Closure,
    method: str,
    more: dict[str, Any],
    settings: dict[str, Any],
    steps: int = 1,
) -> None:
    """Of runs with the extension's and without."""
    usual = _run(closure, method, more, settings, steps)
    assert [type(each).__name__ for each in made] == ["UsualIteration"] * steps
    monkeypatch.setattr(watch_module, "make_usual_iteration", lambda *given: None)
    assert usual == _run(closure, method, more, settings, steps)


def _history_where(minimize: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The losses in it where this stands for scipy's, and is interrupted in the end."""
    monkeypatch.setattr("scipy.optimize.minimize", minimize)
    x = torch.full((2,), 0.5, dtype=torch.float64, requires_grad=True)
    optimizer = MinimizeWrapper([x], {"method": "BFGS"})
    with pytest.raises(KeyboardInterrupt):
        optimizer.step(lambda: (x - 3.0).square().sum())
    losses: list[float] = optimizer.history.loss.tolist()
    return losses


@pytest.mark.filterwarnings("ignore:the closure gave:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:.*does not use:RuntimeWarning")
@pytest.mark.parametrize("method", [method for method in KINDS if method != "trust-constr"])
@pytest.mark.parametrize("closure", [_valley, _wall, _below_zero], ids=lambda c: c.__name__)
@pytest.mark.parametrize(
    "settings", [{}, {"rtol": 0.3, "max_evaluations": 70}], ids=["alone", "limits"]
)
def test_both_ways_leave_the_same(
    method: str,
    closure: Closure,
    settings: dict[str, Any],
    made: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Note [oracle]."""
    more = {"options": {"maxiter": 60}}
    _require_the_same(made, monkeypatch, closure, method, more, settings)


@pytest.mark.parametrize("method", ["L-BFGS-B", "TNC", "SLSQP"])
@pytest.mark.parametrize("settings", [{}, {"rtol": 0.2}], ids=["alone", "limit"])
def test_both_ways_go_on_with_the_history(
    method: str, settings: dict[str, Any], made: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """TNC's iterations are counted by us."""
    more = {"options": {"maxiter": 14}}
    _require_the_same(made, monkeypatch, _valley, method, more, settings, 3)


@pytest.mark.parametrize("method", ["SLSQP", "COBYLA"])
@pytest.mark.parametrize("settings", [{}, {"rtol": 0.2}], ids=["alone", "limit"])
def test_both_ways_heed_constraints(
    method: str, settings: dict[str, Any], made: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    more = {"constraints": {"type": "ineq", "fun": lambda x: 0.5 - (x * x).sum()}}
    _require_the_same(made, monkeypatch, _valley, method, more, settings)


class _Odd(str):
    """No key of a dict that has one of the same hash."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        raise LookupError("odd")


def test_odd_calls_are_answered_as_in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    point = np.array([1.0, 2.0])

    def minimize(fun: Any, x0: Any, callback: Any = None, **keywords: Any) -> Any:
        fun(point.copy())
        with pytest.raises(TypeError):
            callback(point, foo=1)
        with pytest.raises(LookupError, match="odd"):
            callback(intermediate_result={_Odd("x"): point})
        assert callback(point) is False
        raise KeyboardInterrupt

    assert _history_where(minimize, monkeypatch) == [5.0]


@pytest.mark.parametrize("method", ["L-BFGS-B", "CG", "BFGS", "SLSQP"])
def test_python_is_not_asked_far_from_limits(
    method: str, made: list[Any], asked: list[Any]
) -> None:
    more = {"options": {"maxiter": 12}}
    _run(_valley, method, more, {"rtol": 1e-300, "timeout": 1e6, "max_evaluations": 10**9})
    assert [type(each).__name__ for each in made] == ["UsualIteration"]
    assert not asked


@pytest.mark.parametrize(
    "more",
    [{"callback": lambda xk: None}, {"method": "trust-constr"}],
    ids=["callback", "state"],
)
def test_not_where_there_is_more_to_an_iterate(more: dict[str, Any], made: list[Any]) -> None:
    _run(_valley, "BFGS", more, {})
    assert not made


def test_not_in_a_search_that_is_one_of_many(made: list[Any]) -> None:
    x = torch.full((2,), 0.5, dtype=torch.float64, requires_grad=True)
    BasinHoppingWrapper([x], {}, {"niter": 2}).step(lambda: (x - 0.3).square().sum())
    assert all(each is None for each in made)


def test_scipy_is_shown_what_to_tell(made: list[Any]) -> None:
    _run(_valley, "BFGS", {}, {})
    assert inspect.signature(made[0]) == _ASKS_FOR_A_RESULT


def test_python_gets_what_was_told_at_another_point(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A point that is not the last, an array of another kind, and nothing at all."""
    told: list[Any] = [np.array([1.0, 2.0]), np.array([1, 2]), [1.0, 2.0]]

    def minimize(fun: Any, x0: Any, callback: Any = None, **keywords: Any) -> Any:
        for x in (np.array([1.0, 2.0]), np.array([2.0, 2.0])):
            fun(x)
        for x in told:
            assert callback(x) is False
        with pytest.raises(TypeError):
            callback()
        raise KeyboardInterrupt

    assert _history_where(minimize, monkeypatch) == [5.0] * len(told)
    assert len(asked) == len(told) + 1


def test_after_the_run_it_is_refused(made: list[Any]) -> None:
    _run(_valley, "BFGS", {}, {})
    with pytest.raises(ValueError, match="after the run"):
        made[0](np.zeros(5))
