"""Constrained runs that are cut short end at the best point seen that is feasible."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from constrained import HS7, HS71, Constrained
from instance import Array
from methods import EQUALITIES
from torch import Tensor

from pytorch_minimize.optim import ClosureConstraint, MinimizeWrapper
from pytorch_minimize.run import limits


class Interrupted(KeyboardInterrupt):
    """Stands for Ctrl-C, which would reach pytest."""


class Seen:
    """A closure that files (violation, loss) of each of its points; 0 where feasible to 1e-6."""

    def __init__(self, problem: Constrained, error: BaseException | None, limit: int) -> None:
        self.problem, self.instance = problem, problem.make()
        self._error, self._limit = error, limit
        self.points: list[tuple[float, float]] = []

    def __call__(self) -> Tensor:
        if self._error is not None and len(self.points) == self._limit:
            raise self._error
        x = self.instance.x
        self.points.append((excess(self.problem, x), self.problem.fun(x)))
        return self.instance.closure(2)()


def excess(problem: Constrained, x: Array) -> float:
    """What is beyond the limits, in units of a limit that is larger than 1."""
    low, high = (np.full(x.size, limit) for limit in problem.bounds or (-np.inf, np.inf))
    values = np.concatenate([problem.values(x), x])
    lb, ub = np.concatenate([problem.lb, low]), np.concatenate([problem.ub, high])
    unit = np.maximum(1.0, np.where(np.isfinite(lb), np.abs(lb), np.abs(ub)))
    beyond = float((np.maximum(np.maximum(lb - values, values - ub), 0.0) / unit).max())
    return beyond if beyond > 1e-6 else 0.0


def keywords(problem: Constrained, method: str, constraints: Any) -> dict[str, Any]:
    bounds = None if problem.bounds is None else [problem.bounds] * problem.make().x0.size
    return {"method": method, "bounds": bounds, "constraints": constraints}


Cut = Callable[[pytest.MonkeyPatch, Seen, int], dict[str, Any]]


def by_count(monkeypatch: pytest.MonkeyPatch, seen: Seen, limit: int) -> dict[str, Any]:
    return {"max_evaluations": limit}


def by_clock(monkeypatch: pytest.MonkeyPatch, seen: Seen, limit: int) -> dict[str, Any]:
    """A clock that ticks once a run of the closure."""
    monkeypatch.setattr(limits, "perf_counter", lambda: float(len(seen.points)))
    monkeypatch.setattr(limits.Limits, "rest", lambda self: (0.0, 0))  # by that clock
    return {"timeout": limit}


def by_error(monkeypatch: pytest.MonkeyPatch, seen: Seen, limit: int) -> dict[str, Any]:
    return {}


CUTS: list[tuple[Cut, BaseException | None]] = [
    (by_count, None),
    (by_clock, None),
    (by_error, KeyError("closure")),
    (by_error, Interrupted()),
]


@pytest.mark.parametrize("method", EQUALITIES)
@pytest.mark.parametrize(("cut", "error"), CUTS, ids=["count", "timeout", "error", "interrupt"])
def test_the_best_feasible_point(
    monkeypatch: pytest.MonkeyPatch, method: str, cut: Cut, error: BaseException | None
) -> None:
    for problem, flat, limit in itertools.product((HS7, HS71), (False, True), (1, 3, 4)):
        seen = Seen(problem, error, limit)
        stated: Any = problem.for_scipy(method) if flat else problem.stated(seen.instance)
        with monkeypatch.context() as patch:
            optimizer = MinimizeWrapper(
                seen.instance.params,
                keywords(problem, method, stated),
                **cut(patch, seen, limit),
            )
            if error is None:
                optimizer.step(seen)
                assert optimizer.res.status in (101, 102)
                assert np.array_equal(seen.instance.x, optimizer.res.x)
            else:
                with pytest.raises(type(error)):
                    optimizer.step(seen)
        x = seen.instance.x
        assert (excess(problem, x), problem.fun(x)) == pytest.approx(min(seen.points), abs=1e-9)


@pytest.mark.filterwarnings("ignore:the start is outside the bounds")  # the least infeasible point
@pytest.mark.parametrize("method", EQUALITIES)
def test_an_exception_of_the_constraint_leaves_the_best_point(method: str) -> None:
    seen, runs = Seen(HS71, None, 0), []
    stated = HS71.stated(seen.instance)

    def fun() -> Tensor:
        runs.append(1)
        if len(runs) == 4:
            raise KeyError("constraint")
        return stated.fun()

    constraint = ClosureConstraint(fun, stated.lb, stated.ub)
    optimizer = MinimizeWrapper(seen.instance.params, keywords(HS71, method, constraint))
    with pytest.raises(KeyError, match="constraint"):
        optimizer.step(seen)
    ended = excess(HS71, seen.instance.x), HS71.fun(seen.instance.x)
    assert any(ended == pytest.approx(point, abs=1e-9) for point in seen.points)
    assert ended[0] <= excess(HS71, HS71.make().x0)
    optimizer.step(seen.instance.closure(1))
    assert excess(HS71, seen.instance.x) < 1e-5
