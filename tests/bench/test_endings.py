"""The statuses of docs/guide/why-it-stopped.md, provoked."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.optimize._lsq.least_squares import TERMINATION_MESSAGES as OF_SQUARES
from scipy.optimize._tnc import RCSTRINGS
from scipy.optimize._trustregion_constr.minimize_trustregion_constr import TERMINATION_MESSAGES
from torch import Tensor

from bench.pages.endings import STOPS, Stop, of_family, ours
from pytorch_minimize import LeastSquaresWrapper, MinimizeWrapper, optim
from pytorch_minimize.least_squares.levenberg_rules import MESSAGES
from pytorch_minimize.least_squares.methods import METHODS as OF_RESIDUALS
from pytorch_minimize.run.endings import Ending
from pytorch_minimize.scipy_minimize.methods import METHODS
from pytorch_minimize.solvers.methods import ROWS

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "why-it-stopped.md"
FAMILIES = {method: stops for methods, stops in STOPS.values() for method in methods}
OF_LOSSES = [method for method in FAMILIES if method not in OF_RESIDUALS]
# Its statuses are others in scipy 1.15 and since; the page says what to go by.
IN_WORDS = {"COBYLA"}


def bowl(x: Tensor) -> Tensor:
    return ((x - 1.0) ** 2).sum() + (x[0] - x[1]) ** 4


def shallow(x: Tensor) -> Tensor:
    """Falls for long, along a valley."""
    return 100.0 * (x[1] - x[0] ** 2) ** 2 + (1.0 - x[0]) ** 2


def ended(
    method: str,
    loss: Callable[[Tensor], Tensor] = bowl,
    dtype: torch.dtype = torch.float64,
    options: Mapping[str, Any] | None = None,
    **arguments: Any,
) -> Any:
    x = torch.nn.Parameter(torch.tensor([-1.2, 1.0], dtype=dtype))
    optimizer = MinimizeWrapper([x], {"method": method, "options": options or {}, **arguments})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        optimizer.step(lambda: loss(x))
    return optimizer.res


def fitted(
    method: str,
    residuals: Callable[[Tensor], Tensor] | None = None,
    start: tuple[float, float] = (-1.2, 1.0),
    **arguments: Any,
) -> Any:
    """By least squares; of the residuals whose squares ``shallow`` adds up, and one that stays."""
    x = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
    optimizer = LeastSquaresWrapper([x], {"method": method, **arguments})
    of = residuals or (
        lambda x: torch.stack([10.0 * (x[1] - x[0] ** 2), 1.0 - x[0], 1.0 + 0 * x[0]])
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        optimizer.step(lambda: of(x))
    return optimizer.res


def stop_of(method: str, res: Any) -> Stop:
    """The row that says so."""
    found = [
        stop
        for stop in FAMILIES[method]
        if (stop.status, stop.success) == (res.status, res.success)
        and stop.message in res.message
        and (not stop.only or method in stop.only)
    ]
    assert found, f"{method}: no row for {res.status}, {res.success}, {res.message!r}"
    return found[0]


def test_each_method_has_its_table() -> None:
    known = {row.name for row in (METHODS | ROWS | OF_RESIDUALS).values()}
    assert FAMILIES.keys() | IN_WORDS == known


@pytest.mark.parametrize("method", OF_LOSSES)
def test_success(method: str) -> None:
    assert stop_of(method, ended(method)).success


@pytest.mark.parametrize("method", OF_LOSSES)
def test_a_limit_of_the_method(method: str) -> None:
    limit = {"maxfun": 3} if method == "TNC" else {"maxiter": 2}
    assert not stop_of(method, ended(method, shallow, options=limit)).success


@pytest.mark.parametrize("method", ["L-BFGS-B", "torch-L-BFGS", "SS-L-BFGS"])
def test_both_tests_and_both_limits_of_limited_memory(method: str) -> None:
    for options, words in (
        ({"ftol": 0.0}, "NORM OF PROJECTED GRADIENT"),
        ({"gtol": 0.0, "ftol": 1e-3}, "RELATIVE REDUCTION"),
        ({"maxfun": 3}, "EVALUATIONS EXCEEDS LIMIT"),
    ):
        assert words in stop_of(method, ended(method, shallow, options=options)).message


@pytest.mark.parametrize("method", ["Nelder-Mead", "Powell", "COBYQA"])
def test_evaluations_of_methods_of_values(method: str) -> None:
    stop = stop_of(method, ended(method, shallow, options={"maxfev": 20}))
    assert "function evaluations" in stop.message


@pytest.mark.parametrize("method", ["BFGS", "CG", "torch-BFGS", "SSBFGS", "SSBroyden", "torch-CG"])
def test_float32_ends_by_precision_loss(method: str) -> None:
    res = ended(method, lambda x: shallow(x) + 1.0, torch.float32, {"gtol": 1e-14})
    assert stop_of(method, res).status == 2


@pytest.mark.parametrize("method", ["trf", "dogbox", "lm", "torch-lm"])
def test_least_squares(method: str) -> None:
    tiny = 1e-15
    for status, options in (
        (0, {"max_nfev": 3}),
        (1, {"ftol": tiny, "xtol": tiny}),
        (2, {"ftol": 0.3, "gtol": tiny, "xtol": tiny}),
        (3, {"ftol": tiny, "gtol": tiny, "xtol": 0.3}),
    ):
        assert stop_of(method, fitted(method, **options)).status == status


@pytest.mark.parametrize("method", ["lm", "torch-lm"])
def test_least_squares_by_both_tests(method: str) -> None:
    def far(x: Tensor) -> Tensor:
        return torch.cat([x - 1.0, 10.0 + 0.0 * x[:1]])

    res = fitted(method, far, (1.00001, 1.0), ftol=1e-2, xtol=1e-2, gtol=1e-15)
    assert stop_of(method, res).status == 4


def test_a_jacobian_that_is_not_finite_at_the_start() -> None:
    def root(x: Tensor) -> Tensor:
        return torch.stack([x[0].sqrt() + 1.0, x[1] - 3.0, x[0] * x[1]])

    assert stop_of("torch-lm", fitted("torch-lm", root, (0.0, 1.0))).status == -3
    assert fitted("trf", root, (0.0, 1.0)).status == Ending.NONFINITE.status


def test_gauss_newton_has_the_statuses_of_a_trust_region() -> None:
    method = "torch-gauss-newton-cg"
    assert stop_of(method, fitted(method)).status == 0
    assert stop_of(method, fitted(method, maxiter=2)).status == 1


def test_constraints_that_no_point_satisfies() -> None:
    apart = [{"type": "ineq", "fun": lambda x, sign=sign: sign * x[0] - 3.0} for sign in (1, -1)]
    equal = [{"type": "eq", "fun": lambda x, at=at: x[0] - at} for at in (2.0, 3.0)]
    for constraints in (apart, equal, [equal[0]] * 2):
        assert not stop_of("SLSQP", ended("SLSQP", constraints=constraints)).success


def test_what_runs_end_by_rarely_is_said_as_scipy_says_it() -> None:
    for stop in FAMILIES["TNC"]:
        assert RCSTRINGS[stop.status].startswith(stop.message)
    for stop in FAMILIES["trust-constr"]:
        assert TERMINATION_MESSAGES[stop.status] == stop.message


def test_least_squares_say_it_as_scipy_says_it() -> None:
    for stop in FAMILIES["trf"]:
        assert MESSAGES[stop.status] == stop.message
        assert stop.only or OF_SQUARES[stop.status] == stop.message


def test_cobyla_by_its_words() -> None:
    assert ended("COBYLA").success
    assert not ended("COBYLA", options={"maxiter": 5}).success


@pytest.mark.parametrize(
    ("make", "keywords"),
    [
        (optim.BasinHoppingWrapper, {"basinhopping_kwargs": {"niter": 2, "rng": 0}}),
        (optim.DifferentialEvolutionWrapper, {"de_kwargs": {"rng": 0}}),
        (optim.DifferentialEvolutionWrapper, {"de_kwargs": {"rng": 0, "maxiter": 2}}),
        (optim.SHGOWrapper, {}),
        (optim.DualAnnealingWrapper, {"da_kwargs": {"rng": 0, "maxiter": 10}}),
        (optim.DirectWrapper, {"direct_kwargs": {"maxfun": 50}}),
        (optim.DirectWrapper, {"direct_kwargs": {"maxiter": 10}}),
        (optim.BruteWrapper, {"brute_kwargs": {"Ns": 4}}),
    ],
)
def test_the_page_has_what_a_global_optimiser_says(
    make: type[Any], keywords: Mapping[str, Any]
) -> None:
    x = torch.nn.Parameter(torch.tensor([1.5, -0.5], dtype=torch.float64))
    optimizer = make([{"params": [x], "bounds": (-3.0, 3.0)}], **keywords)
    optimizer.step(lambda: (x**2).sum() + torch.cos(3.0 * x).sum())
    said = optimizer.res.message
    text = said if isinstance(said, str) else said[0]
    assert text.partition("=")[0] in PAGE.read_text(encoding="utf-8")


def test_the_tables_have_all_of_ours() -> None:
    lines = ours({"cases": {}}).splitlines()
    assert len(lines) == len(Ending) + 2
    for table, (_, stops) in STOPS.items():
        assert len(of_family({"cases": {}}, table).splitlines()) == len(stops) + 2
