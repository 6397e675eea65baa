"""Saving a run, resuming it, and going on with what the last one learned."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from methods import CAPPED
from problems import rosenbrock
from torch import Tensor

from pytorch_minimize.optim import MinimizeWrapper


def python(script: str, *arguments: str) -> str:
    """What a script prints in a fresh process."""
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=Path(__file__).parents[1],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout


def best_of(state: dict[str, Any]) -> Any:
    """The best point in a state, flat."""
    return torch.cat([saved["best"].double().flatten() for saved in state["state"].values()])


def test_a_restored_optimizer_goes_on_from_the_best_point() -> None:
    first, second = rosenbrock(), rosenbrock()
    options = {"method": "L-BFGS-B", "options": {"maxiter": 5}}
    optimizer = MinimizeWrapper(first.params, options)
    optimizer.step(first.closure(1))
    other = MinimizeWrapper(second.params, options)
    other.load_state_dict(optimizer.state_dict())
    other.load_best()
    assert np.array_equal(second.x, first.x)
    other.step(second.closure(1))
    optimizer.step(first.closure(1))
    assert np.array_equal(second.x, first.x)
    assert other.history.loss.tolist() == optimizer.history.loss.tolist()
    assert other.history.evaluations.tolist() == optimizer.history.evaluations.tolist()


def test_loading_moves_no_parameter() -> None:
    """As accelerate's prepare() does, and folds of a cross-validation do."""
    instance = rosenbrock()
    optimizer = MinimizeWrapper(instance.params, {"method": "CG", "options": {"maxiter": 3}})
    states = [optimizer.state_dict()]
    optimizer.step(instance.closure(1))
    states.append(optimizer.state_dict())
    for state in states:
        for tensor, start in zip(instance.params, rosenbrock().params, strict=True):
            tensor.data.copy_(start)
        optimizer.load_state_dict(state)
        seen: list[Any] = []

        def closure(seen: list[Any] = seen) -> Tensor:
            seen.append(instance.x)
            return instance.closure(2)()

        assert np.array_equal(instance.x, instance.x0)
        optimizer.step(closure)
        assert np.array_equal(seen[0], instance.x0)


def test_a_state_that_was_loaded_can_be_saved_again() -> None:
    first, second = rosenbrock(), rosenbrock()
    optimizer = MinimizeWrapper(first.params, {"method": "BFGS"})
    optimizer.step(first.closure(1))
    other = MinimizeWrapper(second.params, {"method": "BFGS"})
    state = optimizer.state_dict()
    other.load_state_dict(state)
    saved = other.state_dict()
    assert np.array_equal(best_of(saved), first.x)
    assert saved["run"] == state["run"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_state_of_another_dtype(dtype: torch.dtype) -> None:
    source, target = rosenbrock(torch.float64), rosenbrock(dtype)
    optimizer = MinimizeWrapper(source.params, {"method": "BFGS"})
    optimizer.step(source.closure(1))
    other = MinimizeWrapper(target.params, {"method": "BFGS"})
    other.load_state_dict(optimizer.state_dict())
    other.load_best()
    expected = [p.detach().to(dtype).double().flatten() for p in source.params]
    assert np.array_equal(target.x, torch.cat(expected).numpy())


def test_the_state_loads_without_trusting_it(tmp_path: Path) -> None:
    instance = rosenbrock()
    file = tmp_path / "run.pt"
    optimizer = MinimizeWrapper(instance.params, {"method": "BFGS"}, checkpoint=(file, 0))
    optimizer.step(instance.closure(1))
    state = torch.load(file, weights_only=True)
    assert np.array_equal(best_of(state), instance.x)
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
    script = Path(__file__).parents[1].joinpath("killed_run.py")
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
            assert start.fun(best_of(state).numpy()) == state["run"]["loss"]
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


@pytest.mark.parametrize("spoiled", [np.nan, -1.0])
def test_an_inverse_hessian_that_bfgs_would_refuse_is_dropped(spoiled: float) -> None:
    instance, cold = rosenbrock(), rosenbrock()
    optimizer = MinimizeWrapper(instance.params, {"method": "BFGS"}, warm_start=True)
    optimizer.step(instance.closure(1))
    optimizer.res.hess_inv *= spoiled
    for tensor, start in zip(instance.params, cold.params, strict=True):
        tensor.data.copy_(start)
    optimizer.step(instance.closure(1))
    fresh = MinimizeWrapper(cold.params, {"method": "BFGS"})
    fresh.step(cold.closure(1))
    assert optimizer.res.nfev == fresh.res.nfev


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


@pytest.mark.parametrize("method", ["Nelder-Mead", "COBYLA", "L-BFGS-B", "trust-krylov"])
def test_a_disk_that_fills_up_does_not_end_the_run(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance, without = rosenbrock(), rosenbrock()
    file = tmp_path / "run.pt"
    options = {"method": method, "options": CAPPED.get(method, {})}
    writes, fsync = [], os.fsync

    def fills_up(descriptor: int) -> None:
        writes.append(1)
        if len(writes) > 3:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fills_up)
    optimizer = MinimizeWrapper(instance.params, options, checkpoint=(file, 0))
    with pytest.warns(RuntimeWarning, match=r"checkpoint: writing.*No space left.*the run goes on"):
        optimizer.step(instance.closure(1))
    MinimizeWrapper(without.params, options).step(without.closure(1))
    assert np.array_equal(instance.x, without.x)
    assert list(tmp_path.iterdir()) == [file]
    assert torch.load(file)["run"]["loss"] <= without.fun(without.x0)


def test_an_interrupt_while_a_checkpoint_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = rosenbrock()
    targets: list[Any] = []

    def interrupted(state: Any, to: Any) -> None:
        targets.append(to)
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupted)
    optimizer = MinimizeWrapper(instance.params, {}, checkpoint=(tmp_path / "run.pt", 0))
    with pytest.raises(KeyboardInterrupt):
        optimizer.step(instance.closure(1))
    assert instance.fun(instance.x) <= instance.fun(instance.x0)
    assert list(tmp_path.iterdir()) == []
    # torch's writer ends the process where it finds its file closed; this one stays open.
    assert [(type(to), to.closed) for to in targets] == [(io.BytesIO, False)]


@pytest.mark.parametrize("path", ["folder", os.devnull])
def test_what_is_no_file_is_not_replaced(path: str, tmp_path: Path) -> None:
    instance = rosenbrock()
    (tmp_path / "folder").mkdir()
    optimizer = MinimizeWrapper(instance.params, {}, checkpoint=(tmp_path / path, 1.0))
    with pytest.raises(FileExistsError, match="checkpoint"):
        optimizer.step(lambda: pytest.fail("the closure ran"))


def test_a_checkpoint_stays_where_it_was_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A changed working directory does not move it, and a link is followed."""
    instance = rosenbrock()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "latest.pt").symlink_to(elsewhere / "run.pt")
    monkeypatch.chdir(tmp_path)

    def closure() -> Tensor:
        monkeypatch.chdir(elsewhere)
        return instance.closure(1)()

    MinimizeWrapper(instance.params, {}, checkpoint=("latest.pt", 0)).step(closure)
    assert (tmp_path / "latest.pt").is_symlink()
    assert list(elsewhere.iterdir()) == [elsewhere / "run.pt"]


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("BFGS", {"maxiter": np.int64(7), "gtol": np.float64(1e-9), "hess_inv0": np.eye(5)}),
        ("Nelder-Mead", {"initial_simplex": np.eye(6, 5), "maxfev": 60}),
        ("L-BFGS-B", {"ftol": np.float32(1e-9), "workers": map}),
    ],
)
def test_options_of_numpy_are_saved_for_who_reads_them(
    method: str, options: dict[str, Any], tmp_path: Path
) -> None:
    groups = [{"params": rosenbrock().params}]
    given = {"method": method, "options": options, "tol": np.float64(1e-9)}
    optimizer = MinimizeWrapper(groups, given, timeout=np.float64(60))
    torch.save(optimizer.state_dict(), tmp_path / "state.pt")
    run = torch.load(tmp_path / "state.pt", weights_only=True)["run"]
    assert (run["method"], run["settings"]["timeout"]) == (method, 60.0)
    saved = run["arguments"]["options"]
    assert set(saved) == set(options) - {"workers"}
    assert all(np.array_equal(saved[name], options[name]) for name in saved)


def test_a_state_restored_in_a_fresh_process(tmp_path: Path) -> None:
    instance = rosenbrock()
    file = tmp_path / "run.pt"
    MinimizeWrapper(instance.params, {"method": "CG"}, checkpoint=(file, 0)).step(
        instance.closure(1)
    )
    script = (
        "import sys, torch\n"
        "from problems import rosenbrock\n"
        "from pytorch_minimize.optim import MinimizeWrapper\n"
        "instance = rosenbrock(torch.float32)\n"
        "optimizer = MinimizeWrapper(instance.params, {'method': 'CG'}, max_evaluations=1)\n"
        "optimizer.load_state_dict(torch.load(sys.argv[1], weights_only=True))\n"
        "optimizer.load_best()\n"
        "optimizer.step(instance.closure(2))\n"
        "print(len(optimizer.history.segments), optimizer.res.fun)\n"
    )
    segments, loss = python(script, str(file)).split()
    assert int(segments) == 2
    assert float(loss) < 1e-6


def test_a_warm_start_is_not_for_other_variables() -> None:
    a, b = (torch.nn.Parameter(torch.tensor([v], dtype=torch.float64)) for v in (-1.2, 1.0))

    def closure() -> Tensor:
        return ((1 - a) ** 2 + 100 * (b - a * a) ** 2).sum()

    optimizer = MinimizeWrapper([a, b], {"method": "BFGS"}, warm_start=True)
    b.requires_grad_(False)
    optimizer.step(closure)
    b.requires_grad_(True)
    a.requires_grad_(False)
    cold = MinimizeWrapper([c := b.detach().clone().requires_grad_()], {"method": "BFGS"})
    fixed = a.detach()
    cold.step(lambda: ((1 - fixed) ** 2 + 100 * (c - fixed * fixed) ** 2).sum())
    optimizer.step(closure)
    assert optimizer.res.nfev == cold.res.nfev


def test_a_killed_run_counts_on(tmp_path: Path) -> None:
    """What a checkpoint holds of a run that goes on, and of one that has ended."""
    first, second = rosenbrock(), rosenbrock()
    file = tmp_path / "run.pt"
    optimizer = MinimizeWrapper(first.params, {"method": "CG"}, checkpoint=(file, 0))
    runs, states = [], []

    def closure() -> Tensor:
        if runs:
            states.append(torch.load(file)["run"]["history"])
        runs.append(1)
        return first.closure(1)()

    optimizer.step(closure)
    optimizer.step(closure)
    assert [state["evaluations"] for state in states[:9]] == list(range(1, 10))
    other = MinimizeWrapper(second.params, {"method": "CG"})
    saved = torch.load(file)
    other.load_state_dict(saved)
    assert saved["run"]["history"]["evaluations"] == len(runs)
    second_start = len(other.history)
    other.step(second.closure(1))
    assert other.history.evaluations[second_start] > len(runs)
    assert (np.diff(other.history.evaluations) > 0).all()
    assert (np.diff(other.history.seconds) > 0).all()
