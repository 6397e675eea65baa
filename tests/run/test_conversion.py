"""A model that is converted, moved or resized between steps is fitted on."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from problems import rosenbrock
from torch import Tensor, nn

from pytorch_minimize.optim import (
    BasinHoppingWrapper,
    DifferentialEvolutionWrapper,
    DirectWrapper,
    MinimizeWrapper,
)

Convert = Callable[[nn.Module], object]


@torch.no_grad()
def zero(model: nn.Module) -> None:
    for param in model.parameters():
        param.zero_()


def to_complex(model: nn.Module) -> None:
    for param in model.parameters():
        param.data = param.data.to(torch.complex128)


def new_memory(model: nn.Module) -> None:
    for param in model.parameters():
        param.data = param.data.clone()


def other_strides(model: nn.Module) -> None:
    for param in model.parameters():
        if param.dim() == 2:
            param.data = param.data.t().contiguous().t()


def other_shapes(model: nn.Module) -> None:
    for param in model.parameters():
        param.data = torch.zeros(param.numel() + 1)


CONVERSIONS: dict[str, Convert] = {
    "double": lambda model: model.double(),
    "half": lambda model: model.half(),
    "to": lambda model: model.to(torch.bfloat16),
    "complex": to_complex,
    "memory": new_memory,
    "strides": other_strides,
    "shapes": other_shapes,
}


def sum_of_squares(model: nn.Module) -> Tensor:
    """Least at 2 in every parameter."""
    return sum((p - 2).abs().square().sum() for p in model.parameters())  # type: ignore[return-value]


@pytest.mark.parametrize("convert", CONVERSIONS.values(), ids=CONVERSIONS)
def test_a_converted_model_is_fitted_on(convert: Convert) -> None:
    """The step after is that of an optimizer made after the conversion."""
    model = nn.Linear(2, 3)
    optimizer = MinimizeWrapper(model.parameters(), {"method": "L-BFGS-B"})
    optimizer.step(lambda: sum_of_squares(model))
    zero(model)
    optimizer.zero_grad()
    convert(model)
    twin = copy.deepcopy(model)
    optimizer.step(lambda: sum_of_squares(model))
    fresh = MinimizeWrapper(twin.parameters(), {"method": "L-BFGS-B"})
    fresh.step(lambda: sum_of_squares(twin))
    assert np.array_equal(optimizer.res.x, fresh.res.x)
    assert optimizer.res.nfev == fresh.res.nfev
    for param, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(param, other)
        assert (param.dtype, param.shape) == (other.dtype, other.shape)


GLOBALS: dict[str, Callable[[Any], Any]] = {
    "basinhopping": lambda params: BasinHoppingWrapper(
        params, {"method": "BFGS"}, {"niter": 1, "rng": 0}
    ),
    "differential_evolution": lambda params: DifferentialEvolutionWrapper(
        params, {"bounds": [(-1 / 3, 1 / 3)] * 2, "rng": 0, "maxiter": 2}
    ),
    "direct": lambda params: DirectWrapper(params, {"bounds": [(-1 / 3, 1 / 3)] * 2, "maxfun": 40}),
}


@pytest.mark.parametrize("algorithm", GLOBALS)
def test_global_searches_go_on_after_a_conversion(algorithm: str) -> None:
    model = nn.Linear(1, 1)
    optimizer = GLOBALS[algorithm](model.parameters())
    zero(model)
    optimizer.step(lambda: sum_of_squares(model))
    zero(model)
    optimizer.zero_grad()
    model.double()
    twin = copy.deepcopy(model)
    optimizer.step(lambda: sum_of_squares(model))
    fresh = GLOBALS[algorithm](twin.parameters())
    fresh.step(lambda: sum_of_squares(twin))
    if algorithm != "basinhopping":  # whose generator is made anew
        assert np.array_equal(optimizer.res.x, fresh.res.x)
    assert model.weight.item() == pytest.approx(twin.weight.item(), abs=1e-6)
    assert model.weight.dtype == torch.float64


def test_parameters_that_come_to_share_memory_are_refused() -> None:
    a, b = (nn.Parameter(torch.zeros(2)) for _ in range(2))
    optimizer = MinimizeWrapper([a, b], {"method": "BFGS"})
    b.data = a.data
    with pytest.raises(ValueError, match="parameters 0 and 1 overlap in memory"):
        optimizer.step(lambda: (a + b).square().sum())


def test_bounds_are_rounded_to_the_new_dtype() -> None:
    x = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = MinimizeWrapper([{"params": [x], "bounds": (0, 0.1)}], {"method": "L-BFGS-B"})
    for dtype in (torch.float64, torch.float32, torch.float16):
        x.data = torch.zeros(1, dtype=dtype)
        optimizer.zero_grad()
        optimizer.step(lambda: (x - 1).square().sum())
        expected = torch.tensor(0.1, dtype=torch.float64).to(dtype)
        if expected.double() > 0.1:
            expected = torch.nextafter(expected, torch.zeros_like(expected))
        assert x.item() == expected.item()


@pytest.mark.parametrize("saved", [False, True])
def test_a_warm_start_survives_a_change_of_dtype(saved: bool) -> None:
    instance, cold = rosenbrock(), rosenbrock()
    optimizer = MinimizeWrapper(instance.params, {"method": "BFGS"}, warm_start=True)
    optimizer.step(instance.closure(2))
    if saved:
        optimizer = pickle.loads(pickle.dumps(optimizer))
        instance.model.weights = nn.ParameterList(optimizer.param_groups[0]["params"])
    inverse = optimizer.res.hess_inv
    for model in (instance.model, cold.model):
        for tensor, start in zip(model.parameters(), rosenbrock().params, strict=True):
            tensor.data = start.data
    given = {"method": "BFGS", "options": {"hess_inv0": 0.5 * (inverse + inverse.T)}}
    fresh = MinimizeWrapper(cold.params, given)
    for model in (instance.model, cold.model):
        model.float()
        model.zero_grad()
    optimizer.step(lambda: instance.model())
    fresh.step(lambda: cold.model())
    assert np.array_equal(optimizer.res.x, fresh.res.x)
    assert optimizer.res.nfev == fresh.res.nfev


def test_the_best_point_outlives_a_conversion() -> None:
    model = nn.Linear(2, 3)
    optimizer = MinimizeWrapper(model.parameters(), {"method": "CG"})
    optimizer.step(lambda: sum_of_squares(model))
    found = [param.detach().clone() for param in model.parameters()]
    model.double()
    zero(model)
    optimizer.load_best()
    for param, value in zip(model.parameters(), found, strict=True):
        assert torch.equal(param, value.double())
    other_shapes(model)
    before = [param.detach().clone() for param in model.parameters()]
    with pytest.raises(RuntimeError, match="another shape"):
        optimizer.load_best()
    assert all(map(torch.equal, model.parameters(), before))


def test_a_run_keeps_the_variables_that_it_began_with() -> None:
    """Also for the polish at its end, whatever the closure froze meanwhile."""
    model = nn.Linear(1, 1)
    zero(model)
    optimizer = GLOBALS["differential_evolution"](model.parameters())

    def closure() -> Tensor:
        model.bias.requires_grad_(False)
        return sum_of_squares(model)

    optimizer.step(closure)
    assert optimizer.res.x.shape == (2,)
    assert optimizer.bridge.numel == 1


def test_a_conversion_while_a_step_runs_is_told() -> None:
    model = nn.Linear(2, 3)
    optimizer = MinimizeWrapper(model.parameters(), {"method": "BFGS"})

    def closure() -> Tensor:
        loss = sum_of_squares(model)
        model.double()
        return loss

    with pytest.raises(RuntimeError, match="float32 tensor on cpu when the bridge was made"):
        optimizer.step(closure)
