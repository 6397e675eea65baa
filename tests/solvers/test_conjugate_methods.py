"""torch-CG, torch-Newton-CG and torch-trust-ncg: scipy's path, products, and the preconditioner."""

from __future__ import annotations

import functools
import math
import pickle
from typing import Any

import numpy as np
import plain
import pytest
import torch
from instance import Instance
from problems import PROBLEMS, Problem, logistic, quadratic, rosenbrock
from torch import Tensor, nn

from pytorch_minimize.optim import BasinHoppingWrapper, MinimizeWrapper
from pytorch_minimize.scipy_minimize import optimizer as optimizer_module
from pytorch_minimize.solvers.conjugate_methods import ROWS

NAMES = tuple(row.name for row in ROWS.values())
SECOND_ORDER = tuple(row.name for row in ROWS.values() if row.curvature)
each = pytest.mark.parametrize("method", NAMES)
each_second = pytest.mark.parametrize("method", SECOND_ORDER)
# Without negative curvature scipy's trust-ncg asks for a product at each of two points.
CONVEX = ("quadratic", "matrix", "signal", "logistic")


def stepped(method: str, instance: Instance, form: int = 1, **more: Any) -> MinimizeWrapper:
    args = {name: more.pop(name) for name in ("options", "hessp", "tol") if name in more}
    optimizer = MinimizeWrapper(instance.params, {"method": method, **args}, **more)
    optimizer.step(instance.closure(form))
    return optimizer


@functools.cache
def scipys(problem: Problem, method: str) -> tuple[Any, list[np.ndarray], int]:
    """scipy's own run, its iterates, and how often it asks for a product."""
    instance, path, products = problem.make(torch.float64), [], [0]
    name = method.removeprefix("torch-")

    def hessp(x: np.ndarray, v: np.ndarray) -> np.ndarray:
        products[0] += 1
        return instance.converted.hessp(x, v)

    more = {"hessp": hessp} if method in SECOND_ORDER else {}
    res = plain.path(instance, name, callback=lambda x: path.append(x.copy()), **more)
    return res, path, products[0]


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
@each
def test_scipys_path_to_the_bit(method: str, problem: Problem) -> None:
    expected, path, products = scipys(problem, method)
    res = stepped(method, problem.make(torch.float64), options={"return_all": True}).res
    assert (res.nit, res.nfev, res.status) == (expected.nit, expected.nfev, expected.status)
    for ours, theirs in zip(res.allvecs[1:], path, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert (res.fun, res.success, res.message) == (expected.fun, expected.success, expected.message)
    if method in SECOND_ORDER and problem.name in CONVEX:
        assert res.nhev == products


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("torch-CG", {"norm": 2.0, "gtol": 1e-3}),
        ("torch-CG", {"c1": 1e-3, "c2": 0.1}),
        ("torch-CG", {"maxiter": 7}),
        ("torch-CG", {"maxiter": 0}),
        ("torch-Newton-CG", {"xtol": 1e-9}),
        ("torch-Newton-CG", {"c1": 1e-3, "c2": 0.2}),
        ("torch-Newton-CG", {"maxiter": 3}),
        ("torch-Newton-CG", {"maxiter": 0}),
        ("torch-trust-ncg", {"gtol": 1e-9, "eta": 0.2}),
        ("torch-trust-ncg", {"initial_trust_radius": 0.1, "max_trust_radius": 0.4}),
        ("torch-trust-ncg", {"maxiter": 3}),
        ("torch-trust-ncg", {"maxiter": 0}),
    ],
)
def test_options_are_scipys(method: str, options: dict[str, Any]) -> None:
    for make in (rosenbrock, logistic):
        expected = plain.path(make(), method.removeprefix("torch-"), options=options)
        res = stepped(method, make(), options=options).res
        assert np.array_equal(res.x, expected.x)
        assert (res.nit, res.nfev, res.status) == (expected.nit, expected.nfev, expected.status)
        assert res.message == expected.message


@each
def test_tol_is_the_one_tolerance(method: str) -> None:
    (name,) = ROWS[method.lower()].tolerances
    by_tol = stepped(method, rosenbrock(), tol=1e-2).res
    by_option = stepped(method, rosenbrock(), options={name: 1e-2}).res
    assert np.array_equal(by_tol.x, by_option.x)
    assert by_tol.nit < stepped(method, rosenbrock()).res.nit


class TestProducts:
    @pytest.mark.parametrize(("form", "strategy"), [(1, "replay"), (2, "graph"), (3, "replay")])
    @each_second
    def test_of_every_closure_and_strategy(self, method: str, form: int, strategy: Any) -> None:
        expected = stepped(method, rosenbrock()).res
        optimizer = stepped(method, rosenbrock(), form, curvature=strategy)
        assert np.array_equal(optimizer.res.x, expected.x)
        counts = optimizer.profile.counts
        assert counts["hessp"] == optimizer.res.nhev == expected.nhev
        reruns = counts["hessp"] if strategy == "replay" else 0
        # Those that lead back to an iterate give the gradient there as well.
        assert counts["closure"] <= optimizer.res.nfev + reruns + counts.get("reload", 0)

    @pytest.mark.parametrize("strategy", ["graph", "replay"])
    @each_second
    def test_on_tensors(self, method: str, strategy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        expected = stepped(method, logistic()).res
        monkeypatch.setattr(optimizer_module, "_device", lambda bridge: torch.device("cpu"))
        res = stepped(method, logistic(), curvature=strategy).res
        assert (res.nit, res.nfev, res.nhev) == (expected.nit, expected.nfev, expected.nhev)
        np.testing.assert_allclose(res.x, expected.x, atol=1e-9)

    @pytest.mark.parametrize("on_tensors", [False, True])
    @each_second
    def test_the_users_own(
        self, method: str, on_tensors: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        expected = stepped(method, rosenbrock()).res
        if on_tensors:
            monkeypatch.setattr(optimizer_module, "_device", lambda bridge: torch.device("cpu"))
        instance, asked = rosenbrock(), []

        def hessp(x: np.ndarray, v: np.ndarray) -> np.ndarray:
            asked.append(type(v))
            return instance.converted.hessp(x, v)

        optimizer = stepped(method, instance, hessp=hessp)
        np.testing.assert_allclose(optimizer.res.x, expected.x, rtol=1e-6)
        assert set(asked) == {np.ndarray}
        assert optimizer.res.nhev == len(asked) == expected.nhev
        assert optimizer.profile.counts.get("graph", 0) == 0

    @each_second
    def test_the_users_own_of_another_size(self, method: str) -> None:
        with pytest.raises(ValueError, match="hessp must return 5 numbers, got 1"):
            stepped(method, rosenbrock(), hessp=lambda x, v: 1.0)

    @each_second
    def test_what_it_raises_is_raised(self, method: str) -> None:
        def hessp(x: np.ndarray, v: np.ndarray) -> np.ndarray:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            stepped(method, rosenbrock(), hessp=hessp)

    @each_second
    def test_that_are_not_finite_are_of_the_identity(self, method: str) -> None:
        x = nn.Parameter(torch.tensor([2.0, 1.0], dtype=torch.float64))
        optimizer = MinimizeWrapper([x], {"method": method})
        # |x|^1.5 has a gradient at 0, and no curvature.
        with pytest.warns(RuntimeWarning, match="a Hessian with NaN or inf"):
            optimizer.step(lambda: x[0].square() + x[1].square() + (x[1] - x[1]).abs().pow(1.5))
        assert optimizer.res.nonfinite > 0
        assert np.allclose(optimizer.res.x, 0.0, atol=1e-3)

    @each_second
    def test_are_limited_in_time(self, method: str) -> None:
        optimizer = stepped(method, rosenbrock(), timeout=1e-9)
        assert optimizer.res.status == 101
        assert optimizer.res.nhev == 0


class TestNystrom:
    def ill_conditioned(self) -> Instance:
        """A convex problem of 120 variables: thirty steep directions, the rest alike."""
        generator = torch.Generator().manual_seed(2)
        n = 120
        random = torch.randn(n, n, generator=generator, dtype=torch.float64)
        q = torch.linalg.qr(random)[0]
        d = torch.ones(n, dtype=torch.float64)
        d[:30] = torch.logspace(1, 6, 30, dtype=torch.float64)
        start = torch.randn(n, generator=generator, dtype=torch.float64)

        def loss(tensors: Any) -> Tensor:
            turned = q.T @ tensors[0]
            return (d * turned.square()).sum() / 2 + turned.pow(4).sum() / 4

        return Instance([start], loss, 0.0)

    @each_second
    def test_saves_iterations_and_products(self, method: str) -> None:
        (name,) = ROWS[method.lower()].tolerances
        options = {name: 1e-8}
        without = stepped(method, self.ill_conditioned(), options=options).res
        preconditioned = stepped(
            method, self.ill_conditioned(), options=options | {"nystrom": 40}
        ).res
        assert without.success
        assert preconditioned.success
        assert preconditioned.fun < 1e-10
        assert preconditioned.inner < without.inner / 4
        assert preconditioned.nhev < without.nhev / 2

    @each_second
    def test_is_refreshed_and_repeatable(self, method: str) -> None:
        runs = [
            stepped(method, rosenbrock(), options={"nystrom": 3, "nystrom_every": every}).res
            for every in (1000, 1000, 1)
        ]
        once, again, always = runs
        assert np.array_equal(once.x, again.x)
        assert once.nhev == again.nhev
        assert always.success
        assert always.nhev >= 3 * always.nit

    @each_second
    def test_of_all_variables_is_one_iteration_of_a_quadratic(self, method: str) -> None:
        # P is then H but for a factor.
        options = {"nystrom": 50, "nystrom_every": 1000}
        more = {"initial_trust_radius": 1e6, "max_trust_radius": 1e7}
        options |= more if method == "torch-trust-ncg" else {}
        res = stepped(method, quadratic(), options=options).res
        assert res.success
        assert res.inner <= res.nit <= 3
        assert res.fun < 1e-12

    @each_second
    def test_of_a_hessian_without_positive_eigenvalues(self, method: str) -> None:
        x = nn.Parameter(torch.tensor([0.1, 0.2], dtype=torch.float64))
        options = {"nystrom": 2, "nystrom_every": 1}
        optimizer = MinimizeWrapper([x], {"method": method, "options": options})
        optimizer.step(lambda: (x.square() - 1).square().sum())
        assert np.allclose(np.abs(optimizer.res.x), 1.0, atol=1e-3)

    @each_second
    def test_on_tensors(self, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
        options = {"nystrom": 4, "damping": 1e-8}
        expected = stepped(method, logistic(), options=options).res
        monkeypatch.setattr(optimizer_module, "_device", lambda bridge: torch.device("cpu"))
        res = stepped(method, logistic(), options=options).res
        assert (res.nit, res.nhev) == (expected.nit, expected.nhev)

    def test_the_random_numbers_are_its_own(self) -> None:
        torch.manual_seed(0)
        before = torch.get_rng_state()
        stepped("torch-Newton-CG", rosenbrock(), options={"nystrom": 2})
        assert torch.equal(torch.get_rng_state(), before)

    def test_damping_shortens_newtons_steps(self) -> None:
        x = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
        options = {"damping": 3.0, "maxiter": 1}
        optimizer = MinimizeWrapper([x], {"method": "torch-Newton-CG", "options": options})
        optimizer.step(lambda: x.square().sum() / 2)
        assert optimizer.res.x == pytest.approx(1.0 - 1.0 / 4.0)


class TestRefusals:
    @pytest.mark.parametrize(
        ("method", "args", "said"),
        [
            ("torch-CG", {"options": {"xtol": 1e-3}}, "torch-CG knows c1, c2"),
            ("torch-CG", {"options": {"norm": 0}}, "a number other than 0"),
            ("torch-CG", {"options": {"c1": 0.5}}, "expected c1 < c2, got 0.5 and 0.4"),
            ("torch-CG", {"options": {"nystrom": 3}}, "knows"),
            ("torch-CG", {"hessp": True}, "takes no hessp"),
            ("torch-Newton-CG", {"hess": True}, "takes no hess"),
            ("torch-Newton-CG", {"hessp": False}, "needs hessp"),
            ("torch-Newton-CG", {"options": {"damping": -1.0}}, "a number of at least 0"),
            ("torch-Newton-CG", {"options": {"nystrom": 2.5}}, "a whole number of at least 0"),
            ("torch-trust-ncg", {"options": {"nystrom_every": 0}}, "a whole number of at least 1"),
            ("torch-trust-ncg", {"options": {"eta": 0.25}}, "below 0.25"),
            (
                "torch-trust-ncg",
                {"options": {"initial_trust_radius": 2e3}},
                "expected initial_trust_radius < max_trust_radius, got 2000 and 1000",
            ),
        ],
    )
    def test_before_anything_runs(self, method: str, args: dict[str, Any], said: str) -> None:
        with pytest.raises((ValueError, TypeError), match=said):
            MinimizeWrapper(rosenbrock().params, {"method": method, **args})

    @each
    def test_warm_starts(self, method: str) -> None:
        with pytest.raises(ValueError, match="warm_start"):
            MinimizeWrapper(rosenbrock().params, {"method": method}, warm_start=True)


@each
def test_it_can_be_the_local_search_of_a_global_one(method: str) -> None:
    instance = rosenbrock()
    optimizer = BasinHoppingWrapper(
        instance.params, {"method": method}, {"niter": 1, "stepsize": 0.1, "rng": 0}
    )
    optimizer.step(instance.closure(1))
    assert optimizer.res.fun < 1e-6


@each
def test_a_row_is_pickled_by_its_name(method: str) -> None:
    native = ROWS[method.lower()].native
    assert pickle.loads(pickle.dumps(native)) is native


@each
def test_a_start_that_is_not_finite_ends_the_run(method: str) -> None:
    x = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = MinimizeWrapper([x], {"method": method})
    with pytest.warns(RuntimeWarning, match="a loss of nan"):
        optimizer.step(lambda: (x * math.nan).sum())
    assert not optimizer.res.success
    assert optimizer.res.nit == 0


@each_second
def test_rejected_steps_are_no_steps_in_the_history(method: str) -> None:
    optimizer = stepped(method, rosenbrock(), options={"return_all": True})
    points = np.array(optimizer.res.allvecs)
    moved = np.linalg.norm(np.diff(points, axis=0), axis=1)
    np.testing.assert_allclose(optimizer.history.step_length, moved, rtol=1e-12)
    assert (moved == 0.0).any() == (method == "torch-trust-ncg")
