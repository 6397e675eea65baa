"""Runs whose vectors are tensors, as they are where all parameters are on a device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from many import STARTS, Many
from test_same_as_alone import same
from torch import Tensor

from pytorch_minimize.bridge.space import TensorSpace
from pytorch_minimize.multistart import row_vectors
from pytorch_minimize.scipy_minimize import optimizer as optimizer_module

NATIVE = ("torch-BFGS", "SSBFGS", "SSBroyden", "torch-L-BFGS", "SS-L-BFGS", "torch-CG")


@pytest.fixture(autouse=True)
def _on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host stands in for one, whose numbers nobody reads without waiting for it."""

    def waiting(self: TensorSpace, device: Any = "cpu") -> None:
        self.device, self.waits = torch.device(device), True

    monkeypatch.setattr(TensorSpace, "__init__", waiting)
    monkeypatch.setattr(optimizer_module, "_device", lambda bridge: torch.device("cpu"))


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("method", NATIVE)
def test_a_run_is_that_of_minimize_wrapper(method: str, together: bool) -> None:
    many = Many()
    optimizer = many.optimizer(method)
    loss = optimizer.step(many.closure, vectorized=many.losses if together else None)
    assert loss == optimizer.res.fun == optimizer.results[0].fun
    assert np.array_equal(many.x, optimizer.res.x)
    for res in optimizer.results:
        assert all(type(res[name]) is np.ndarray for name in ("x", "jac"))
        assert same(res, many.alone(STARTS[res.run], method)), res.run
        assert np.array_equal(res.history.loss, res.history.loss)


@pytest.mark.parametrize("method", NATIVE)
def test_histories_are_those_of_runs_alone(method: str) -> None:
    many = Many()
    optimizer = many.optimizer(method, starts=STARTS[:2])
    optimizer.step(many.closure, vectorized=many.losses)
    first = min(optimizer.results, key=lambda res: res.run).history
    alone = Many()
    reference = alone.optimizer(method, starts=STARTS[:1])
    reference.step(alone.closure)
    for name in ("loss", "grad_norm", "step_length"):
        assert np.array_equal(getattr(first, name), getattr(reference.history, name)), name


@pytest.mark.parametrize("method", ["torch-L-BFGS", "SS-L-BFGS"])
def test_bounds(method: str) -> None:
    many, bounds = Many(), [(-1.6, 0.5)] * 4
    starts = np.clip(STARTS, -1, 0)
    optimizer = many.optimizer(method, arguments={"bounds": bounds}, starts=starts)
    optimizer.step(many.closure, vectorized=many.losses)
    for res in optimizer.results:
        assert same(res, many.alone(starts[res.run], method, bounds=bounds))


def test_a_round_is_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses, marks and what every run wants of its gradient, in one list of numbers."""
    reads: list[int] = []
    own = row_vectors._TensorRows.read

    def read(self: Any, losses: Tensor, *more: Any) -> Any:
        reads.append(len(losses))
        return own(self, losses, *more)

    monkeypatch.setattr(row_vectors._TensorRows, "read", read)
    many = Many()
    optimizer = many.optimizer("torch-L-BFGS")
    optimizer.step(many.closure, vectorized=many.losses)
    assert len(reads) == many.rounds
    assert sum(reads) == many.points
    assert many.rounds <= max(res.nfev for res in optimizer.results) + 1


@pytest.mark.filterwarnings("ignore:the closure gave:RuntimeWarning")
@pytest.mark.parametrize("method", ["torch-BFGS", "torch-L-BFGS"])
def test_rows_that_are_not_finite_step_back_alone(method: str) -> None:
    def wall(x: Tensor) -> Tensor:
        return ((x - 2.0).square() - 1e-3 * torch.log(0.9 - x)).sum(-1)

    starts = np.linspace(-8.0, 0.85, 20).reshape(5, 4)
    many, alone = Many(wall), Many(wall)
    optimizer = many.optimizer(method, starts=starts)
    optimizer.step(many.closure, vectorized=many.losses)
    assert sum(res.nonfinite > 0 for res in optimizer.results) >= 2
    for res in optimizer.results:
        assert np.isfinite(res.fun)
        assert same(res, alone.alone(starts[res.run], method))


def test_a_limit_and_a_callback() -> None:
    many, told = Many(), []

    def callback(intermediate_result: Any) -> None:
        told.append((intermediate_result.run, many.x.copy(), intermediate_result.x))

    arguments = {"callback": callback}
    optimizer = many.optimizer("torch-BFGS", arguments=arguments, max_evaluations=30)
    optimizer.step(many.closure, vectorized=many.losses)
    assert optimizer.res.evaluations == 30
    assert {run for run, *_ in told} == set(range(len(STARTS)))
    for _, held, x in told:
        assert type(x) is np.ndarray
        assert np.array_equal(held, x)
    assert np.array_equal(many.x, optimizer.res.x)


def test_an_error_in_a_round_leaves_the_best_point() -> None:
    many, seen = Many(), []

    def failing(stacks: list[Tensor]) -> Tensor:
        if many.rounds == 6:
            raise ZeroDivisionError
        losses = many.losses(stacks)
        seen.extend(losses.tolist())
        return losses

    optimizer = many.optimizer("torch-L-BFGS")
    with pytest.raises(ZeroDivisionError):
        optimizer.step(many.closure, vectorized=failing)
    assert many.closure().item() == min(seen)
