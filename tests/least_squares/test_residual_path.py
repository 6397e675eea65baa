"""scipy's methods walk plain scipy's path on the same residuals and Jacobian, bit by bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import plain
import pytest
import torch
from residual_cases import CASES, Case, decay, network
from scipy.optimize import Bounds
from scipy.sparse.linalg import LinearOperator

from pytorch_minimize.optim import LeastSquaresWrapper

SCIPYS = ("trf", "dogbox", "lm")
BOUNDS = ([0.0, 0.0, 0.0, 0.0], [2.5, np.inf, 5.0, 0.25])


def assert_same(ours: Any, scipys: Any) -> None:
    for name in ("nfev", "njev", "status", "success", "message", "optimality"):
        assert ours[name] == scipys[name], name
    for name in ("x", "fun", "active_mask"):
        assert np.array_equal(ours[name], scipys[name]), name
    # The very gradient is scipy's own sum, in another order.
    assert np.allclose(ours.grad, scipys.grad, rtol=1e-9, atol=1e-13)
    assert ours.cost == pytest.approx(scipys.cost, rel=1e-14)
    if isinstance(scipys.jac, np.ndarray):
        assert np.array_equal(ours.jac, scipys.jac)
    assert ours.keys() == scipys.keys() | {"nit", "nonfinite", "recovered"}


def run(case: Case, **keywords: Any) -> Any:
    optimizer = LeastSquaresWrapper(case.params, keywords)
    loss = optimizer.step(case)
    assert loss.item() == optimizer.res.cost
    assert np.array_equal(case.x, optimizer.res.x)
    return optimizer.res


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("method", SCIPYS)
def test_path(method: str, name: str) -> None:
    case = CASES[name]()
    scipys = case.scipys(method=method, max_nfev=50)
    assert_same(run(case, method=method, max_nfev=50), scipys)
    # None is evaluated but those that scipy asks for, which at the end of lm may be one again.
    assert scipys.nfev <= len(case.seen) <= scipys.nfev + (method == "lm")


@pytest.mark.parametrize(
    "keywords",
    [
        {"x_scale": "jac"},
        {"x_scale": [1.0, 2.0, 0.5, 1.0]},
        {"loss": "huber", "f_scale": 0.02},
        {"loss": "soft_l1", "f_scale": 0.02},
        {"loss": "cauchy", "f_scale": 0.02},
        {"loss": "arctan", "f_scale": 0.02},
        {"loss": lambda z: np.stack([z / (1 + z), (1 + z) ** -2.0, -2 * (1 + z) ** -3.0])},
        {"bounds": BOUNDS},
        {"bounds": Bounds(*BOUNDS)},
        {"bounds": (0, np.inf)},
        {"max_nfev": 3},
        {"ftol": 1e-3, "xtol": None, "gtol": 1e-15},
    ],
    ids=lambda keywords: "a function" if callable(keywords.get("loss")) else str(keywords),
)
@pytest.mark.parametrize("method", ["trf", "dogbox"])
def test_keywords_reach_scipy(method: str, keywords: dict[str, Any]) -> None:
    case = decay()
    scipys = case.scipys(method=method, **keywords)
    assert_same(run(case, method=method, **keywords), scipys)


@pytest.mark.parametrize("keywords", [{"x_scale": 0.5}, {"ftol": 1e-12, "max_nfev": 4}], ids=str)
def test_keywords_reach_scipys_lm(keywords: dict[str, Any]) -> None:
    case = decay()
    keywords = {
        name: np.full(4, value) if name == "x_scale" else value for name, value in keywords.items()
    }
    scipys = case.scipys(method="lm", **keywords)
    assert_same(run(case, method="lm", **keywords), scipys)


@pytest.mark.parametrize(
    "more", [{}, {"tr_options": {"regularize": False}}, {"loss": "cauchy", "f_scale": 5.0}]
)
def test_products_alone(more: dict[str, Any]) -> None:
    case = decay()

    def operator(x: np.ndarray[Any, Any]) -> LinearOperator:
        matrix = case.jacobian(x)
        return LinearOperator(
            matrix.shape, matvec=lambda v: matrix @ v.reshape(-1), rmatvec=lambda u: matrix.T @ u
        )

    # Products and a matrix times a vector differ in their last bits, on which it hangs when LSMR
    # ends: the first steps are alike, and the end.
    scipys = case.scipys(jac=operator, tr_solver="lsmr", max_nfev=2, **more)
    res = run(case, tr_solver="lsmr", max_nfev=2, **more)
    assert (res.nfev, res.njev, res.status) == (scipys.nfev, scipys.njev, scipys.status)
    assert np.allclose(res.x, scipys.x, rtol=1e-6, atol=1e-8)
    assert res.jac is None
    scipys = decay().scipys(
        tr_solver="exact", **{k: v for k, v in more.items() if k != "tr_options"}
    )
    assert run(case, tr_solver="lsmr", **more).cost == pytest.approx(scipys.cost, rel=1e-4)


def test_the_matrix_goes_with_lsmr_where_the_scale_wants_it() -> None:
    case = network()
    scipys = case.scipys(tr_solver="lsmr", x_scale="jac", max_nfev=8)
    assert_same(run(case, tr_solver="lsmr", x_scale="jac", max_nfev=8), scipys)


@pytest.mark.filterwarnings("ignore:jac='3-point' works equivalently")  # scipy 1.15's own, of lm
@pytest.mark.parametrize("jac", ["2-point", "3-point", False])
@pytest.mark.parametrize("method", SCIPYS)
def test_differences_on_request(method: str, jac: Any) -> None:
    case = decay()
    scipys = case.scipys(method=method, jac=jac or "2-point")
    res = run(case, method=method, jac=jac)
    assert (res.nfev, res.status) == (scipys.nfev, scipys.status)
    assert np.array_equal(res.x, scipys.x)


def test_differences_with_sparsity() -> None:
    def case() -> Case:
        return Case(
            [torch.linspace(1, 2, 6, dtype=torch.float64)],
            lambda params: params[0] ** 2 - torch.arange(6.0, dtype=torch.float64),
        )

    keywords = {"jac": "2-point", "jac_sparsity": np.eye(6), "diff_step": 1e-7}
    scipys, twin = case().scipys(**keywords), case()
    res = run(twin, **keywords)
    assert (res.nfev, res.status) == (scipys.nfev, scipys.status)
    assert np.array_equal(res.x, scipys.x)


@pytest.mark.parametrize("detached", [False, True])
def test_a_jacobian_of_the_users_own(detached: bool) -> None:
    case, calls = decay(), []
    if detached:  # no graph is needed
        residuals = case.residuals
        case.residuals = lambda params: residuals(params).detach()

    twin = decay()

    def users(x: Any, factor: float, *, offset: float) -> Any:
        calls.append(x)
        return factor * twin.jacobian(x) + offset

    keywords = {"jac": users, "args": (1.0,), "kwargs": {"offset": 0.0}}
    res = run(case, **keywords)
    scipys = decay().scipys()
    assert np.array_equal(res.x, scipys.x)
    assert (res.nfev, res.njev) == (scipys.nfev, scipys.njev)
    assert len(calls) == res.njev
    assert np.allclose(res.grad, scipys.grad, rtol=1e-9, atol=1e-13)


@pytest.mark.skipif(plain.VERSION < (1, 16), reason="scipy calls nobody back before 1.16")
@pytest.mark.parametrize("jac", [True, "2-point"])
@pytest.mark.parametrize("method", ["trf", "dogbox"])
def test_callbacks_are_told_scipys_iterates(method: str, jac: Any) -> None:
    case, ours, scipys = decay(), [], []
    optimizer = LeastSquaresWrapper(
        case.params, {"method": method, "callback": lambda x: ours.append(x), "jac": jac}
    )
    optimizer.step(case)
    more = {} if jac is True else {"jac": jac}
    decay().scipys(method=method, callback=lambda x: scipys.append(x.copy()), **more)
    # scipy tells also of an iteration that moved nothing, at the end.
    scipys = [x for i, x in enumerate(scipys) if not i or not np.array_equal(x, scipys[i - 1])]
    assert len(ours) > 2
    assert np.array_equal(ours, scipys)
    assert len(optimizer.history) == optimizer.res.nit == len(ours)
