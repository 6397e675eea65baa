"""Exceptions of the closure that mean the same as a loss of NaN."""

from __future__ import annotations

import gc
import math
import warnings
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from methods import CURVATURE, GRADIENT, GRADIENT_FREE
from scipy.optimize import OptimizeResult
from torch import Tensor, nn
from walls import WITHOUT_GRAPH, Walled

from pytorch_minimize.optim import (
    ClosureConstraint,
    DifferentialEvolutionWrapper,
    MinimizeWrapper,
    NonfiniteError,
)

LinAlgError = torch.linalg.LinAlgError
STRATEGIES = [
    *((m, "graph") for m in (*GRADIENT, *GRADIENT_FREE, *CURVATURE)),
    *((m, "replay") for m in CURVATURE),
]


def breaks_down(x: Tensor) -> Tensor:
    """Raises torch's own LinAlgError."""
    return torch.linalg.cholesky(torch.diag(-1 - x.detach().abs()))


def run(closure: Walled, method: Any, **keywords: Any) -> Any:
    optimizer = MinimizeWrapper([closure.x], {"method": method}, **keywords)
    optimizer.step(closure)
    return optimizer.res


@pytest.mark.parametrize(("method", "strategy"), STRATEGIES)
def test_they_mean_nan(method: str, strategy: Any) -> None:
    """Counted apart, and not warned of: they were announced."""
    for form in (1, 2):
        ours, twin = Walled(breaks_down, form), Walled(WITHOUT_GRAPH["NaN"], form)
        res = run(ours, method, curvature=strategy, recover=LinAlgError)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            expected = run(twin, method, curvature=strategy)
        assert np.array_equal(res.x, expected.x)
        assert (res.nfev, res.nonfinite) == (expected.nfev, 0)
        assert (res.recovered, expected.recovered) == (expected.nonfinite, 0)
        assert res.recovered > 0


def test_the_counts_are_apart() -> None:
    """Also where both are met; and only what was not announced is warned of."""

    def beyond(x: Tensor) -> Any:
        return breaks_down(x) if x[0] <= 0 else math.nan

    closure = Walled(beyond)
    with pytest.warns(RuntimeWarning, match="a loss of nan") as caught:
        res = run(closure, "BFGS", recover=(ZeroDivisionError, LinAlgError))
    assert len(caught) == 1
    assert res.recovered > 0
    assert res.nonfinite > 0
    assert res.recovered + res.nonfinite == closure.met


def test_raise_is_for_what_was_not_announced() -> None:
    assert run(Walled(breaks_down), "BFGS", recover=LinAlgError, nonfinite="raise").recovered > 0
    with pytest.raises(NonfiniteError):
        run(Walled(WITHOUT_GRAPH["NaN"]), "BFGS", recover=LinAlgError, nonfinite="raise")


@pytest.mark.parametrize("recover", [(), ZeroDivisionError])
def test_others_come_out(recover: Any) -> None:
    closure = Walled(breaks_down)
    with pytest.raises(LinAlgError):
        run(closure, "BFGS", recover=recover)
    assert (closure.x > 0).all()


def test_no_refusal_of_ours_is_swallowed() -> None:
    """Although they are exceptions of these classes."""
    x = nn.Parameter(torch.ones(2))
    every = (RuntimeError, TypeError, ValueError)
    for loss, message in {
        "no graph": (lambda: x.detach().sum(), "called no backward"),
        "no loss": (lambda: None, "got NoneType"),
        "no scalar": (lambda: x * 1, "a scalar loss"),
        "another model": (lambda: torch.ones(2, requires_grad=True).sum(), "reaches none"),
    }.values():
        optimizer = MinimizeWrapper([x], {"method": "BFGS"}, recover=every)
        with pytest.raises(every, match=message):
            optimizer.step(loss)


def test_an_error_of_our_backward_is_the_closures() -> None:
    class Breaks(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x * math.nan

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            raise LinAlgError("no inverse")

    for strategy in ("graph", "replay"):
        closure = Walled(lambda x: Breaks.apply(x).sum())
        res = run(closure, "trust-exact", recover=LinAlgError, curvature=strategy)
        assert res.recovered > 0
        np.testing.assert_allclose(res.x, 1 / 30, rtol=1e-4)


def test_where_nothing_was_finite_the_message_says_why() -> None:
    closure = Walled(breaks_down)
    closure.x.data.fill_(-1.0)
    res = run(closure, "L-BFGS-B", recover=LinAlgError)
    assert not res.success
    assert math.isnan(res.fun)
    assert res.recovered == res.nfev
    assert "LinAlgError: linalg.cholesky: The factorization could not be completed" in res.message


def test_a_product_whose_run_raises_is_no_product() -> None:
    """Where the closure is run again for curvature, it may raise though it did not before."""
    closure = Walled(breaks_down, bad=(2,))  # the first product of Newton-CG
    res = run(closure, "Newton-CG", recover=LinAlgError, curvature="replay")
    assert closure.met >= 1
    assert res.recovered >= 1
    np.testing.assert_allclose(res.x, 1 / 30, rtol=1e-4)


@pytest.mark.parametrize("polish", [True, False])
def test_a_population_goes_on_without_the_points_that_raise(polish: bool) -> None:
    """The others are found by halving; a run is that of losses of NaN."""
    keywords = {"bounds": [(-1.0, 3.0)] * 2, "maxiter": 10, "popsize": 6, "rng": 0}
    results = []
    for recover in (LinAlgError, ()):

        def losses(stacked: list[Tensor], raises: Any = recover) -> Tensor:
            (x,) = stacked
            beyond = (x <= 0).any(1)
            if raises and beyond.any():
                raise LinAlgError("of one of these")
            return (30 * x - x.abs().log()).sum(1).where(~beyond, math.nan)

        closure = Walled(breaks_down if recover else WITHOUT_GRAPH["NaN"])
        optimizer = DifferentialEvolutionWrapper(
            [closure.x], keywords | {"polish": polish}, recover=recover
        )
        with warnings.catch_warnings():
            warnings.simplefilter("error" if recover else "ignore", RuntimeWarning)
            optimizer.step(closure, vectorized=losses)
        results.append(optimizer.res)
    ours, expected = results
    assert np.array_equal(ours.x, expected.x)
    assert (ours.nfev, ours.nonfinite) == (expected.nfev, 0)
    assert ours.recovered == expected.nonfinite > 0


def test_a_population_of_the_wrong_shape_is_not_halved() -> None:
    x = nn.Parameter(torch.ones(2, dtype=torch.float64))
    optimizer = DifferentialEvolutionWrapper([x], {"bounds": [(0, 1)] * 2}, recover=ValueError)
    with pytest.raises(ValueError, match="one loss for each"):
        optimizer.step(lambda: x.sum(), vectorized=lambda xs: xs[0])


def test_constraints_may_not_raise_them() -> None:
    closure = Walled(WITHOUT_GRAPH["NaN"])
    constraint = ClosureConstraint(lambda: breaks_down(closure.x).sum(), None, 1.0)
    optimizer = MinimizeWrapper(
        [closure.x], {"method": "COBYLA", "constraints": constraint}, recover=LinAlgError
    )
    with pytest.raises(LinAlgError):
        optimizer.step(closure)


def test_it_is_no_part_of_the_state() -> None:
    closure = Walled(breaks_down)
    first = MinimizeWrapper([closure.x], {}, recover=LinAlgError)
    assert "recover" not in first.state_dict()["run"]["settings"]
    second = MinimizeWrapper([closure.x], {}, recover=LinAlgError)
    second.load_state_dict(first.state_dict())
    second.step(closure)
    assert second.res.recovered > 0


@pytest.mark.parametrize(
    "value", [None, 1, "LinAlgError", [ValueError], (ValueError, int), (KeyboardInterrupt,), True]
)
def test_other_values_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="recover: expected an exception class or a tuple of them"):
        MinimizeWrapper([nn.Parameter(torch.ones(1))], {}, recover=value)


def test_no_frame_of_the_closure_is_kept() -> None:
    """As a traceback does, and with it the graph."""
    x, kept = nn.Parameter(torch.ones(2, dtype=torch.float64)), []

    def closure() -> Tensor:
        loss = x.square().sum()
        kept.append(weakref.ref(loss))
        if len(kept) == 2:
            raise LinAlgError("late")
        return loss

    def solver(fun: Any, x0: Any, **_: Any) -> OptimizeResult:
        fun(x0), fun(0.5 * x0)
        assert kept[1]() is None
        return OptimizeResult(x=x0, fun=fun(x0), success=True)

    gc.disable()
    try:
        MinimizeWrapper([x], {"method": solver, "jac": True}, recover=LinAlgError).step(closure)
    finally:
        gc.enable()
