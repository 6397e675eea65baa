"""NIST's certified regressions: parameters to 6 digits and standard deviations to 4."""

from __future__ import annotations

import warnings

import pytest

from bench.nist import PROBLEMS, correct_digits
from pytorch_minimize.optim import LeastSquaresWrapper

TIGHT = {"ftol": 3e-16, "xtol": 3e-16, "gtol": 3e-16, "max_nfev": 20000}


@pytest.mark.parametrize("start", [1, 2])
@pytest.mark.parametrize("method", ["trf", "lm", "torch-lm"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_certified_digits(name: str, method: str, start: int) -> None:
    problem = PROBLEMS[name]
    b = problem.start(start)
    optimizer = LeastSquaresWrapper([b], {"method": method, "x_scale": "jac", **TIGHT})
    with warnings.catch_warnings():
        # Far away from the solution models overflow, and the solvers step back.
        warnings.simplefilter("ignore", RuntimeWarning)
        optimizer.step(lambda: problem.residuals(b))
    assert correct_digits(b.tolist(), problem.certified) >= 6.0
    assert correct_digits(optimizer.covariance().errors, problem.deviations) >= 4.0
    assert 2.0 * optimizer.res.cost == pytest.approx(problem.sum_of_squares, rel=1e-6)
