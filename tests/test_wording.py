"""Near misses of names, and values of any length, in what messages say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pytorch_minimize.scipy_global.algorithms import ALGORITHMS
from pytorch_minimize.scipy_minimize.methods import METHODS
from pytorch_minimize.wording import listed, nearest, shown

NAMES = [row.name for row in METHODS.values()]
LBFGSB = sorted(METHODS["l-bfgs-b"].options)
DE = list(ALGORITHMS["differential_evolution"].keywords)


@pytest.mark.parametrize(
    ("given", "known", "meant"),
    [
        ("LBFGS", NAMES, "L-BFGS-B"),
        ("l-bfgs", NAMES, "L-BFGS-B"),
        ("lbfgsb", NAMES, "L-BFGS-B"),
        ("method_bfgs", NAMES, "BFGS"),
        ("Nelder Mead", NAMES, "Nelder-Mead"),
        ("conjugate gradient", NAMES, "CG"),
        ("newton", NAMES, "Newton-CG"),
        ("trustexact", NAMES, "trust-exact"),
        ("max_iter", LBFGSB, "maxiter"),
        ("max_eval", LBFGSB, "maxfun"),
        ("history_size", LBFGSB, "maxcor"),
        ("tolerance_grad", LBFGSB, "gtol"),
        ("tolerance_change", LBFGSB, "ftol"),
        ("population", DE, "popsize"),
        ("mutations", DE, "mutation"),
        ("jacobian", ["type", "fun", "jac", "args"], "jac"),
        ("Adam", NAMES, None),
        ("x", LBFGSB, None),
    ],
)
def test_the_nearest_name(given: str, known: list[str], meant: str | None) -> None:
    assert nearest(given, known) == meant


@pytest.mark.parametrize(
    "value",
    [
        [1.5] * 10**6,
        np.zeros(10**6),
        [np.zeros(10**6)] * 1000,
        torch.zeros(10**6),
        nn.Parameter(torch.zeros(900)),
        "name" * 10**6,
        {"a": {"b": [[list(range(1000))]]}},
        dict.fromkeys(range(1000), "x" * 1000),
        nn.Sequential(*[nn.Linear(2, 2) for _ in range(1000)]),
        nn.LazyLinear(2).weight,
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_of_any_length_fit_a_line(value: Any) -> None:
    assert len(shown(value)) < 1000
    assert "\n" not in shown(value)


def test_short_values_are_shown_as_they_are() -> None:
    for value in ("10", 3, None, [(0, 1), (0, None)], {"a": 1.5}, np.float64(2.0)):
        assert shown(value) == repr(value)
    assert listed(range(3)) == "0, 1, 2"
