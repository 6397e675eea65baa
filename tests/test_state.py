"""Saving a run, resuming it, and going on with what the last one learned."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from problems import rosenbrock
from torch import Tensor

from pytorch_minimize.optim import MinimizeWrapper


def test_a_restored_optimizer_goes_on_from_the_best_point() -> None:
    first, second = rosenbrock(), rosenbrock()
    options = {"method": "L-BFGS-B", "options": {"maxiter": 5}}
    optimizer = MinimizeWrapper(first.params, options, rtol=1e-9)
    optimizer.step(first.closure(1))
    state = optimizer.state_dict()
    other = MinimizeWrapper(second.params, {"method": "BFGS"})
    other.load_state_dict(state)
    assert np.array_equal(second.x, second.x0)  # not before the step
    other.step(second.closure(1))
    optimizer.step(first.closure(1))
    assert repr(other) == repr(optimizer)
    assert other.res.nit == optimizer.res.nit == 5
    assert np.array_equal(second.x, first.x)
    assert other.history.loss.tolist() == optimizer.history.loss.tolist()


def test_a_state_that_was_loaded_can_be_saved_again() -> None:
    first, second = rosenbrock(), rosenbrock()
    optimizer = MinimizeWrapper(first.params, {"method": "BFGS"})
    optimizer.step(first.closure(1))
    other = MinimizeWrapper(second.params, {"method": "BFGS"})
    other.load_state_dict(optimizer.state_dict())
    saved = other.state_dict()["state"]
    assert np.array_equal(torch.cat([s["best"].flatten() for s in saved.values()]), first.x)
    other.step(second.closure(1))
    assert np.array_equal(second.x, first.x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_state_of_another_dtype(dtype: torch.dtype) -> None:
    source, target = rosenbrock(torch.float64), rosenbrock(dtype)
    optimizer = MinimizeWrapper(source.params, {"method": "BFGS"})
    optimizer.step(source.closure(1))
    other = MinimizeWrapper(target.params, {"method": "Nelder-Mead"}, max_evaluations=1)
    other.load_state_dict(optimizer.state_dict())
    starts: list[Any] = []

    def closure() -> Tensor:
        starts.append(target.x)
        return target.closure(2)()

    other.step(closure)
    expected = [p.detach().to(dtype).double().flatten() for p in source.params]
    assert np.array_equal(starts[0], torch.cat(expected).numpy())


def test_the_state_loads_without_trusting_it(tmp_path: Path) -> None:
    instance = rosenbrock()
    file = tmp_path / "run.pt"
    optimizer = MinimizeWrapper(instance.params, {"method": "BFGS"}, checkpoint=(file, 0))
    optimizer.step(instance.closure(1))
    state = torch.load(file, weights_only=True)
    assert np.array_equal(
        torch.cat([s["best"].flatten() for s in state["state"].values()]), instance.x
    )
    assert list(tmp_path.iterdir()) == [file]


def test_a_checkpoint_is_of_the_best_point_so_far(tmp_path: Path) -> None:
    instance = rosenbrock()
    file = tmp_path / "run.pt"
    optimizer = MinimizeWrapper(instance.params, {"method": "CG"}, checkpoint=(file, 0))
    losses: list[float] = []

    def closure() -> Tensor:
        if losses:
            assert torch.load(file)["run"]["loss"] == min(losses)
        loss = instance.closure(1)()
        losses.append(loss.item())
        return loss

    optimizer.step(closure)
    assert len(losses) > 20


def test_a_folder_that_is_missing_is_told_before_the_run(tmp_path: Path) -> None:
    instance = rosenbrock()
    optimizer = MinimizeWrapper(
        instance.params, {"method": "CG"}, checkpoint=(tmp_path / "no" / "run.pt", 1.0)
    )
    with pytest.raises(FileNotFoundError, match="checkpoint"):
        optimizer.step(lambda: pytest.fail("the closure ran"))


def test_a_kill_at_any_moment_leaves_a_readable_file(tmp_path: Path) -> None:
    """One process is forked a hundred times from a warm parent and killed at random moments."""
    rng = np.random.default_rng(0)
    start = rosenbrock()
    worst = start.fun(start.x0)
    script = Path(__file__).with_name("killed_run.py")
    with subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        for trial in range(100):
            parent.stdin.write(f"{trial} {rng.uniform(0.0, 0.03)}\n")
            parent.stdin.flush()
            assert parent.stdout.readline().strip() == str(-signal.SIGKILL)
            file = tmp_path / f"{trial}.pt"
            state = torch.load(file)
            assert state["run"]["loss"] <= worst
            best = torch.cat([saved["best"].flatten() for saved in state["state"].values()])
            assert start.fun(best.numpy()) == state["run"]["loss"]
        parent.stdin.close()


def test_bfgs_starts_from_the_last_inverse_hessian() -> None:
    instance, cold = rosenbrock(), rosenbrock()
    optimizer = MinimizeWrapper(instance.params, {"method": "BFGS"}, warm_start=True)
    optimizer.step(instance.closure(1))
    for tensor, other in zip(instance.params, cold.params, strict=True):
        tensor.data.add_(0.01)
        other.data.copy_(tensor.data)
    optimizer.step(instance.closure(1))
    fresh = MinimizeWrapper(cold.params, {"method": "BFGS"})
    fresh.step(cold.closure(1))
    assert optimizer.res.nit < fresh.res.nit


@pytest.mark.parametrize("spoiled", [np.full((5, 5), np.nan), -np.eye(5), np.eye(3)])
def test_an_inverse_hessian_that_bfgs_would_refuse_is_dropped(spoiled: Any) -> None:
    instance = rosenbrock()
    optimizer = MinimizeWrapper(instance.params, {"method": "BFGS"}, warm_start=True)
    optimizer._hess_inv = spoiled
    optimizer.step(instance.closure(1))
    assert optimizer.res.success


def test_warm_start_is_for_bfgs() -> None:
    instance = rosenbrock()
    with pytest.raises(ValueError, match=r"warm_start.*BFGS.*CG"):
        MinimizeWrapper(instance.params, {"method": "CG"}, warm_start=True)


def test_segments_whose_closure_changes() -> None:
    instance = rosenbrock()
    closure = instance.closure(2)
    optimizer = MinimizeWrapper(instance.params, {"method": "L-BFGS-B"})
    weights = [0.0, 0.1, 1.0]

    def penalised() -> Tensor:
        return closure() + weights[-1] * instance.params[1].square().sum()

    while weights:
        optimizer.step(penalised)
        weights.pop()
    assert len(optimizer.history.segments) == 3
    assert optimizer.res.fun < 1e-8
