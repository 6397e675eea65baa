"""Least squares where the model is on a card, and beside it on a device that is emulated here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from emulated import emulated
from torch import Tensor, nn

from pytorch_minimize.least_squares import make as make_module
from pytorch_minimize.least_squares import optimizer as optimizer_module
from pytorch_minimize.optim import LeastSquaresWrapper
from pytorch_minimize.run import bridged

CARD = torch.device("cuda")
OURS = ("torch-lm", "torch-gauss-newton-cg")


class Decay:
    """Two exponentials at 30 points, with noise: the same data and start on any device."""

    def __init__(
        self, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float64
    ) -> None:
        kind: dict[str, Any] = {"dtype": dtype, "device": device}
        self.t = torch.linspace(0, 4, 30, dtype=torch.float64).to(**kind)
        noise = np.random.default_rng(1).standard_normal(30)
        t = np.linspace(0, 4, 30)
        y = 3.0 * np.exp(-1.5 * t) + np.exp(-0.3 * t) + 0.01 * noise
        self.y = torch.from_numpy(y).to(**kind)
        self.heights = nn.Parameter(torch.tensor([2.0, 2.0], **kind))
        self.rates = nn.Parameter(torch.tensor([1.0, 0.1], **kind))
        self.calls = 0

    def __call__(self) -> Tensor:
        self.calls += 1
        return (self.heights * torch.exp(-self.rates * self.t[:, None])).sum(1) - self.y

    def optimizer(
        self, kwargs: dict[str, Any], bounds: Any = None, **more: Any
    ) -> LeastSquaresWrapper:
        groups = [{"params": [self.heights], "bounds": bounds}, {"params": [self.rates]}]
        return LeastSquaresWrapper(groups, kwargs, **more)


@pytest.fixture(params=["emulated", pytest.param("card", marks=pytest.mark.gpu)])
def there(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Decay]:
    """Makes the problem on a device."""
    if request.param == "card":
        return lambda **more: Decay(CARD, **more)

    def on_emulated(**more: Any) -> Decay:
        # From here on, since the run on the host that it is compared with was before.
        monkeypatch.setattr(bridged, "make_bridge", emulated(0))
        for module in (make_module, optimizer_module):
            monkeypatch.setattr(module, "device_of", lambda bridge: torch.device("cpu"))
        return Decay(**more)

    return on_emulated


@pytest.mark.parametrize(
    ("kwargs", "bounds"),
    [
        *(({"method": method}, None) for method in ("trf", "lm", *OURS)),
        ({"method": "torch-lm", "geodesic": True}, None),
        ({"method": "torch-lm"}, (0.0, 2.5)),
        ({"method": "trf"}, (0.0, 2.5)),
        *(({"method": method, "loss": "huber", "f_scale": 0.02}, None) for method in OURS),
        ({"method": "torch-lm", "jac": "rows", "loss": "cauchy", "f_scale": 0.02}, None),
        ({"method": "torch-lm", "jac": "columns"}, None),
    ],
    ids=str,
)
def test_a_fit_there_ends_as_on_the_host(
    there: Callable[..., Decay], kwargs: dict[str, Any], bounds: Any
) -> None:
    ends = []
    for problem in (Decay(), there()):
        optimizer = problem.optimizer(kwargs, bounds)
        loss = optimizer.step(problem)
        assert loss.device == problem.t.device
        assert optimizer.res.success
        assert not any(isinstance(value, Tensor) for value in optimizer.res.values())
        assert np.array_equal(optimizer.bridge.flatten_params(), optimizer.res.x)
        assert np.array_equal(optimizer.bridge.flatten_grads(), optimizer.res.grad)
        if kwargs["method"] != "torch-gauss-newton-cg":
            assert optimizer.covariance().matrix.shape == (4, 4)
            assert problem.calls == optimizer.profile.counts["closure"]
        ends.append(optimizer.res)
    host, device = ends
    assert device.cost == pytest.approx(host.cost, rel=1e-6)
    np.testing.assert_allclose(device.x, host.x, rtol=1e-3)
    np.testing.assert_allclose(device.fun, host.fun, atol=1e-4)
    assert device.active_mask.tolist() == host.active_mask.tolist()
    assert (device.jac is None) == (host.jac is None)


@pytest.mark.parametrize("method", OURS)
def test_narrow_models(there: Callable[..., Decay], method: str) -> None:
    problem = there(dtype=torch.float32)
    before = problem().square().sum().item()
    problem.optimizer({"method": method}).step(problem)
    assert problem().square().sum().item() < 0.05 * before


@pytest.mark.parametrize("method", OURS)
def test_nan_there_means_step_back(there: Callable[..., Decay], method: str) -> None:
    problem = there()

    def closure() -> Tensor:
        residuals = problem()
        return torch.nan * residuals if problem.calls == 3 else residuals

    optimizer = problem.optimizer({"method": method})
    with pytest.warns(RuntimeWarning, match="the closure gave a loss of nan"):
        optimizer.step(closure)
    assert optimizer.res.nonfinite == 1
    assert optimizer.res.cost < 0.01


@pytest.mark.parametrize("method", OURS)
def test_after_an_error_the_best_point_is_there(there: Callable[..., Decay], method: str) -> None:
    problem, seen = there(), []
    optimizer = problem.optimizer({"method": method})

    def closure() -> Tensor:
        residuals = problem()
        if problem.calls == 5:
            raise KeyboardInterrupt
        cost = residuals.detach().square().sum().item()
        seen.append((cost, optimizer.bridge.flatten_params().tolist()))
        return residuals

    with pytest.raises(KeyboardInterrupt):
        optimizer.step(closure)
    assert optimizer.bridge.flatten_params().tolist() == min(seen)[1]
    assert optimizer.step(problem).item() < 0.01


@pytest.mark.gpu
@pytest.mark.parametrize("method", OURS)
def test_memory_is_flat_over_100_steps(method: str) -> None:
    problem, used = Decay(CARD), []
    limit = {"maxiter": 2} if method == "torch-gauss-newton-cg" else {"max_nfev": 3}
    optimizer = problem.optimizer({"method": method} | limit)
    for _ in range(100):
        with torch.no_grad():
            problem.heights.fill_(2.0)
        optimizer.step(problem)
        used.append(torch.cuda.memory_allocated())
    assert max(used[50:]) <= max(used[:50])


@pytest.fixture(params=["nccl", "gloo"])
def group(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """A group of this process, whose vectors stay on the card, or come down."""
    where = f"file://{tmp_path / 'store'}"
    dist.init_process_group(request.param, init_method=where, rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.gpu
@pytest.mark.usefixtures("group")
@pytest.mark.parametrize("method", ["trf", *OURS])
def test_a_group_of_one_process_ends_as_no_group(method: str) -> None:
    ends = []
    for keywords in ({}, {"distributed": True}):
        problem = Decay(CARD)
        optimizer = problem.optimizer({"method": method}, **keywords)
        optimizer.step(problem)
        ends.append(optimizer.res)
    alone, together = ends
    assert (together.nfev, together.njev) == (alone.nfev, alone.njev)
    np.testing.assert_allclose(together.x, alone.x, rtol=1e-9)
    np.testing.assert_allclose(together.fun, alone.fun, atol=1e-12)
