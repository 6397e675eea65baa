"""The table of algorithms against scipy, and keywords that are not understood."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import scipy.optimize
from landscapes import RASTRIGIN
from searches import MAKE
from torch import nn

from pytorch_minimize.scipy_global.algorithms import ALGORITHMS

ALL = list(ALGORITHMS)
BOUNDS = RASTRIGIN.bounds(2)
# seed is scipy's older name of rng, which may go; bounds in the place of brute's ranges is ours,
# and so is a polish of dual_annealing.
OLDER, OURS = {"seed"}, {"polish", "bounds"}


@pytest.mark.parametrize("algorithm", ALL)
def test_the_table_knows_what_scipy_takes(algorithm: str) -> None:
    row = ALGORITHMS[algorithm]
    theirs = set(inspect.signature(getattr(scipy.optimize, algorithm)).parameters)
    known = set(row.keywords) | set(row.elsewhere)
    assert theirs - OLDER - {"polish"} <= known
    assert known <= theirs | OLDER | OURS


def test_the_options_of_shgo() -> None:
    instance = RASTRIGIN.instance(2)
    for name in ALGORITHMS["shgo"].options:
        MAKE["shgo"](instance.params, {}, {"bounds": BOUNDS, "options": {name: None}})
    with pytest.raises(ValueError, match=r"shgo's options.*'tol'"):
        MAKE["shgo"](instance.params, {}, {"bounds": BOUNDS, "options": {"tol": 1}})


def keywords(algorithm: str) -> dict[str, Any]:
    return {} if algorithm == "basinhopping" else {"bounds": BOUNDS}


@pytest.mark.parametrize("algorithm", ALL)
def test_an_unknown_keyword(algorithm: str) -> None:
    instance = RASTRIGIN.instance(2)
    with pytest.raises(ValueError, match=r"keywords.*popsizes"):
        MAKE[algorithm](instance.params, {}, keywords(algorithm) | {"popsizes": 3})


@pytest.mark.parametrize(
    "algorithm", [row.name for row in ALGORITHMS.values() if "seed" in row.keywords]
)
def test_rng_and_its_older_name(algorithm: str) -> None:
    instance = RASTRIGIN.instance(2)
    with pytest.raises(ValueError, match="rng and seed say the same thing"):
        MAKE[algorithm](instance.params, {}, keywords(algorithm) | {"rng": 1, "seed": 1})


@pytest.mark.parametrize("algorithm", ALL)
def test_a_keyword_that_is_stated_elsewhere(algorithm: str) -> None:
    instance = RASTRIGIN.instance(2)
    for name in ALGORITHMS[algorithm].elsewhere:
        with pytest.raises(ValueError, match=rf"{algorithm}'s keywords: {name}: "):
            MAKE[algorithm](instance.params, {}, keywords(algorithm) | {name: 1})


@pytest.mark.parametrize("algorithm", ALL)
def test_something_else_than_a_dict(algorithm: str) -> None:
    instance = RASTRIGIN.instance(2)
    with pytest.raises(TypeError, match="expected a dict, got list"):
        MAKE[algorithm](instance.params, {}, [("niter", 3)])  # type: ignore[arg-type]


@pytest.mark.parametrize("algorithm", ["basinhopping", "shgo", "dual_annealing"])
@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"method": "newton"}, "expected one of Nelder-Mead"),
        ({"method": "CG", "options": {"maxfun": 3}}, r"CG knows .*got \['maxfun'\]"),
        ({"method": "CG", "callbacks": print}, "callbacks"),
        ({"method": "Powell", "jac": lambda x: x}, "Powell uses no gradient"),
    ],
)
def test_a_local_minimiser_that_is_not_understood(
    algorithm: str, args: dict[str, Any], message: str
) -> None:
    instance = RASTRIGIN.instance(2)
    with pytest.raises(ValueError, match=message):
        MAKE[algorithm](instance.params, args, keywords(algorithm))


@pytest.mark.parametrize("algorithm", ALL)
def test_a_run_keyword_that_is_unknown(algorithm: str) -> None:
    row, instance = ALGORITHMS[algorithm], RASTRIGIN.instance(2)
    cls: Callable[..., Any] = type(MAKE[algorithm](instance.params, {}, keywords(algorithm)))
    local: tuple[dict[str, Any], ...] = ({},) if row.local is not None else ()
    with pytest.raises(TypeError, match=r"timeout.*\['time_out'\]"):
        cls(instance.params, *local, keywords(algorithm), time_out=3)


@pytest.mark.parametrize("algorithm", ALL)
def test_no_parameters(algorithm: str) -> None:
    with pytest.raises(ValueError, match="empty parameter list"):
        MAKE[algorithm]([], {}, keywords(algorithm))


def test_a_loss_without_a_gradient_where_a_search_needs_one() -> None:
    x = nn.Parameter(RASTRIGIN.instance(2).params[1].detach().clone())
    optimizer = MAKE["basinhopping"]([x], {"method": "BFGS"}, {"niter": 1})
    with pytest.raises(RuntimeError, match="the method needs a gradient"):
        optimizer.step(lambda: float(x.detach() ** 2))
