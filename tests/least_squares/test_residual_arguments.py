"""Keywords of least squares: the table against scipy, and what is refused before anything runs."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import torch
from torch import nn

from pytorch_minimize.least_squares.losses import LOSSES
from pytorch_minimize.least_squares.methods import METHODS
from pytorch_minimize.optim import LeastSquaresWrapper

SCIPYS = {name for name, row in METHODS.items() if row.native is None}


def made(kwargs: Any = None, **more: Any) -> LeastSquaresWrapper:
    x = nn.Parameter(torch.ones(3, dtype=torch.float64))
    return LeastSquaresWrapper([x], kwargs, **more)


def test_every_keyword_of_scipy_is_known() -> None:
    parameters = set(inspect.signature(scipy.optimize.least_squares).parameters)
    known = set().union(*(METHODS[name].options or () for name in SCIPYS))
    assert parameters - known == {"fun", "x0"}


def test_every_loss_of_scipy_is_known() -> None:
    with pytest.raises(ValueError, match="must be one of") as caught:
        scipy.optimize.least_squares(np.sin, np.ones(1), loss="?")
    assert all(f"'{name}'" in str(caught.value) for name in LOSSES)


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"method": "levenberg"}, "expected one of trf, dogbox, lm, torch-lm"),
        ({"method": "L-BFGS-B"}, "methods that minimise a loss are MinimizeWrapper's"),
        ({"maxiter": 3}, "maxiter is taken by torch-gauss-newton-cg"),
        ({"x0": 1}, "x0 is the parameters' current values"),
        ({"timeout": 1.0}, "timeout is a keyword of the optimizer itself"),
        ({"f_tol": 1e-3}, "did you mean ftol"),
        ({"method": "lm", "bounds": (0, 1)}, "lm takes"),
        ({"method": "lm", "loss": "huber"}, "loss='linear'"),
        ({"method": "lm", "tr_solver": "lsmr"}, "tr_solver is taken by trf, dogbox"),
        ({"method": "lm", "gtol": 1e-17}, "each of ftol, xtol and gtol"),
        ({"ftol": None, "xtol": None, "gtol": None}, "one of ftol, xtol and gtol"),
        ({"method": "torch-lm", "jac": "2-point"}, "jac: expected True or absent"),
        ({"method": "torch-lm", "jac": "operator"}, "jac: expected True or absent"),
        (
            {"method": "lm", "jac": "2-point", "callback": print},
            "with scipy's differences lm of scipy",
        ),
        ({"jac": "cs"}, "complex steps of 'cs'"),
        ({"jac": "column"}, "did you mean columns"),
        ({"jac": "operator", "tr_solver": "exact"}, "products alone"),
        ({"method": "lm", "jac": "operator"}, "products alone"),
        ({"diff_step": 1e-3}, "only beside scipy's differences"),
        ({"jac_sparsity": np.eye(3)}, "only beside scipy's differences"),
        ({"loss": "hubert"}, "did you mean huber"),
        ({"f_scale": 0.0}, "f_scale: expected a positive number"),
        ({"x_scale": [1.0, -1.0, 1.0]}, "x_scale: expected"),
        ({"x_scale": [1.0, 2.0]}, r"x_scale: expected a number or an array of shape \(3,\)"),
        ({"jac": "2-point", "jac_sparsity": np.eye(2)}, "expected 3 columns"),
        ({"max_nfev": 0}, "max_nfev: expected a whole number of at least 1"),
        ({"verbose": 3}, "verbose: expected one of 0, 1, 2"),
        ({"tr_solver": "svd"}, "tr_solver: expected one of exact, lsmr"),
        ({"bounds": (1.0, 0.0)}, "bound"),
        ({"bounds": [(0, 1), (0, 1), (0, 1)]}, r"expected \(lower, upper\)"),
        ({"method": "torch-gauss-newton-cg", "eta": 0.5}, "eta: expected"),
        (
            {"method": "torch-gauss-newton-cg", "initial_trust_radius": 2e3},
            "initial_trust_radius < max_trust_radius",
        ),
    ],
    ids=str,
)
def test_refused(kwargs: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        made(kwargs)


def test_of_the_wrong_type() -> None:
    with pytest.raises(TypeError, match="expected a dict, got str; write dict"):
        made("trf")
    with pytest.raises(TypeError, match="callback: expected a callable"):
        made({"callback": 3})
    with pytest.raises(TypeError, match="max_nfev belongs in least_squares_kwargs"):
        made(max_nfev=3)


@pytest.mark.parametrize(
    ("keyword", "match"),
    [
        ({"distributed": True, "weight": 3.0}, r"leave out weight=3\. .* by sqrt\(w\)"),
        ({"distributed": True, "reduction": "mean"}, r"leave it out, or say .* by sqrt\(2 / m\)"),
        ({"warm_start": True}, "keep no inverse Hessian"),
        ({"captured_graph": True}, "no graph of autograd's"),
    ],
)
def test_keywords_of_others(keyword: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        made(**keyword)


def test_group_bounds_need_a_method_that_takes_them() -> None:
    x = nn.Parameter(torch.ones(3, dtype=torch.float64))
    with pytest.raises(ValueError, match="lm takes no bounds; methods that do: trf, dogbox"):
        LeastSquaresWrapper([{"params": [x], "bounds": (0, 1)}], {"method": "lm"})
    optimizer = LeastSquaresWrapper([x], {"method": "torch-gauss-newton-cg"})
    y = nn.Parameter(torch.ones(3, dtype=torch.float64))
    with pytest.raises(ValueError, match="takes no bounds"):
        optimizer.add_param_group({"params": [y], "bounds": (0, 1)})


def test_equal_bounds_are_refused_before_anything_moves() -> None:
    x = nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer = LeastSquaresWrapper([x], {"bounds": ([0.5, 0.0, 0.0], [0.5, 1.0, 1.0])})
    with pytest.raises(ValueError, match="1 of 3 variables"):
        optimizer.step(lambda: x)
    assert x.tolist() == [1.0, 1.0, 1.0]


def test_what_the_user_gave_is_not_written_to() -> None:
    scale, options = np.array([1.0, 2.0, 3.0]), {"regularize": True}
    kwargs = {"x_scale": scale, "tr_options": options, "bounds": (np.zeros(3), np.full(3, 9.0))}
    before = dict(kwargs)
    optimizer = made(kwargs | {"tr_solver": "exact"})
    (x,) = optimizer.param_groups[0]["params"]
    optimizer.step(lambda: x**2 - 2.0)
    assert kwargs == before
    assert scale.tolist() == [1.0, 2.0, 3.0]
    assert options == {"regularize": True}
    assert optimizer.state_dict()["run"]["arguments"]["method"] == "trf"


def test_numbers_in_other_forms() -> None:
    optimizer = made({"max_nfev": 1e2, "ftol": torch.tensor(1e-6), "x_scale": torch.ones(3)})
    (x,) = optimizer.param_groups[0]["params"]
    optimizer.step(lambda: x**2 - 2.0)
    assert optimizer.res.success


def test_it_is_the_public_one() -> None:
    import pytorch_minimize

    assert pytorch_minimize.LeastSquaresWrapper is LeastSquaresWrapper
    assert "ClosureResiduals" in dir(pytorch_minimize)


def test_print_says_how_it_was_made() -> None:
    optimizer = made({"loss": "huber", "f_scale": 2.0}, timeout=3.0)
    first = repr(optimizer).splitlines()[0]
    assert first == "LeastSquaresWrapper(method=trf, loss='huber', f_scale=2.0, timeout=3.0)"
