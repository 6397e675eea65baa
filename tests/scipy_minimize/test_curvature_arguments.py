"""Which of hess and hessp autograd provides, and what of the user's passes through."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.optimize
import threadpoolctl
import torch
from problems import rosenbrock
from scipy.optimize import BFGS, SR1

from pytorch_minimize.optim import MinimizeWrapper
from pytorch_minimize.scipy_minimize.methods import CURVATURE_METHODS, METHODS

EITHER = tuple(m for m in CURVATURE_METHODS if METHODS[m.lower()].curvature == ("hessp", "hess"))
DENSE = tuple(m for m in CURVATURE_METHODS if METHODS[m.lower()].curvature == ("hess",))


def fit(**arguments: Any) -> Any:
    instance = rosenbrock()
    optimizer = MinimizeWrapper(instance.params, arguments)
    optimizer.step(instance.closure(1))
    return optimizer


def plain(**arguments: Any) -> Any:
    twin = rosenbrock()
    with threadpoolctl.threadpool_limits(1, "blas"):
        return scipy.optimize.minimize(twin.fun, twin.x0, jac=twin.jac, **arguments)


def assert_same(ours: Any, scipys: Any) -> None:
    for count in ("nfev", "nit", "njev", "nhev", "status"):
        assert ours[count] == scipys[count], count
    np.testing.assert_allclose(ours.x, scipys.x, rtol=1e-12)


@pytest.mark.parametrize("method", CURVATURE_METHODS)
def test_default(method: str) -> None:
    counts = fit(method=method).profile.counts
    assert ("hessp" in counts) == (method in EITHER)
    assert ("hess" in counts) == (method in DENSE)


@pytest.mark.parametrize("name", ["hess", "hessp"])
@pytest.mark.parametrize("method", EITHER)
def test_choice(method: str, name: str) -> None:
    optimizer = fit(method=method, **{name: True})
    assert {"hess", "hessp"} & set(optimizer.profile.counts) == {name}
    twin = rosenbrock()
    assert_same(
        optimizer.res,
        plain(method=method, **{name: getattr(twin.converted, name)}),
    )


@pytest.mark.parametrize("method", ["Newton-CG", "trust-constr"])
@pytest.mark.parametrize(
    "make",
    [lambda: "2-point", lambda: "3-point", BFGS, SR1, lambda: rosenbrock().hess],
    ids=["2-point", "3-point", "BFGS", "SR1", "callable"],
)
def test_the_users_hess_passes_through(method: str, make: Any) -> None:
    optimizer = fit(method=method, hess=make())
    assert not {"hess", "hessp", "graph"} & set(optimizer.profile.counts)
    assert_same(optimizer.res, plain(method=method, hess=make()))


@pytest.mark.parametrize("method", EITHER)
def test_the_users_hessp_passes_through(method: str) -> None:
    hessp = rosenbrock().converted.hessp
    optimizer = fit(method=method, hessp=hessp)
    assert not {"hess", "hessp", "graph"} & set(optimizer.profile.counts)
    assert_same(optimizer.res, plain(method=method, hessp=hessp))


@pytest.mark.parametrize("method", DENSE)
def test_the_users_dense_hess_passes_through(method: str) -> None:
    hess = rosenbrock().hess
    assert_same(fit(method=method, hess=hess).res, plain(method=method, hess=hess))


@pytest.mark.parametrize("method", ["Newton-CG", "trust-constr"])
def test_false_leaves_it_to_scipy(method: str) -> None:
    """Differences of gradients for Newton-CG, a dense BFGS for trust-constr."""
    name = {"Newton-CG": "hessp", "trust-constr": "hess"}[method]
    optimizer = fit(method=method, **{name: False})
    assert not {"hess", "hessp"} & set(optimizer.profile.counts)
    assert_same(optimizer.res, plain(method=method))


@pytest.mark.parametrize(
    ("method", "given"),
    [
        ("Newton-CG", {"hess": True, "hessp": True}),
        ("trust-ncg", {"hess": lambda x: x, "hessp": True}),
        ("trust-ncg", {"hess": "2-point", "hessp": True}),
    ],
)
def test_two_sources_are_refused(method: str, given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected True for one of hess and hessp"):
        MinimizeWrapper(rosenbrock().params, {"method": method} | given)


@pytest.mark.parametrize(
    ("method", "given", "expected"),
    [
        ("trust-exact", {"hess": "2-point"}, "True .autograd., a callable on the flat x; got"),
        ("dogleg", {"hess": BFGS()}, "True .autograd., a callable on the flat x; got"),
        ("Newton-CG", {"hess": "cs"}, "'2-point', '3-point'.*differences of gradients.*'cs'"),
        ("Newton-CG", {"hessp": "2-point"}, "expected hessp to be True .autograd., a callable"),
        ("trust-exact", {"hessp": True}, "trust-exact takes no hessp"),
        ("L-BFGS-B", {"hess": True}, "L-BFGS-B takes no hess"),
    ],
)
def test_others_are_refused(method: str, given: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        MinimizeWrapper(rosenbrock().params, {"method": method} | given)


@pytest.mark.parametrize("name", ["hess", "hessp"])
def test_a_callable_method_gets_what_it_asks_for(name: str) -> None:
    seen: dict[str, Any] = {}

    def method(fun: Any, x0: Any, *, jac: Any, callback: Any = None, **keywords: Any) -> Any:
        seen.update(keywords)
        return scipy.optimize.OptimizeResult(x=x0, fun=fun(x0), jac=jac(x0), success=True)

    instance = rosenbrock()

    def checking(*args: Any, **keywords: Any) -> Any:
        result = method(*args, **keywords)
        x, v = instance.x0, np.arange(5.0)
        hessian = instance.hess(x)
        if name == "hess":
            np.testing.assert_allclose(seen["hess"](x), hessian, rtol=1e-12)
        else:
            np.testing.assert_allclose(seen["hessp"](x, v), hessian @ v, rtol=1e-12)
        return result

    MinimizeWrapper(instance.params, {"method": checking, name: True}).step(instance.closure(1))
    assert seen


@pytest.mark.parametrize("value", ["backward", None, 1])
def test_unknown_strategies_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match='curvature: expected "graph" or "replay"'):
        MinimizeWrapper(rosenbrock().params, {"method": "trust-ncg"}, curvature=value)


@pytest.mark.parametrize("value", [0, -1, 1.5, None])
def test_unknown_block_sizes_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="hessian_block_bytes: expected a positive int"):
        MinimizeWrapper(rosenbrock().params, {"method": "dogleg"}, hessian_block_bytes=value)


def test_bounds_and_constraints_with_trust_constr() -> None:
    bounds = [(-0.5, 0.8)] * 5
    constraint = scipy.optimize.LinearConstraint(np.ones((1, 5)), -np.inf, 3.0)
    arguments: dict[str, Any] = {
        "method": "trust-constr",
        "bounds": bounds,
        "constraints": [constraint],
    }
    instance = rosenbrock()
    with torch.no_grad():
        for param in instance.params:
            param.fill_(0.1)
    optimizer = MinimizeWrapper(instance.params, arguments)
    optimizer.step(instance.closure(1))
    twin = rosenbrock()
    with threadpoolctl.threadpool_limits(1, "blas"):
        scipys = scipy.optimize.minimize(
            twin.fun,
            np.full(5, np.float64(0.1)),
            jac=twin.jac,
            hessp=twin.converted.hessp,
            **arguments,
        )
    assert_same(optimizer.res, scipys)
