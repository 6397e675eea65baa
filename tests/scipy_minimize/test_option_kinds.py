"""Values of options: kinds and sizes, beside what the installed scipy takes for them."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import torch
from methods import CURVATURE
from plain import VERSION
from torch import nn

from pytorch_minimize.optim import MinimizeWrapper
from pytorch_minimize.scipy_global.algorithms import ALGORITHMS
from pytorch_minimize.scipy_minimize.methods import METHODS
from pytorch_minimize.scipy_minimize.option_kinds import KEYWORD_KINDS, OPTION_KINDS, checked_values


def parameter() -> nn.Parameter:
    return nn.Parameter(torch.tensor([0.5, -0.5], dtype=torch.float64))


# (method, options, what is said)
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    *(
        (row.name, {"maxiter": "10"}, "maxiter: expected a whole number")
        for row in METHODS.values()
    ),
    ("BFGS", {"maxiter": -1}, "maxiter: expected a whole number of at least 0, got -1"),
    ("BFGS", {"maxiter": True}, "maxiter: expected a whole number .*got True"),
    ("BFGS", {"maxiter": 1.5}, "maxiter: expected a whole number .*got 1.5"),
    ("TNC", {"maxfev": "5"}, "maxfun: expected a whole number"),
    ("SLSQP", {"maxiter": np.inf}, "maxiter: expected a finite number for SLSQP"),
    ("L-BFGS-B", {"maxcor": 0}, "maxcor: expected a whole number of at least 1"),
    ("BFGS", {"gtol": "1e-9"}, "gtol: expected a number, got '1e-9'"),
    ("SLSQP", {"ftol": float("nan")}, "ftol: expected a number, got nan"),
    ("BFGS", {"gtol": [1e-9]}, r"gtol: expected a number, got \[1e-09\]"),
    ("BFGS", {"return_all": "no"}, "return_all: expected True or False"),
    ("L-BFGS-B", {"disp": "no"}, "disp: expected a bool or a whole number"),
    ("BFGS", {"hess_inv0": np.eye(3)}, r"hess_inv0: expected an array of shape \(2, 2\)"),
    ("BFGS", {"hess_inv0": "eye"}, "hess_inv0: expected a number or an array of numbers"),
    ("Powell", {"direc": np.eye(3)}, r"direc: expected an array of shape \(2, 2\)"),
    ("Nelder-Mead", {"initial_simplex": np.eye(2)}, r"expected an array of shape \(3, 2\)"),
    ("TNC", {"scale": [1.0, 2.0, 3.0]}, r"scale: expected an array of shape \(2,\)"),
    ("trust-constr", {"factorization_method": "QR"}, "did you mean QRFactorization"),
    ("L-BFGS-B", {"max_iter": 3}, "did you mean maxiter"),
    ("L-BFGS-B", {"history_size": 3}, "did you mean maxcor"),
    ("L-BFGS-B", {"tolerance_grad": 3}, "did you mean gtol"),
    ("BFGS", {"tol": 1e-3}, "tol belongs in minimizer_args"),
    ("BFGS", {"timeout": 3}, "timeout is a keyword of the optimizer itself"),
]


@pytest.mark.parametrize(("method", "options", "message"), REFUSED)
def test_options_that_are_refused(method: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"options: .*{message}"):
        MinimizeWrapper([parameter()], {"method": method, "options": options})


def test_sizes_are_looked_at_again_where_parameters_were_frozen() -> None:
    x, y, runs = parameter(), parameter(), []
    options = {"hess_inv0": np.eye(4)}
    optimizer = MinimizeWrapper([x, y], {"method": "BFGS", "options": options})
    y.requires_grad_(False)
    with pytest.raises(ValueError, match=r"shape \(2, 2\) for the 2 variables.*\(4, 4\)"):
        optimizer.step(lambda: runs.append(1) or x.square().sum())  # type: ignore[func-returns-value]
    assert not runs


# What scipy takes, and what we make of it where scipy itself takes only ints.
TAKEN: list[tuple[str, dict[str, Any]]] = [
    ("BFGS", {"maxiter": None, "gtol": None, "norm": np.inf, "xrtol": np.float32(0)}),
    ("BFGS", {"norm": -np.inf, "gtol": -1, "maxiter": np.array(5), "hess_inv0": [[2, 0], [0, 2]]}),
    ("BFGS", {"maxiter": 1e2, "gtol": torch.tensor(1e-6), "disp": 0, "eps": np.full(2, 1e-8)}),
    ("L-BFGS-B", {"maxiter": np.int64(50), "maxfun": np.inf, "ftol": 0, "disp": None}),
    ("COBYLA", {"maxiter": 100.0, "catol": None, "f_target": -np.inf}),
    ("TNC", {"maxiter": np.inf, "maxfun": 50.0, "maxCGit": -1, "rescale": -1, "scale": [1, 2]}),
    ("Nelder-Mead", {"maxiter": np.inf, "maxfev": 50, "adaptive": np.bool_(True)}),
    ("COBYQA", {"maxfev": 40.0, "scale": False}),
    ("trust-constr", {"verbose": 0, "sparse_jacobian": True, "factorization_method": None}),
    ("Newton-CG", {"xtol": np.float64(1e-6), "maxiter": torch.tensor(20)}),
]


@pytest.mark.parametrize(("method", "options"), TAKEN)
def test_options_that_are_taken(method: str, options: dict[str, Any]) -> None:
    if "f_target" in options and VERSION < (1, 16):
        pytest.skip("COBYLA knows no f_target before 1.16")
    x = parameter()
    before = x.square().sum().item()
    optimizer = MinimizeWrapper(
        [x], {"method": method, "tol": np.float32(1e-4), "options": options}
    )
    assert optimizer.step(lambda: x.square().sum()).item() < before


def test_what_is_refused_would_have_been_believed() -> None:
    """scipy calls a NaN tolerance a convergence at the start."""
    res = scipy.optimize.minimize(
        lambda x: x @ x, [3.0], method="BFGS", options={"gtol": float("nan")}
    )
    assert res.success
    assert res.x == 3.0


OF_METHODS = {
    "Nelder-Mead": "_optimize._minimize_neldermead",
    "Powell": "_optimize._minimize_powell",
    "CG": "_optimize._minimize_cg",
    "BFGS": "_optimize._minimize_bfgs",
    "L-BFGS-B": "_lbfgsb_py._minimize_lbfgsb",
    "TNC": "_tnc._minimize_tnc",
    "COBYLA": "_cobyla_py._minimize_cobyla",
    "COBYQA": "_cobyqa_py._minimize_cobyqa",
    "SLSQP": "_slsqp_py._minimize_slsqp",
    "Newton-CG": "_optimize._minimize_newtoncg",
    **dict.fromkeys(CURVATURE[1:], "_trustregion._minimize_trust_region"),
    "trust-constr": "_trustregion_constr.minimize_trustregion_constr._minimize_trustregion_constr",
}


def defaults(function: Any) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


@pytest.mark.parametrize("method", OF_METHODS)
def test_every_option_has_a_kind_and_scipys_default_is_of_it(method: str) -> None:
    options = METHODS[method.lower()].options
    assert options <= OPTION_KINDS.keys()
    module, _, name = OF_METHODS[method].rpartition(".")
    theirs = defaults(getattr(importlib.import_module(f"scipy.optimize.{module}"), name))
    # A bare object stands for a deprecated option that was left out.
    stated = {
        name: value
        for name, value in theirs.items()
        if name in options and value is not None and type(value) is not object
    }
    assert len(checked_values("options", stated, OPTION_KINDS, method)) >= 3


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_scipys_defaults_of_a_global_optimiser_are_of_their_kinds(algorithm: str) -> None:
    theirs = defaults(getattr(scipy.optimize, algorithm))
    known = {name: value for name, value in theirs.items() if name in KEYWORD_KINDS}
    assert checked_values(algorithm, known, KEYWORD_KINDS, algorithm) == known != {}
