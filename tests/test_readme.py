"""The README's examples run as they are printed."""

from __future__ import annotations

import pathlib
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(2, 1)
        self.log_noise = nn.Parameter(torch.tensor(-5.0))

    def forward(self, points: Tensor) -> Tensor:
        result: Tensor = self.body(points) + self.log_noise.exp()
        return result


def test_every_picture_is_there() -> None:
    pictures = re.findall(r"!\[[^]]+\]\((.+?)\)", README)
    assert len(pictures) >= 7
    for picture in pictures:
        assert (ROOT / picture).read_bytes().startswith(b"\x89PNG")


def example(heading: str, names: dict[str, Any]) -> None:
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    exec(code, names)


@pytest.fixture
def names() -> dict[str, Any]:
    """After the first example."""
    inputs = torch.randn(20, 2)
    names: dict[str, Any] = {
        "torch": torch,
        "model": Model().double(),
        "inputs": inputs.double(),
        "targets": inputs.double().sum(1, keepdim=True),
        "corners": torch.zeros(1, 2, dtype=torch.float64),
        "loss_fn": nn.functional.mse_loss,
        "validate": lambda model: model.body.weight.tolist(),
    }
    example("Use", names)
    return names


def test_bounds_and_constraints(names: dict[str, Any]) -> None:
    example("Bounds and constraints", names)
    names["optimizer"].step(names["closure"])
    model = names["model"]
    assert model(names["corners"]).abs().item() < 1e-6
    assert model.body.weight.square().sum().item() < 4.0
    assert model.log_noise.item() >= -6.0


def test_global_optimisers(names: dict[str, Any]) -> None:
    example("Global optimisers", names)
    optimizer = names["optimizer"]
    assert optimizer.res.success
    assert optimizer.res.fun < 1e-4
    assert optimizer.profile.counts["vectorized"] > 1
    assert -6.0 <= names["model"].log_noise.item() <= 0.0


def test_many_processes(
    names: dict[str, Any], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = f"file://{tmp_path / 'store'}"
    start = torch.distributed.init_process_group
    alone = {"init_method": store, "rank": 0, "world_size": 1}
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda: start("gloo", **alone))
    try:
        example("Many processes", names)
        assert names["optimizer"].res.success
        assert names["optimizer"].profile.counts["reduce"] == names["optimizer"].res.nfev
    finally:
        torch.distributed.destroy_process_group()


def test_see_stop_and_resume(
    names: dict[str, Any],
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("matplotlib", reason="the extra 'plot' is not installed")
    monkeypatch.chdir(tmp_path)
    unfinished = names["MinimizeWrapper"](
        names["model"].parameters(), {"method": "BFGS"}, max_evaluations=1
    )
    nn.init.ones_(names["model"].body.bias)
    unfinished.step(names["closure"])
    torch.save(unfinished.state_dict(), "run.pt")
    capsys.readouterr()
    example("See, stop and resume a run", names)
    assert names["optimizer"].res.status == 99
    assert "[[" in capsys.readouterr().out
