"""examples/pinn.py: segments with points drawn anew, on a short run of a small network."""

from __future__ import annotations

import pathlib
import re
from types import ModuleType

import pytest
import torch
from example import load_example

pytest.importorskip("matplotlib", reason="the extra 'plot' is not installed")


@pytest.fixture(scope="module")
def pinn() -> ModuleType:
    return load_example("pinn")


def test_the_equation(pinn: ModuleType) -> None:
    points = torch.rand(9, 2, dtype=torch.float64)
    x, y = points.unbind(-1)
    values = pinn.left_side(lambda p: p[:, 0] ** 2 * p[:, 1] ** 3, points)
    laplacian = 2 * y**3 + 6 * x**2 * y
    assert torch.allclose(values, x**6 * y**9 - laplacian, rtol=1e-13)


def test_boundary_values(pinn: ModuleType) -> None:
    side = torch.linspace(0, 1, 5, dtype=torch.float64)
    edge = torch.cartesian_prod(side, side[[0, -1]])
    for points in (edge, edge.flip(-1)):
        assert pinn.exact(points).abs().max() < 1e-14
        assert not pinn.Network(width=4)(points).any()


@pytest.mark.parametrize("method", ["SSBroyden", "BFGS"])
def test_segments_beat_lbfgs(
    pinn: ModuleType, method: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "pinn.png"
    short = "--segments 2 --iterations 80 --adam 100 --points 150 --width 8"
    pinn.main([*short.split(), "--method", method, "--png", str(file)])
    printed = capsys.readouterr().out
    assert f" {method}  calls  torch.optim.LBFGS\n" in printed
    assert f"relative L2 error: {method} " in printed
    rows = re.findall(r"^ +\d +(\d+) +(\S+) +(\d+) +(\S+)$", printed, re.MULTILINE)
    (calls, first, _, _), (more_calls, last, their_calls, theirs) = rows
    # torch.optim.LBFGS counts only after a line search.
    assert 0 <= int(their_calls) - int(more_calls) < 25
    assert int(more_calls) - int(calls) >= 80
    assert float(last) < float(first)
    assert 2 * float(last) < float(theirs)
    assert file.read_bytes().startswith(b"\x89PNG")
