"""On float64 parameters a global run is that of plain scipy, but for a polish of ours."""

from __future__ import annotations

from typing import Any

import numpy as np
import plain
import pytest
import scipy.optimize
from instance import Instance
from landscapes import ACKLEY, EGGHOLDER, RASTRIGIN, Landscape
from searches import MAKE

from pytorch_minimize.optim import BasinHoppingWrapper, BruteWrapper, DualAnnealingWrapper

# What both get; budgets are small, since a path is long enough to show a difference.
KEYWORDS: dict[str, dict[str, Any]] = {
    "basinhopping": {"niter": 8, "stepsize": 2.0, "rng": 3},
    "differential_evolution": {"popsize": 6, "maxiter": 30, "rng": 3, "polish": False},
    "shgo": {"n": 32, "sampling_method": "sobol"},
    "dual_annealing": {"maxiter": 40, "rng": 3},
    "direct": {"maxfun": 400},
    "brute": {"Ns": 12},
}


def scipys(algorithm: str, fun: Any, jac: Any, x0: Any, bounds: Any) -> Any:
    """scipy alone, told what our wrappers tell it: gradients, bounds of local searches, x0."""
    keywords = KEYWORDS[algorithm]
    if algorithm == "basinhopping":
        local = {"method": "L-BFGS-B", "jac": jac, "bounds": bounds}
        return plain.call(algorithm, fun, x0, minimizer_kwargs=local, **keywords)
    if algorithm == "shgo":
        local = {"method": "SLSQP", "jac": jac, "options": {"ftol": 1e-12}}
        return plain.call(algorithm, fun, bounds, minimizer_kwargs=local, **keywords)
    if algorithm == "dual_annealing":
        local = {"method": "L-BFGS-B", "jac": jac, "bounds": bounds, "options": {"maxiter": 100}}
        return plain.call(algorithm, fun, bounds, x0=x0, minimizer_kwargs=local, **keywords)
    if algorithm == "differential_evolution":
        return plain.call(algorithm, fun, bounds, x0=x0, **keywords)
    if algorithm == "direct":
        return plain.call(algorithm, fun, bounds, **keywords)
    x, value, grid, values = plain.call(
        algorithm, fun, tuple(bounds), full_output=True, finish=None, **keywords
    )
    return scipy.optimize.OptimizeResult(x=x, fun=value, grid=grid, grid_values=values)


def ours(algorithm: str, instance: Instance, landscape: Landscape) -> Any:
    bounds = landscape.bounds(instance.x.size)
    if algorithm == "basinhopping":
        local, keywords = {"method": "L-BFGS-B", "bounds": bounds}, KEYWORDS[algorithm]
    else:
        local, keywords = {}, {"bounds": bounds, **KEYWORDS[algorithm]}
    if algorithm == "dual_annealing":
        keywords |= {"polish": False}
    if algorithm == "brute":
        keywords |= {"finish": None}
    optimizer = MAKE[algorithm](instance.params, local, keywords)
    optimizer.step(instance.closure(2))
    return optimizer


@pytest.mark.parametrize("landscape", [ACKLEY, EGGHOLDER], ids=str)
@pytest.mark.parametrize("algorithm", KEYWORDS)
def test_the_path_is_scipys(algorithm: str, landscape: Landscape) -> None:
    instance, twin = landscape.instance(2), landscape.instance(2)
    theirs = scipys(algorithm, twin.fun, twin.jac, twin.x0, landscape.bounds(2))
    optimizer = ours(algorithm, instance, landscape)
    res = optimizer.res
    assert np.array_equal(res.x, theirs.x)
    assert np.array_equal(instance.x, theirs.x)
    assert res.fun == theirs.fun
    # direct's x is scaled to its bounds anew at the end, which may round otherwise.
    assert instance.fun(instance.x) == pytest.approx(res.fun, rel=1e-13)
    for name in ("nfev", "nit", "njev", "nlfev", "nljev", "message", "success", "status"):
        if name in theirs:
            assert res[name] == theirs[name], name
    for name in ("xl", "funl", "population", "population_energies", "grid", "grid_values"):
        if name in theirs:
            assert np.array_equal(res[name], theirs[name]), name


@pytest.mark.parametrize("method", ["CG", "TNC", "SLSQP", "Powell"])
def test_hops_with_other_local_methods(method: str) -> None:
    instance, twin = RASTRIGIN.instance(2), RASTRIGIN.instance(2)
    keywords = KEYWORDS["basinhopping"]
    jac = None if method in ("Nelder-Mead", "Powell") else twin.jac
    local = {"method": method, "jac": jac}
    theirs = plain.call("basinhopping", twin.fun, twin.x0, minimizer_kwargs=local, **keywords)
    optimizer = BasinHoppingWrapper(instance.params, {"method": method}, keywords)
    optimizer.step(instance.closure(1))
    assert np.array_equal(instance.x, theirs.x)
    for count in ("nfev", "nit", "njev", "minimization_failures"):
        assert optimizer.res.get(count) == theirs.get(count), count


def test_annealing_alone() -> None:
    instance, twin = ACKLEY.instance(2), ACKLEY.instance(2)
    bounds = ACKLEY.bounds(2)
    keywords = {"maxiter": 50, "no_local_search": True, "rng": 1}
    theirs = plain.call("dual_annealing", twin.fun, bounds, x0=twin.x0, **keywords)
    optimizer = DualAnnealingWrapper(instance.params, {}, {"bounds": bounds, **keywords})
    optimizer.step(instance.closure(2))
    assert np.array_equal(instance.x, theirs.x)
    assert optimizer.res.nfev == theirs.nfev


def test_brute_finishes_as_scipy_does_from_ranges() -> None:
    instance, twin = ACKLEY.instance(2), ACKLEY.instance(2)
    ranges = (slice(-4.0, 4.0, 0.7), (-3.0, 3.5))
    theirs = plain.call("brute", twin.fun, ranges, Ns=9, full_output=True)
    optimizer = BruteWrapper(instance.params, {"ranges": ranges, "Ns": 9})
    optimizer.step(instance.closure(2))
    assert np.array_equal(instance.x, theirs[0])
    assert np.array_equal(optimizer.res.grid_values, theirs[3])


def test_basin_hopping_in_scipys_own_terms() -> None:
    """``take_step``, ``accept_test`` and adaptive steps are scipy's, on the flat vector."""

    def take_step(x: Any) -> Any:
        return x + np.array([0.9, -0.4])

    def accept_test(f_new: float, x_new: Any, f_old: float, x_old: Any) -> bool:
        return bool(np.all(np.abs(x_new) < 3.0))

    keywords = {"niter": 6, "take_step": take_step, "accept_test": accept_test, "rng": 0}
    instance, twin = RASTRIGIN.instance(2), RASTRIGIN.instance(2)
    local = {"method": "BFGS", "jac": twin.jac}
    theirs = plain.call("basinhopping", twin.fun, twin.x0, minimizer_kwargs=local, **keywords)
    optimizer = BasinHoppingWrapper(instance.params, {"method": "BFGS"}, keywords)
    optimizer.step(instance.closure(2))
    assert np.array_equal(instance.x, theirs.x)
    assert optimizer.res.nfev == theirs.nfev
