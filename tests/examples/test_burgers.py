"""examples/burgers.py: the solution to compare with, the network's own values, a short run."""

from __future__ import annotations

import math
import pathlib
import re
from types import ModuleType

import pytest
import torch
from example import load_example

pytest.importorskip("matplotlib", reason="the extra 'plot' is not installed")


@pytest.fixture(scope="module")
def burgers() -> ModuleType:
    return load_example("burgers")


def test_the_equation(burgers: ModuleType) -> None:
    points = burgers.draw_points(9, seed=1)
    t, x = points.unbind(-1)
    values = burgers.residual(lambda p: p[:, 0] ** 2 * p[:, 1] ** 3, points)
    by_hand = 2 * t * x**3 + 3 * t**4 * x**5 - burgers.VISCOSITY * 6 * t**2 * x
    assert torch.allclose(values, by_hand, rtol=1e-12, atol=1e-15)


def test_the_exact_solution(burgers: ModuleType) -> None:
    # In the shock, where u_x is up to 152 and terms of the equation are up to 10^4.
    points = burgers.draw_points(400, seed=1) * torch.tensor([0.99, 0.2]) + torch.tensor([0.01, 0])
    assert burgers.residual(burgers.exact, points).abs().max() < 1e-8
    x = torch.linspace(-1, 1, 11, dtype=torch.float64)
    for t in (0.0, 0.3, 1.0):
        values = burgers.exact(torch.stack([torch.full_like(x, t), x], -1))
        assert values[[0, 5, 10]].abs().max() < 1e-14
        if t == 0.0:
            assert torch.allclose(values, -torch.sin(math.pi * x), atol=1e-14)
    # The steepest slope at x = 0 and when, as Basdevant et al. (1986) give them.
    at = torch.tensor([[1.6037 / math.pi, 0.0]], dtype=torch.float64, requires_grad=True)
    (slopes,) = torch.autograd.grad(burgers.exact(at).sum(), at)
    assert abs(slopes[0, 1].item() + 152.00516) < 1e-4


def test_the_network_has_the_initial_and_boundary_values(burgers: ModuleType) -> None:
    network = burgers.Network(width=4)
    x = torch.linspace(-1, 1, 11, dtype=torch.float64)
    at_start = network(torch.stack([torch.zeros_like(x), x], -1))
    assert torch.equal(at_start, -torch.sin(math.pi * x))
    for side in (-1.0, 0.0, 1.0):
        points = torch.stack([torch.rand_like(x), torch.full_like(x, side)], -1)
        assert network(points).abs().max() < 1e-15
    points = burgers.draw_points(9, seed=1)
    mirrored = points * torch.tensor([1.0, -1.0])
    assert torch.allclose(network(mirrored), -network(points), rtol=1e-13)


def test_ssbroyden_beats_the_others(
    burgers: ModuleType, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "burgers.png"
    short = "--segments 2 --calls 80 --adam 200 --points 200 --seed 2"
    burgers.main([*short.split(), "--png", str(file)])
    printed = capsys.readouterr().out
    rows = re.findall(r"^ *(\d+)((?: +\d\.\d\de-\d\d){4})$", printed, re.MULTILINE)
    assert [int(calls) for calls, _ in rows] == [80, 160]
    summary = re.findall(r"^(\S+) +(\d\S+) +(\d+) +\S+$", printed, re.MULTILINE)
    assert [name for name, _, _ in summary] == list(burgers.SOLVERS)
    assert [error for _, error, _ in summary] == rows[-1][1].split()
    # torch.optim.LBFGS counts only after a line search.
    assert all(160 <= int(calls) < 185 for _, _, calls in summary)
    errors = {name: float(error) for name, error, _ in summary}
    assert 2 * errors["SSBroyden"] < min(errors["Adam"], errors["torch.optim.LBFGS"])
    assert file.read_bytes().startswith(b"\x89PNG")
