"""check_closure=True lets functions pass and tells what is wrong with the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from curvature_cases import CASES, Case, mlp, seeded
from instance import Instance
from methods import KINDS
from problems import PROBLEMS, Problem, rosenbrock
from torch import Tensor, nn

from pytorch_minimize.optim import MinimizeWrapper


def run(instance: Instance, closure: Any, method: str = "trust-ncg", **settings: Any) -> Any:
    arguments = {"method": method, "options": {"maxiter": 1}}
    optimizer = MinimizeWrapper(instance.params, arguments, check_closure=True, **settings)
    optimizer.step(closure)
    return optimizer


@pytest.mark.parametrize("strategy", ["graph", "replay"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_functions_pass(case: Case, strategy: Any) -> None:
    instance = case.make()
    run(instance, case.closure(instance), curvature=strategy)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_problems_pass(problem: Problem, dtype: torch.dtype) -> None:
    instance = problem.make(dtype)
    run(instance, instance.closure(1))


@pytest.mark.parametrize("method", KINDS)
def test_the_run_is_the_same(method: str) -> None:
    """The check moves nothing and counts as no evaluation."""
    results = []
    for check in (False, True):
        instance = rosenbrock()
        arguments = {"method": method, "options": {"maxiter": 10}}
        optimizer = MinimizeWrapper(instance.params, arguments, check_closure=check)
        optimizer.step(instance.closure(1))
        results.append(optimizer.res)
    assert results[0].nfev == results[1].nfev
    assert np.array_equal(results[0].x, results[1].x)


def dropout_closure(instance: Instance, model: nn.Module) -> Any:
    inputs = seeded(12, 4)

    def closure() -> Tensor:
        hidden = torch.tanh(inputs @ instance.params[0].T)
        return model(hidden).square().mean()

    return closure


@pytest.mark.parametrize("method", ["trust-ncg", "L-BFGS-B", "Nelder-Mead"])
def test_dropout_is_told(method: str) -> None:
    instance, dropout = mlp(), nn.Dropout(0.5)
    x = instance.x
    with pytest.raises(RuntimeError, match=r"gave the losses 0.* and 0.*dropout in eval mode"):
        run(instance, dropout_closure(instance, dropout), method)
    assert np.array_equal(instance.x, x)
    run(instance, dropout_closure(instance, dropout.eval()), method)


def test_a_random_gradient_is_told() -> None:
    instance = mlp()

    def closure() -> Tensor:
        loss = instance.model()
        loss.backward()
        instance.params[0].grad *= torch.rand(())  # type: ignore[operator]
        return loss

    with pytest.raises(RuntimeError, match=r"gave gradients that differ by 0\.\d+ of their norm"):
        run(instance, closure, "L-BFGS-B")


@pytest.mark.parametrize("strategy", ["graph", "replay"])
def test_a_gradient_that_autograd_does_not_see_is_told(strategy: Any) -> None:
    """Least squares with a seed that forgot its graph: the Gauss-Newton term is missing."""
    instance = mlp()
    weights, inputs = instance.params[0], seeded(12, 4)

    def closure() -> Tensor:
        residual = torch.tanh(inputs @ weights.T).sum(1)
        residual.backward(residual.detach())
        return residual.square().sum() / 2

    x = instance.x
    with pytest.raises(RuntimeError, match=r"predicts differ by \d.* seeds of backward.. without"):
        run(instance, closure, curvature=strategy)
    assert np.array_equal(instance.x, x)
    run(instance, closure, "L-BFGS-B")


def test_losses_that_are_not_finite_are_left_to_the_run() -> None:
    x = nn.Parameter(torch.tensor([-1.0], dtype=torch.float64))
    optimizer = MinimizeWrapper([x], {"method": "trust-ncg"}, check_closure=True)
    with pytest.warns(RuntimeWarning, match="a loss of nan"):
        optimizer.step(lambda: x.log().sum())


@pytest.mark.parametrize("value", [1, "yes", None])
def test_other_values_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="check_closure: expected True or False"):
        MinimizeWrapper(mlp().params, {}, check_closure=value)
