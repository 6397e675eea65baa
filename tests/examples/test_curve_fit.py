"""examples/curve_fit.py: NIST's numbers, certified results, a picture."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from example import load_example

pytest.importorskip("matplotlib", reason="the extra 'plot' is not installed")
NIST = Path(__file__).parents[1] / "data" / "nist.json"


@pytest.fixture(scope="module")
def curve_fit() -> ModuleType:
    return load_example("curve_fit")


def test_the_numbers_are_nists(curve_fit: ModuleType) -> None:
    given = json.loads(NIST.read_text("utf-8"))["Thurber"]
    assert [list(curve_fit.MOBILITY), list(curve_fit.LOG_DENSITY)] == given["observations"]
    assert list(curve_fit.START) == given["starts"][0]
    assert list(curve_fit.CERTIFIED) == given["parameters"]
    assert list(curve_fit.DEVIATIONS) == given["deviations"]


@pytest.mark.parametrize("method", ["trf", "torch-lm"])
def test_it_prints_the_certified_results_and_draws(
    curve_fit: ModuleType, method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    curve_fit.draw(method, tmp_path)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    values = np.array([row[1:] for row in rows if row[0] in list("abcdefg")], dtype=float)
    assert values.shape == (7, 4)
    assert np.allclose(values[:, 0], values[:, 2], rtol=1e-6)
    assert np.allclose(values[:, 1], values[:, 3], rtol=1e-4)
    assert (tmp_path / "curve-fit.png").read_bytes().startswith(b"\x89PNG")


def test_the_band_is_that_of_the_parameters_errors(curve_fit: ModuleType) -> None:
    x, y = (
        torch.tensor(values, dtype=torch.float64)
        for values in (curve_fit.LOG_DENSITY, curve_fit.MOBILITY)
    )
    model, optimizer = curve_fit.fit("trf", x, y)
    curve, width = curve_fit.band(model, optimizer, torch.zeros(1, dtype=torch.float64))
    # At x = 0 the curve is the first parameter.
    assert curve[0] == pytest.approx(curve_fit.CERTIFIED[0], rel=1e-6)
    assert width[0] == pytest.approx(2 * curve_fit.DEVIATIONS[0], rel=1e-4)
