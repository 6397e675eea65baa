"""The local searches inside a global run: autograd, curvature, and nothing that is dropped."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.optimize
import torch
from instance import Instance
from landscapes import STYBLINSKI_TANG
from methods import ALL, CURVATURE
from searches import MAKE
from torch import Tensor

from pytorch_minimize.scipy_global.algorithms import ALGORITHMS
from pytorch_minimize.scipy_minimize.methods import METHODS

BOUNDS = STYBLINSKI_TANG.bounds(2)
KEYWORDS: dict[str, dict[str, Any]] = {
    "basinhopping": {"niter": 10, "stepsize": 4.0, "rng": 3},
    "shgo": {"bounds": BOUNDS, "n": 32, "sampling_method": "sobol"},
    "dual_annealing": {"bounds": BOUNDS, "maxiter": 20, "rng": 1, "polish": False},
}
SAMPLE: dict[str, dict[str, Any]] = {
    "differential_evolution": {"rng": 0},
    "shgo": {"n": 32, "sampling_method": "sobol"},
    "dual_annealing": {"rng": 0, "maxiter": 30, "no_local_search": True, "polish": True},
    "direct": {"maxfun": 300},
    "brute": {"Ns": 8},
}


def run(
    algorithm: str, instance: Instance, args: dict[str, Any], form: int = 2, **more: Any
) -> Any:
    optimizer = MAKE[algorithm](instance.params, args, KEYWORDS[algorithm] | more)
    optimizer.step(instance.closure(form))
    return optimizer


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Each local search of a named method: what minimize was given, and what it returned."""
    seen: list[Any] = []
    minimize = scipy.optimize.minimize

    def spy(fun: Any, x0: Any, **keywords: Any) -> Any:
        result = minimize(fun, x0, **keywords)
        if isinstance(keywords.get("method"), str):
            seen.append((keywords, result))
        return result

    monkeypatch.setattr(scipy.optimize, "minimize", spy)
    return seen


def test_the_table_says_who_searches_locally() -> None:
    assert set(KEYWORDS) == {name for name, row in ALGORITHMS.items() if row.local is not None}


# Every method inside one algorithm, and some of each kind inside the others.
INSIDE = [
    (algorithm, method)
    for algorithm in KEYWORDS
    for method in (ALL if algorithm == "shgo" else ("TNC", "COBYQA", "trust-exact"))
]


@pytest.mark.parametrize(("algorithm", "method"), INSIDE)
def test_every_method_runs_inside(algorithm: str, method: str) -> None:
    instance = STYBLINSKI_TANG.instance(2)
    optimizer = run(algorithm, instance, {"method": method})
    counts = optimizer.profile.counts
    assert optimizer.res.fun == pytest.approx(STYBLINSKI_TANG.minimum(2), abs=1e-4)
    assert (counts["jac"] > 0) == METHODS[method.lower()].gradient
    assert (counts["hess"] + counts["hessp"] > 0) == (method in CURVATURE)
    assert np.array_equal(instance.x, optimizer.res.x)
    if METHODS[method.lower()].gradient:
        np.testing.assert_allclose(instance.grad, instance.jac(instance.x), atol=1e-10)


@pytest.mark.parametrize("form", [1, 2, 3])
@pytest.mark.parametrize("algorithm", KEYWORDS)
def test_every_form_of_closure_walks_one_path(algorithm: str, form: int) -> None:
    instance, other = STYBLINSKI_TANG.instance(2), STYBLINSKI_TANG.instance(2)
    optimizer = run(algorithm, instance, {"method": "trust-exact"}, form)
    assert np.array_equal(instance.x, run(algorithm, other, {"method": "trust-exact"}).res.x)
    assert optimizer.res.success


@pytest.mark.parametrize("algorithm", [name for name in MAKE if name != "basinhopping"])
def test_sampled_points_record_no_graph(algorithm: str) -> None:
    instance = STYBLINSKI_TANG.instance(2)
    evaluate = instance.closure(2)
    graphs: list[bool] = []

    def closure() -> Tensor:
        loss = evaluate()
        graphs.append(loss.requires_grad)
        return loss

    MAKE[algorithm](instance.params, {}, {"bounds": BOUNDS} | SAMPLE[algorithm]).step(closure)
    # The first run is where a closure shows whether it differentiates; later ones are searches.
    assert graphs[0]
    assert not any(graphs[1:32])
    assert any(graphs[32:]) == (algorithm not in ("direct", "brute"))


def test_a_loss_that_differentiates_keeps_its_graph() -> None:
    """Physics-informed losses take derivatives of the model at every point."""
    x = torch.nn.Parameter(torch.tensor([2.0], dtype=torch.float64))

    def closure() -> Tensor:
        t = torch.linspace(0, 1, 5, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad((x**2 * t).sum(), t, create_graph=True)
        return ((slope - 1) ** 2).sum()

    MAKE["direct"]([x], {}, {"bounds": [(0.1, 3.0)], "maxfun": 300}).step(closure)
    assert x.item() == pytest.approx(1.0, abs=1e-2)


@pytest.mark.parametrize("method", ["Nelder-Mead", "L-BFGS-B", "COBYLA", "trust-constr"])
@pytest.mark.parametrize("algorithm", KEYWORDS)
def test_bounded_methods_get_the_global_bounds(
    algorithm: str, method: str, searches: list[Any]
) -> None:
    # The lowest minimum is outside, so that a search without bounds would leave the box.
    box = [(-2.0, 4.5), (-2.5, 4.5)]
    instance = STYBLINSKI_TANG.instance(2)
    evaluate = instance.closure(2)
    points: list[float] = []

    def closure() -> Tensor:
        points.append(instance.x.min())
        return evaluate()

    args, keywords = {"method": method}, KEYWORDS[algorithm] | {"bounds": box}
    if algorithm == "basinhopping":
        args["bounds"] = keywords.pop("bounds")
    optimizer = MAKE[algorithm](instance.params, args, keywords)
    optimizer.step(closure)
    assert searches
    assert all(np.array_equal(given["bounds"].lb, [-2.0, -2.5]) for given, _ in searches)
    assert np.all(instance.x >= [-2.0, -2.5])
    assert optimizer.res.fun < instance.fun(instance.x0)
    if METHODS[method.lower()].habits.keeps_bounds:
        assert min(points) >= -2.5


@pytest.mark.parametrize("algorithm", KEYWORDS)
def test_options_and_tol_hold(algorithm: str, searches: list[Any]) -> None:
    """shgo would drop maxiter, gtol and tol."""
    options = {"maxiter": 2, "gtol": 1e-3, "norm": 2}
    run(algorithm, STYBLINSKI_TANG.instance(2), {"method": "BFGS", "options": options, "tol": 0.5})
    assert searches
    assert all(given["tol"] == 0.5 for given, _ in searches)
    assert all(given["options"] == options for given, _ in searches)
    assert max(result.nit for _, result in searches) <= 2


@pytest.mark.parametrize("algorithm", KEYWORDS)
def test_tncs_maxiter_ends_a_search_and_not_the_run(algorithm: str) -> None:
    args = {"method": "TNC", "options": {"maxiter": 1}}
    optimizer = run(algorithm, STYBLINSKI_TANG.instance(2), args)
    assert "maxiter" not in optimizer.res.message
    assert optimizer.profile.counts["jac"] > 2


@pytest.mark.parametrize("algorithm", ["shgo", "dual_annealing"])
@pytest.mark.parametrize("jac", [True, False, None])
def test_any_jac_means_autograd(algorithm: str, jac: bool | None) -> None:
    args = {"method": "BFGS"} | ({} if jac is None else {"jac": jac})
    optimizer = run(algorithm, STYBLINSKI_TANG.instance(2), args)
    assert optimizer.profile.counts["jac"] > 0


@pytest.mark.parametrize("algorithm", ["shgo", "dual_annealing"])
def test_a_local_search_may_have_narrower_bounds(algorithm: str, searches: list[Any]) -> None:
    args = {"method": "L-BFGS-B", "bounds": [(None, 3.0), (-2.0, 9.0)]}
    instance = STYBLINSKI_TANG.instance(2)
    run(algorithm, instance, args)
    bounds = [given["bounds"] for given, _ in searches]
    assert bounds
    assert all(b.lb.tolist() == [-5.0, -2.0] and b.ub.tolist() == [3.0, 4.5] for b in bounds)


@pytest.mark.parametrize("algorithm", ["shgo", "dual_annealing"])
def test_bounds_that_do_not_meet_are_refused(algorithm: str) -> None:
    args = {"method": "L-BFGS-B", "bounds": [(None, 3.0), (7.0, 9.0)]}
    instance = STYBLINSKI_TANG.instance(2)
    with pytest.raises(ValueError, match=r"minimizer_args.*parameter 1 of group 0 has 7.0 and 9.0"):
        MAKE[algorithm](instance.params, args, KEYWORDS[algorithm])


@pytest.mark.parametrize("algorithm", KEYWORDS)
def test_the_local_minimisers_own_callback(algorithm: str, searches: list[Any]) -> None:
    """It sees the model at the local iterate, and ends one local search, not the run."""
    instance = STYBLINSKI_TANG.instance(2)
    told = 0

    def callback(intermediate_result: scipy.optimize.OptimizeResult) -> None:
        nonlocal told
        told += 1
        assert np.array_equal(instance.x, intermediate_result.x)
        assert instance.fun(instance.x) == intermediate_result.fun
        raise StopIteration

    optimizer = run(algorithm, instance, {"method": "BFGS", "callback": callback})
    assert told == len([result for _, result in searches if result.nit]) > 1
    assert all(result.nit <= 1 for _, result in searches)
    assert optimizer.res.get("status") != 99
    assert np.array_equal(instance.x, optimizer.res.x)


def test_hops_by_finite_differences_on_request() -> None:
    optimizer = run("basinhopping", STYBLINSKI_TANG.instance(2), {"method": "BFGS", "jac": False})
    assert optimizer.profile.counts["jac"] == 0
    assert optimizer.res.fun == pytest.approx(STYBLINSKI_TANG.minimum(2), abs=1e-6)


@pytest.mark.parametrize("algorithm", KEYWORDS)
def test_a_method_of_the_users_own(algorithm: str) -> None:
    calls = []

    def steepest(fun: Any, x0: Any, args: Any = (), *, jac: Any, **rest: Any) -> Any:
        calls.append(rest)
        x = np.array(x0)
        for _ in range(200):
            x = x - 0.01 * jac(x)
        return scipy.optimize.OptimizeResult(x=x, fun=fun(x), nit=200, success=True)

    optimizer = run(algorithm, STYBLINSKI_TANG.instance(2), {"method": steepest})
    assert calls
    assert optimizer.res.fun == pytest.approx(STYBLINSKI_TANG.minimum(2), abs=1e-4)


@pytest.mark.parametrize("method", ["BFGS", "TNC", "SLSQP"])
def test_float32_searches_that_end_at_the_limit_of_precision_count(method: str) -> None:
    """basinhopping takes successes alone, and float32 losses fail line searches."""
    instance = STYBLINSKI_TANG.instance(2, torch.float32)
    optimizer = run("basinhopping", instance, {"method": method})
    assert optimizer.res.success
    assert optimizer.res.fun == pytest.approx(STYBLINSKI_TANG.minimum(2), abs=1e-3)


def test_curvature_keywords_reach_the_local_search() -> None:
    instance = STYBLINSKI_TANG.instance(2)
    optimizer = MAKE["shgo"](instance.params, {"method": "Newton-CG"}, KEYWORDS["shgo"])
    replay = type(optimizer)(
        STYBLINSKI_TANG.instance(2).params,
        {"method": "Newton-CG"},
        KEYWORDS["shgo"],
        curvature="replay",
    )
    assert replay._settings.curvature == "replay"
    optimizer.step(instance.closure(1))
    assert optimizer.profile.counts["graph"] > 0
