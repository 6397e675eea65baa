"""examples/rastrigin.py: the pictures of the global optimisers at work."""

from __future__ import annotations

import pathlib
import re
from types import ModuleType

import pytest
from example import load_example

pytest.importorskip("matplotlib", reason="the extra 'plot' is not installed")


@pytest.fixture(scope="module")
def rastrigin() -> ModuleType:
    return load_example("rastrigin")


def test_each_optimiser_finds_the_minimum_and_is_drawn(
    rastrigin: ModuleType, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rastrigin.main(["--folder", str(tmp_path)])
    printed = capsys.readouterr().out
    rows = re.findall(r"^(\w.*?)  +(\S+e\S+) +(\S+), (\S+) +(\d+) +(\d+)", printed, re.MULTILINE)
    assert [row[0] for row in rows] == list(rastrigin.SEARCHES)
    for name, loss, x, y, evaluations, gradients in rows:
        assert abs(float(loss)) < 1e-6
        assert max(abs(float(x)), abs(float(y))) < 1e-4
        assert (int(gradients) > 0) == (name not in ("DIRECT", "Brute force"))
        assert 0 <= int(gradients) <= int(evaluations)
    pictures = sorted(tmp_path.iterdir())
    assert len(pictures) == len(rows) == 6
    for picture in pictures:
        assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_picture_shows_every_evaluation(rastrigin: ModuleType) -> None:
    search, optimizer = rastrigin.run(rastrigin.SEARCHES["SHGO"])
    assert search.evaluations == optimizer.profile.counts["closure"]
    figure = rastrigin.draw("SHGO", search)
    surface, *markers = figure.axes[0].collections
    assert surface.get_array().max() < 100
    assert [m.get_label() for m in markers] == ["loss alone", "loss and gradient", "minimum found"]
    sampled, searched, found = (m.get_offsets() for m in markers)
    assert len(sampled) + len(searched) == search.evaluations
    assert abs(found[0]).max() < 1e-6
    low, high = rastrigin.BOX
    for points in (sampled, searched):
        assert low <= points.min() <= points.max() <= high
