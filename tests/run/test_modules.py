"""Modules, views and aliases survive a step: storages stay, layouts stay."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from instance import flat_copy
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pytorch_minimize.optim import MinimizeWrapper

METHODS = ("L-BFGS-B", "Powell")


def fit(model: nn.Module, inputs: Tensor, targets: Tensor, method: str) -> MinimizeWrapper:
    options = {"maxiter": 3} if method == "Powell" else {"maxiter": 20}
    optimizer = MinimizeWrapper(model.parameters(), {"method": method, "options": options})

    def closure() -> Tensor:
        outputs = model(inputs)
        outputs = outputs[0] if isinstance(outputs, tuple) else outputs
        return nn.functional.mse_loss(outputs, targets)

    before = closure().item()
    places = [p.data_ptr() for p in model.parameters()]
    strides = [p.stride() for p in model.parameters()]
    versions = [p._version for p in model.parameters()]
    loss = optimizer.step(closure)

    assert loss.item() < before
    assert loss.item() == closure().item()
    assert places == [p.data_ptr() for p in model.parameters()]
    assert strides == [p.stride() for p in model.parameters()]
    assert all(p._version > v for p, v in zip(model.parameters(), versions, strict=True))
    assert np.array_equal(flat_copy(list(model.parameters())), optimizer.res.x)
    return optimizer


@pytest.mark.parametrize("method", METHODS)
def test_lstm(method: str) -> None:
    model = nn.LSTM(2, 2, batch_first=True).double()
    fit(model, torch.randn(3, 4, 2).double(), torch.randn(3, 4, 2).double() / 4, method)
    assert model._flat_weights[0] is model.weight_ih_l0
    assert all(isinstance(p, nn.Parameter) for p in model._flat_weights)


@pytest.mark.parametrize("method", METHODS)
def test_weight_norm(method: str) -> None:
    model = parametrizations.weight_norm(nn.Linear(3, 2)).double()
    fit(model, torch.randn(8, 3).double(), torch.randn(8, 2).double(), method)
    parts = model.parametrizations.weight
    scale, direction = parts.original0, parts.original1
    torch.testing.assert_close(model.weight, scale * direction / direction.norm(dim=1)[:, None])


@pytest.mark.parametrize("method", METHODS)
def test_channels_last(method: str) -> None:
    model = nn.Conv2d(2, 2, 2).double().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fit(model, torch.randn(4, 2, 3, 3).double(), torch.randn(4, 2, 2, 2).double(), method)
    assert model.weight.is_contiguous(memory_format=torch.channels_last)
    assert not model.weight.is_contiguous()


def test_transposed_parameter_is_flat_in_logical_order() -> None:
    transposed = nn.Parameter(torch.zeros(3, 2, dtype=torch.float64).T)
    assert transposed.stride() == (1, 2)
    target = torch.arange(6, dtype=torch.float64).view(2, 3)
    optimizer = MinimizeWrapper([transposed], {"method": "BFGS"})
    optimizer.step(lambda: (transposed - target).square().sum())
    np.testing.assert_allclose(optimizer.res.x, np.arange(6), atol=1e-6)
    assert transposed.stride() == (1, 2)


class Tied(nn.Module):
    """An encoder and a decoder that share one weight, transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(3, 3, bias=False, dtype=torch.float64)
        self.decoder = nn.Linear(3, 3, bias=False, dtype=torch.float64)
        self.decoder.weight = self.encoder.weight

    def forward(self, x: Tensor) -> Tensor:
        decoded: Tensor = self.decoder(torch.tanh(self.encoder(x)))
        return decoded


@pytest.mark.parametrize("method", METHODS)
def test_tied_weights(method: str) -> None:
    model = Tied()
    optimizer = fit(model, torch.randn(8, 3).double(), torch.randn(8, 3).double(), method)
    assert model.decoder.weight is model.encoder.weight
    assert optimizer.res.x.shape == (9,)


@pytest.mark.parametrize("method", METHODS)
def test_parameters_that_are_views_of_one_flat_tensor(method: str) -> None:
    model = nn.Linear(3, 2).double()
    flat = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    model.weight.data, model.bias.data = flat[:6].view(2, 3), flat[6:]
    optimizer = fit(model, torch.randn(8, 3).double(), torch.randn(8, 2).double(), method)
    assert np.array_equal(flat.numpy(), optimizer.res.x)


@pytest.mark.parametrize("method", METHODS)
def test_aliases_of_data_see_the_step(method: str) -> None:
    model = nn.Linear(3, 2).double()
    alias, array = model.weight.data, model.weight.detach().numpy()
    fit(model, torch.randn(8, 3).double(), torch.randn(8, 2).double(), method)
    assert torch.equal(alias, model.weight)
    assert np.array_equal(array, model.weight.detach().numpy())


def test_an_averaged_copy_is_left_alone_and_follows() -> None:
    model = nn.Linear(3, 2).double()
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.5))
    average.update_parameters(model)
    averaged = average.get_parameter("module.weight")
    kept = averaged.detach().clone()
    fit(model, torch.randn(8, 3).double(), torch.randn(8, 2).double(), "L-BFGS-B")
    assert torch.equal(averaged, kept)
    average.update_parameters(model)
    torch.testing.assert_close(averaged, (kept + model.weight) / 2)


def test_buffers_move_only_by_the_module_itself() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).double().eval()
    buffers = [b.clone() for b in model.buffers()]
    fit(model, torch.randn(8, 2).double(), torch.randn(8, 3).double(), "L-BFGS-B")
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), buffers, strict=True))


def test_a_graph_recorded_before_the_step_is_found_out_of_date() -> None:
    """The version counters are bumped: autograd refuses rather than return wrong numbers."""
    x = nn.Parameter(torch.full((2,), 3.0, dtype=torch.float64))
    stale = (x**3).sum()
    MinimizeWrapper([x], {"method": "BFGS"}).step(lambda: (x - 1).square().sum())
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        stale.backward()
