"""examples/multistart.py: starts, paths and ends."""

from __future__ import annotations

import pathlib
import re
from types import ModuleType

import numpy as np
import pytest
import torch
from example import load_example

pytest.importorskip("matplotlib", reason="the extra 'plot' is not installed")


@pytest.fixture(scope="module")
def multistart() -> ModuleType:
    return load_example("multistart")


def test_both_fits_are_told_and_drawn(
    multistart: ModuleType, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    multistart.main(["--folder", str(tmp_path), "--starts", "32", "6"])
    printed = capsys.readouterr().out
    pattern = r"^(\w.*?)  +(\d+) +(\d+) +(\d+) +(\S+) +(\S+) +(\d+)$"
    rows = re.findall(pattern, printed, re.MULTILINE)
    assert [row[0] for row in rows] == ["Gaussian process", "network"]
    for (_, starts, batched, evaluations, best, median, same), wanted in zip(
        rows, (32, 6), strict=True
    ):
        assert int(starts) == wanted
        assert int(batched) < int(evaluations)
        assert float(best) <= float(median)
        assert 1 <= int(same) <= wanted
    (picture,) = tmp_path.iterdir()
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_period_of_the_data_is_found(multistart: ModuleType) -> None:
    process = multistart.Process.sampled()
    optimizer, paths = multistart.fit_process(process, 32)
    period = float(np.exp(optimizer.res.x[0] / multistart.SCALE))
    assert period == pytest.approx(multistart.PERIOD, rel=0.02)
    (low, high), _ = multistart.BOX
    for res in optimizer.results:
        path = paths[res.run]
        assert np.array_equal(path[0], optimizer.starts[res.run])
        assert len(path) == res.nit + 1
        assert low <= res.x[0] <= high
    # Most starts end elsewhere.
    ends = np.array([res.fun for res in optimizer.results])
    assert (ends > ends[0] + 1e-3).sum() > len(ends) // 2


def test_many_points_have_the_losses_of_each(multistart: ModuleType) -> None:
    process = multistart.Process.sampled()
    points = multistart.SCALE * torch.rand(5, 2, dtype=torch.float64)
    alone = torch.stack([process.loss(point) for point in points])
    torch.testing.assert_close(process.loss(points), alone)
