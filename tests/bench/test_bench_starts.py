"""What bench/starts.py measures: both ways of each problem come to the same end."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from bench.starts import PROBLEMS, acquisitions, main, times


def test_rounds_are_few_and_the_ends_are_those_of_single_runs() -> None:
    rows = times(4, 1, ["torch-BFGS"])
    assert [row["problem"] for row in rows] == list(PROBLEMS)
    for row in rows:
        assert row["batched"] < row["closures"] / 2
        assert row["end, batched"] == pytest.approx(row["end"], rel=0.5, abs=1e-4)


def test_the_report_says_what_was_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--starts", "2", "--rounds", "1", "--methods", "L-BFGS-B", "--out", str(tmp_path)])
    report = json.loads((tmp_path / "starts.json").read_text(encoding="utf-8"))
    assert len(report["times"]) == len(PROBLEMS)
    installed = importlib.util.find_spec("botorch") is not None
    assert ("acquisitions" in report) == installed
    assert ("botorch is not installed" in capsys.readouterr().out) != installed


def test_acquisition_functions_end_no_lower_than_with_botorch() -> None:
    pytest.importorskip("botorch", reason="an optional peer of the benchmark")
    for row in acquisitions(4):
        assert row["ours"] >= row["botorch"] - 1e-6 * abs(row["botorch"])
