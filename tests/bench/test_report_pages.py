"""The pages made from a report that lacks something."""

from __future__ import annotations

import pathlib
from typing import Any

import torch

from bench.environment import environment
from bench.figure import Figure
from bench.goals import goals
from bench.peers import OURS
from bench.problems import FITS

ROOT = pathlib.Path(__file__).parents[2]


def report_of(**rows: list[dict[str, Any]]) -> dict[str, Any]:
    here = environment() | {"repeats": 3}
    return {"environment": here, "cases": {name: {"rows": found} for name, found in rows.items()}}


def test_the_version_of_torch_names_its_build() -> None:
    assert environment()["versions"]["torch"] == torch.__version__


def test_the_fits_of_a_problem_that_is_not_there_have_its_note() -> None:
    from bench.pages import tables

    note = "examples/pinn.py of the source tree is needed"
    rows = {f"fit-{name}": [{"problem": name, "peer": OURS, "note": note}] for name in FITS}
    assert f"| Poisson network | ours | {note} |" in tables.fits(report_of(**rows))
    assert "Not measured: digits, logistic," in tables.wins(report_of(**rows))
    for make in (tables.splits, tables.kept):
        assert make(report_of(**rows))


def test_the_fastest_of_all_solvers_is_told_and_no_promise() -> None:
    def fit(peer: str, seconds: float) -> dict[str, Any]:
        figures = {"seconds": seconds, "loss": 1.0, "/ ours": seconds / 2.0}
        return {"peer": peer} | {key: Figure((value,)) for key, value in figures.items()}

    fits = [fit(OURS, 2.0), fit("botorch", 2.5), fit("torch LBFGS", 1.0)]
    by_scipy, by_any = goals({"fit-digits, MLP": fits})
    assert (by_scipy["measured"], by_scipy["kept"]) == ("0.800 ±0% of botorch", "yes")
    assert (by_any["measured"], by_any["kept"]) == ("2.000 ±0% of torch LBFGS", "-")


def test_what_stands_in_a_page_stays_where_a_case_has_no_rows() -> None:
    from bench.pages import __main__ as pages

    page = "<!-- memory -->\n\nold\n\n<!-- /memory -->"
    for report in (report_of(), report_of(memory=[])):
        assert pages.rewritten(page, report) == page


def test_the_tables_of_our_solvers_are_made_of_what_was_measured() -> None:
    from bench.pages import solvers

    here = environment()
    losses = (1e-3, 1e-9, 1e-5)
    rows = [
        {
            "problem": "sine",
            "solver": "SSBFGS",
            "seed": seed,
            "loss": loss,
            "relative L2": 2 * loss,
            "evaluations an iteration": 1.0 + seed,
        }
        for seed, loss in enumerate(losses)
    ]
    pairs = [
        {"problem": "p", "solver": "s", "seed": seed, "start": start, "relative L2": error}
        for seed, (warm, cold) in enumerate([(1.0, 2.0), (1.0, 8.0), (3.0, 4.0)])
        for start, error in (("warm", warm), ("cold", cold))
    ]
    measured = {"n": 500, "solver": "SSBFGS", "ms": 0.25, "times scipy": 100.0}
    report = {
        "cases": {
            "pinn": {"environment": here, "rows": rows, "redrawn": pairs},
            "iterations": {"environment": here, "threads": 2, "rows": [measured]},
        }
    }
    assert "| SSBFGS | 1.0e-05 / 2.0e-05 | 3.00 |" in solvers.pinn(report)
    assert "| p | s | 1.0e+00 | 4.0e+00 | 0.12 to 0.75 |" in solvers.redrawn(report)
    assert "| 500 | SSBFGS | 0.25 | 100 |  |  |" in solvers.iterations(report)
