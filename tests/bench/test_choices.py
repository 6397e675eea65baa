"""The page that says which method to take: it knows all of them, and its figures are measured."""

from __future__ import annotations

import json
import pathlib

import pytest

from bench.choices import LEAVES, rows_of_leaf
from pytorch_minimize.scipy_minimize.methods import _CLASSES, METHODS
from pytorch_minimize.solvers.methods import ROWS

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "which-method.md").read_text(encoding="utf-8")


def test_it_names_every_method() -> None:
    names = {row.name for row in (METHODS | ROWS).values()}
    names |= {sentence.split()[0] for sentence in _CLASSES.values()}
    assert {name for name in names if name not in PAGE} == set()


def test_every_leaf_has_its_table() -> None:
    report = json.loads((ROOT / "bench" / "results" / "choices.json").read_text(encoding="utf-8"))
    measured = {row["leaf"] for row in report["rows"]}
    assert measured == {*LEAVES, "wide"}
    for leaf in measured:
        table = PAGE.split(f"<!-- choice_{leaf} -->")[1].split(f"<!-- /choice_{leaf} -->")[0]
        solvers = [row["solver"] for row in report["rows"] if row["leaf"] == leaf]
        assert all(f"| {solver} |" in table for solver in solvers)


@pytest.mark.parametrize(("leaf", "first"), [("saddle", "trust-exact"), ("bounds", "L-BFGS-B")])
def test_a_leaf_is_led_by_whom_the_page_names(leaf: str, first: str) -> None:
    rows = {row["solver"]: row for row in rows_of_leaf(leaf)}
    assert rows[first]["reached"]
    others = [row["runs"] for name, row in rows.items() if "torch" not in name and name != first]
    assert rows[first]["runs"] < min(others)
