"""The picture of the first page."""

from __future__ import annotations

import json
import pathlib

import pytest

from bench import first

RESULTS = pathlib.Path(__file__).parents[2] / "bench" / "results" / "first.json"


@pytest.mark.parametrize("name", first.OPTIMIZERS)
def test_a_course_has_an_entry_for_each_call_and_never_rises(name: str) -> None:
    lowest = first.course(name, seed=0, calls=8)
    assert len(lowest) == 8
    assert lowest == sorted(lowest, reverse=True)
    assert lowest[-1] < lowest[0]


def test_all_begin_at_the_same_loss() -> None:
    starts = {first.course(name, seed=1, calls=1)[0] for name in first.OPTIMIZERS}
    assert len(starts) == 1


def test_what_is_drawn_was_measured_with_as_many_calls_for_each() -> None:
    rows = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"]
    assert {row["calls"] for row in rows} == {1500}
    assert {(row["optimizer"], row["seed"]) for row in rows} == {
        (name, seed) for name in first.OPTIMIZERS for seed in range(3)
    }


def test_every_line_is_named(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra 'plot' is not installed")
    rows = [first.row(name, seed=0, calls=3) for name in first.OPTIMIZERS]
    (axes,) = first.draw(rows).axes
    assert [text.get_text() for text in axes.texts] == list(first.OPTIMIZERS)
    assert len(axes.lines) == len(rows)
