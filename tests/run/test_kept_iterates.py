"""Whose vector the iterate is: the solver's own where nobody can write into it, else ours."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from problems import rosenbrock
from scipy.optimize import OptimizeResult

from pytorch_minimize.optim import BasinHoppingWrapper, MinimizeWrapper
from pytorch_minimize.run.watch import Watch
from pytorch_minimize.scipy_minimize.callback import ScipyCallback


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """At each iterate, whether the vector that is kept is the solver's own."""
    seen: list[bool] = []
    iteration, usual = Watch.iteration, ScipyCallback.usual

    def look(watch: Watch[Any], x: Any) -> None:
        iterate = watch._objective.iterate
        assert iterate is not None
        assert np.array_equal(iterate.x, x)
        assert watch.iterate is iterate.x
        seen.append(iterate.x is x)

    def spying(self: Watch[Any], x: Any, *args: Any, **keywords: Any) -> Any:
        ending = iteration(self, x, *args, **keywords)
        look(self, x)
        return ending

    def usual_spied_on(self: ScipyCallback) -> Any:
        made = usual(self)
        if made is None:
            return None

        def spied(intermediate_result: OptimizeResult) -> bool:
            before = len(seen)
            ends = made(intermediate_result=intermediate_result)
            if len(seen) == before:  # nothing unusual
                look(self._watch, intermediate_result.x)
            return ends

        spied.forget = made.forget  # type: ignore[attr-defined]
        return spied

    monkeypatch.setattr(Watch, "iteration", spying)
    monkeypatch.setattr(ScipyCallback, "usual", usual_spied_on)
    return seen


def run(method: str, callback: Any = None) -> MinimizeWrapper:
    instance = rosenbrock()
    optimizer = MinimizeWrapper(instance.params, {"method": method, "callback": callback})
    optimizer.step(instance.closure(1))
    return optimizer


def test_the_solvers_own_is_kept(kept: list[bool]) -> None:
    optimizer = run("CG")
    assert len(kept) == optimizer.res.nit > 10
    assert all(kept)
    assert optimizer.res.x.flags.writeable


@pytest.mark.parametrize("method", ["BFGS", "L-BFGS-B", "Newton-CG"])
def test_what_others_tell_is_not_kept(method: str, kept: list[bool]) -> None:
    run(method)
    assert len(kept) > 10
    assert not any(kept)


def test_what_a_callback_is_told_is_not_kept(kept: list[bool]) -> None:
    told: list[np.ndarray] = []

    def callback(intermediate_result: OptimizeResult) -> None:
        told.append(intermediate_result.x)

    run("CG", callback)
    assert len(kept) == len(told) > 10
    assert not any(kept)


def test_what_a_search_returns_is_not_kept(kept: list[bool]) -> None:
    instance = rosenbrock()
    optimizer = BasinHoppingWrapper(instance.params, {"method": "CG"}, {"niter": 1})
    optimizer.step(instance.closure(1))
    assert kept
    assert not any(kept)


def test_best_points_are_no_ones_else() -> None:
    """The solver's iterate becomes the user's, as ``res.x``."""
    optimizer = run("CG")
    best = optimizer._best_of(None)
    assert best is not None
    assert not np.shares_memory(best.x, optimizer.res.x)
