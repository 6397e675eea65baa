"""NIST's problems as they are read, digits as they are counted, tables of what was measured."""

from __future__ import annotations

import math

import pytest
import torch

from bench.nist import PROBLEMS, correct_digits
from bench.pages.tables import TABLES
from bench.residuals import digits, jacobians

ENVIRONMENT = {
    "date": "2026-01-01",
    "machine": {"cpu": "a CPU", "cores": 2, "load": 0.5},
    "versions": {"torch": "2", "scipy": "1", "numpy": "2"},
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_certified_parameters_leave_the_certified_sum_of_squares(name: str) -> None:
    problem = PROBLEMS[name]
    certified = torch.tensor(problem.certified, dtype=torch.float64)
    left = problem.residuals(certified).square().sum().item()
    assert left == pytest.approx(problem.sum_of_squares, rel=1e-7)
    assert len(problem.deviations) == len(problem.certified) == len(problem.starts[0])


def test_digits() -> None:
    assert correct_digits([1.0, 2.0], [1.0, 2.0]) == 11.0
    assert correct_digits([1.0, 2.002], [1.0, 2.0]) == 3.0
    assert correct_digits([math.nan], [1.0]) == -math.inf


def test_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench import residuals

    monkeypatch.setattr(residuals, "PROBLEMS", {"Misra1a": PROBLEMS["Misra1a"]})
    monkeypatch.setattr(residuals, "_whole", lambda residuals, width: (9.0, 1.25))
    found = digits()
    assert [row["start"] for row in found] == [1, 2]
    assert found[0]["torch-lm"]["parameters"] >= 6.0
    rows = jacobians(30, 3, 1)
    report = {"cases": {"residuals": {"environment": ENVIRONMENT, "digits": found, "rows": rows}}}
    nist, taken = (TABLES[name][1](report).splitlines() for name in ("nist", "jacobians"))
    assert nist[2].startswith("| Misra1a, 1 | ")
    assert taken[2].startswith("| columns (what auto takes) | ")
    assert taken[2].endswith(" | 1.25 |")
    assert taken[-1].startswith("30 residuals by 25 parameters, one thread; a CPU")
