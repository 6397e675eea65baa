"""A loss that is not finite needs no graph: it means "step back", wherever it is met.

The oracle is the same closure whose loss is not finite there but has its graph.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from methods import CURVATURE, GRADIENT
from problems import rosenbrock
from replayed import Replayed
from scipy.optimize import OptimizeResult
from torch import Tensor, nn
from walls import WITH_GRAPH, WITHOUT_GRAPH, Walled

from pytorch_minimize.closure import runner
from pytorch_minimize.optim import (
    BasinHoppingWrapper,
    DifferentialEvolutionWrapper,
    DualAnnealingWrapper,
    MinimizeWrapper,
    NonfiniteError,
    SHGOWrapper,
)

pytestmark = pytest.mark.filterwarnings("ignore:the closure gave:RuntimeWarning")
BOUNDS = [(-1.0, 3.0)] * 2

Make = Callable[[nn.Parameter], Any]
SEARCHES: dict[str, Make] = {
    "basinhopping": lambda x: BasinHoppingWrapper(
        [x], {"method": "BFGS"}, {"niter": 5, "rng": 0, "stepsize": 1.0}
    ),
    "basinhopping, curvature": lambda x: BasinHoppingWrapper(
        [x], {"method": "trust-exact"}, {"niter": 3, "rng": 0, "stepsize": 1.0}
    ),
    "dual annealing": lambda x: DualAnnealingWrapper(
        [x], {}, {"bounds": BOUNDS, "maxiter": 20, "rng": 0}
    ),
    "shgo": lambda x: SHGOWrapper([x], {}, {"bounds": BOUNDS, "n": 16}),
    "differential evolution": lambda x: DifferentialEvolutionWrapper(
        [x], {"bounds": BOUNDS, "maxiter": 20, "popsize": 5, "rng": 0}
    ),
}


def run(closure: Walled, optimizer: Any) -> Any:
    optimizer.step(closure)
    return optimizer.res


def assert_same(ours: Any, expected: Any) -> None:
    assert np.array_equal(ours.x, expected.x)
    assert (ours.nfev, ours.nonfinite) == (expected.nfev, expected.nonfinite)
    assert ours.success == expected.success


STRATEGIES = [(m, "graph") for m in (*GRADIENT, *CURVATURE)] + [(m, "replay") for m in CURVATURE]


@pytest.mark.parametrize(("method", "strategy"), STRATEGIES)
def test_every_method_steps_back(method: str, strategy: Any) -> None:
    for form in (1, 2):
        for kind in WITHOUT_GRAPH:
            ours, twin = (Walled(k[kind], form) for k in (WITHOUT_GRAPH, WITH_GRAPH))
            first, second = (
                run(c, MinimizeWrapper([c.x], {"method": method}, curvature=strategy))
                for c in (ours, twin)
            )
            assert ours.met > 0
            assert_same(first, second)


@pytest.mark.parametrize("bad", [(1,), (2,), (5,), (1, 2, 3), (2, 3, 7)])
@pytest.mark.parametrize("method", ["BFGS", "trust-exact", "Newton-CG"])
def test_it_may_be_any_evaluation(method: str, bad: tuple[int, ...]) -> None:
    ours, twin = (Walled(k["NaN"], bad=bad) for k in (WITHOUT_GRAPH, WITH_GRAPH))
    first, second = (run(c, MinimizeWrapper([c.x], {"method": method})) for c in (ours, twin))
    assert_same(first, second)
    assert first.nonfinite >= 1


@pytest.mark.parametrize("search", SEARCHES)
def test_local_searches_and_polishes_step_back(search: str) -> None:
    ours, twin = (Walled(k["NaN"]) for k in (WITHOUT_GRAPH, WITH_GRAPH))
    first, second = (run(c, SEARCHES[search](c.x)) for c in (ours, twin))
    assert ours.met > 0
    assert_same(first, second)
    np.testing.assert_allclose(first.x, 1 / 30, atol=1e-5)


@pytest.mark.parametrize("strategy", ["graph", "replay"])
def test_products_at_such_a_point_are_harmless(strategy: Any) -> None:
    """Asked for before the value, after it, and again after another point."""

    def solver(fun: Any, x0: Any, jac: Any, hessp: Any, **_: Any) -> Any:
        beyond, v = np.array([-1.0, 1.0]), np.array([1.0, 2.0])
        for ask in (lambda x: hessp(x, v), fun, jac, lambda x: hessp(x, v)):
            ask(beyond)
        assert np.array_equal(hessp(beyond, v), v)
        np.testing.assert_allclose(hessp(x0, v), v / x0**2)
        assert np.array_equal(hessp(beyond, v), v)
        return OptimizeResult(x=x0, fun=fun(x0), success=True)

    closure = Walled(WITHOUT_GRAPH["inf"])
    arguments = {"method": solver, "hessp": True, "jac": True}
    run(closure, MinimizeWrapper([closure.x], arguments, curvature=strategy))
    assert closure.met == 2


def test_a_hessian_at_such_a_point_is_refused() -> None:
    closure = Walled(WITHOUT_GRAPH["inf"])
    closure.x.data[0] = -1.0
    optimizer = MinimizeWrapper([closure.x], {})
    with pytest.raises(RuntimeError, match="the closure's loss is inf here, and has no gradient"):
        optimizer.hessian(closure)


def test_raise_stops_there_as_well() -> None:
    closure = Walled(WITHOUT_GRAPH["inf"])
    with pytest.raises(NonfiniteError, match="a loss of inf"):
        run(closure, MinimizeWrapper([closure.x], {}, nonfinite="raise"))


def test_as_a_device_does_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss that is not read at once is, where it has no graph."""
    expected = Walled(WITHOUT_GRAPH["tensor"])
    at_once = run(expected, MinimizeWrapper([expected.x], {"method": "BFGS"}))
    monkeypatch.setattr(runner, "_is_on_host", lambda loss: False)
    for kind in ("tensor", "of another parameter"):
        closure = Walled(WITHOUT_GRAPH[kind])
        assert_same(run(closure, MinimizeWrapper([closure.x], {"method": "BFGS"})), at_once)


def test_a_finite_loss_still_needs_one() -> None:
    closure = Walled(lambda x: 1e6)
    with pytest.raises(RuntimeError, match="Where there is no loss, return inf or NaN"):
        run(closure, MinimizeWrapper([closure.x], {"method": "BFGS"}))


def test_a_replayed_graph_may_begin_with_one() -> None:
    class Spoilt(Replayed):
        def __call__(self) -> Tensor:
            loss = super().__call__()
            if self.runs == 1:
                self.loss.data.fill_(math.nan)
            return loss

    def solver(fun: Any, x0: Any, jac: Any, **_: Any) -> OptimizeResult:
        fun(x0)
        x = 0.5 * x0
        assert np.array_equal(jac(x), twin.jac(x))
        return OptimizeResult(x=x, fun=fun(x), success=True)

    replayed, twin = Spoilt(rosenbrock()), rosenbrock()
    arguments = {"method": solver, "jac": True}
    optimizer = MinimizeWrapper(replayed.instance.params, arguments, captured_graph=True)
    optimizer.step(replayed)
    assert optimizer.res.nonfinite == 1
    replayed.assert_in_place()
