"""examples/digits.py: the main job, on real data."""

from __future__ import annotations

import pathlib
import re
from types import ModuleType

import pytest
import torch
from example import load_example


@pytest.fixture(scope="module")
def digits() -> ModuleType:
    return load_example("digits")


# The least loss of the logistic problem with seed 0: its gradient is below 1e-9 there.
OPTIMUM = 0.259481026


@pytest.mark.parametrize("method", ["L-BFGS-B", "TNC", "trust-ncg"])
def test_methods_of_each_kind_find_one_optimum(digits: ModuleType, method: str) -> None:
    data = digits.load("cpu", torch.float64, seed=0)
    model = digits.make_model("logistic", "cpu", torch.float64, seed=0)
    optimizer = digits.fit(model, data, method)
    assert optimizer.res.success
    assert abs(optimizer.res.fun - OPTIMUM) < 1e-6
    assert digits.objective(model, data).item() == optimizer.res.fun
    assert digits.accuracy(model, data) > 0.96


def test_float32_finds_it_too(digits: ModuleType) -> None:
    data = digits.load("cpu", torch.float32, seed=0)
    model = digits.make_model("logistic", "cpu", torch.float32, seed=0)
    optimizer = digits.fit(model, data, "L-BFGS-B")
    assert abs(optimizer.res.fun - OPTIMUM) < 1e-5


def test_the_optimum_does_not_depend_on_the_start(digits: ModuleType) -> None:
    data = digits.load("cpu", torch.float64, seed=0)
    model = digits.make_model("logistic", "cpu", torch.float64, seed=1)
    assert abs(digits.fit(model, data, "L-BFGS-B").res.fun - OPTIMUM) < 1e-6


def test_the_command_prints_its_report(
    digits: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    digits.main(["--model", "both", "--method", "tnc", "--seed", "3"])
    out, err = capsys.readouterr()
    for name in ("logistic: 650 parameters", "mlp: 2410 parameters"):
        assert name in out
    for line in ("train loss", "iterations", "evaluations", "closure", "solver", "total"):
        assert out.count(line) >= 2
    accuracies = [float(a) for a in re.findall(r"test accuracy +(\S+)", out)]
    assert len(accuracies) == 2
    assert min(accuracies) > 0.95
    # The progress line is drawn on stderr, so that stdout is the report alone.
    assert "loss" in err
    assert "loss" not in re.sub(r"train loss", "", out)


def test_a_fit_that_was_saved_goes_on(digits: ModuleType, tmp_path: pathlib.Path) -> None:
    data = digits.load("cpu", torch.float64, seed=0)
    file = tmp_path / "logistic.pt"
    evaluations = []
    for seed in (0, 1):
        model = digits.make_model("logistic", "cpu", torch.float64, seed)
        optimizer = digits.fit(model, data, "L-BFGS-B", file)
        assert abs(optimizer.res.fun - OPTIMUM) < 1e-6
        evaluations.append(optimizer.res.nfev)
    assert evaluations[1] < evaluations[0] / 2
    assert len(optimizer.history.segments) == 2


@pytest.mark.parametrize("device", ["mps", "nowhere"])
def test_a_device_that_is_missing_is_named(
    digits: ModuleType, device: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if device == "mps" and torch.backends.mps.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(SystemExit):
        digits.main(["--device", device])
    assert f"error: --device {device}: " in capsys.readouterr().err
