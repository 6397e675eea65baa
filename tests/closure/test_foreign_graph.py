"""A loss that depends on other parameters than the optimizer's."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from instance import Instance
from methods import CURVATURE, GRADIENT
from replayed import Replayed
from torch import Tensor, nn

from pytorch_minimize.optim import (
    BasinHoppingWrapper,
    DifferentialEvolutionWrapper,
    MinimizeWrapper,
)

STRATEGIES = [(m, "graph") for m in (*GRADIENT, *CURVATURE)] + [(m, "replay") for m in CURVATURE]
DATA = torch.arange(10.0).reshape(5, 2)


def loss_of(model: nn.Module) -> Tensor:
    return (model(DATA) - 1).square().mean()


def of_form(form: int, model: Callable[[], nn.Module]) -> Callable[[], Tensor]:
    def closure() -> Tensor:
        loss = loss_of(model())
        if form == 1:
            loss.backward()
        return loss

    return closure


@pytest.mark.parametrize(("method", "strategy"), STRATEGIES)
def test_a_copied_or_replaced_model_is_refused(method: str, strategy: Any) -> None:
    holder = {"model": nn.Linear(2, 1)}
    optimizer = MinimizeWrapper(
        holder["model"].parameters(), {"method": method}, curvature=strategy
    )
    before = holder["model"].weight.clone()
    original, holder["model"] = holder["model"], copy.deepcopy(holder["model"])
    with pytest.raises(RuntimeError, match="reaches none of the parameters that are optimised"):
        optimizer.step(of_form(2, lambda: holder["model"]))
    with pytest.raises(RuntimeError, match=r"reaches none|no backward\(\) that reached a param"):
        optimizer.step(of_form(1, lambda: holder["model"]))
    assert torch.equal(original.weight, before)
    # Nothing of it is left behind: the right closure is minimised.
    optimizer.step(of_form(2, lambda: original))
    assert optimizer.res.fun < loss_of(holder["model"])


def test_a_loss_without_parameters_of_ours_but_with_others() -> None:
    """A frozen part may be in the loss; one parameter that is reached will do."""
    used, unused = (nn.Parameter(torch.ones(2, dtype=torch.float64)) for _ in range(2))
    other = nn.Parameter(torch.tensor(3.0, dtype=torch.float64))
    optimizer = MinimizeWrapper([unused, used], {"method": "BFGS"})
    optimizer.step(lambda: ((used - other) ** 2).sum())
    np.testing.assert_allclose(optimizer.res.x, [1.0, 1.0, 3.0, 3.0], atol=1e-6)


@pytest.mark.parametrize("form", [1, 2])
@pytest.mark.parametrize("method", ["L-BFGS-B", "trust-exact"])
def test_a_plateau_later_on_has_no_slope(method: str, form: int) -> None:
    """The oracle gives it a graph with zeros; the start is not on it."""
    penalty = torch.tensor(50.0, dtype=torch.float64, requires_grad=True)
    results, met = [], 0
    for constant in (lambda x: penalty * 1, lambda x: penalty.detach() + 0 * x.sum()):
        x = nn.Parameter(torch.tensor([0.3, 2.0], dtype=torch.float64))

        def closure(x: Tensor = x, constant: Callable[[Tensor], Tensor] = constant) -> Tensor:
            nonlocal met
            if x[0] < 0.25:
                met += 1
                return constant(x)
            loss = (x[0] - 0.3 + 4 * x[1]) ** 2 + x[0] ** 4 + x[1] ** 2
            if form == 1:
                loss.backward()
            return loss

        optimizer = MinimizeWrapper([x], {"method": method})
        optimizer.step(closure)
        results.append(optimizer.res)
    assert met > 0
    assert np.array_equal(results[0].x, results[1].x)
    assert results[0].nfev == results[1].nfev


def test_at_the_start_a_plateau_is_refused() -> None:
    """There is nothing that tells it from another model."""
    x, penalty = (nn.Parameter(torch.ones(2)) for _ in range(2))
    optimizer = MinimizeWrapper([x], {"method": "BFGS"})
    with pytest.raises(RuntimeError, match="reaches none"):
        optimizer.step(lambda: penalty.sum())


def test_a_replayed_graph_may_have_one_that_leads_elsewhere() -> None:
    x = nn.Parameter(torch.tensor([3.0, -2.0], dtype=torch.float64))
    replayed = Replayed(Instance([x], lambda params: (params[0] - 1).square().sum()))
    elsewhere = torch.zeros((), dtype=torch.float64, requires_grad=True)

    def closure() -> Tensor:
        return replayed().detach() + elsewhere

    MinimizeWrapper([x], {"method": "BFGS"}, captured_graph=True).step(closure)
    np.testing.assert_allclose(x.detach().numpy(), 1.0, atol=1e-6)
    assert x.grad is replayed.grads[0]


def test_local_searches_of_global_optimisers_refuse_it() -> None:
    model = nn.Linear(2, 1)
    optimizer = BasinHoppingWrapper(model.parameters(), {"method": "BFGS"}, {"niter": 1})
    with pytest.raises(RuntimeError, match="reaches none"):
        optimizer.step(of_form(2, lambda: copy.deepcopy(model)))


def test_without_gradients_a_graph_of_others_is_none_of_our_business() -> None:
    """The parameters may be in the loss as numbers; only the polish has no gradient then."""
    x = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    weight = nn.Parameter(torch.tensor(1.0, dtype=torch.float64))

    def closure() -> Tensor:
        return weight * (x.item() - 1) ** 2

    MinimizeWrapper([x], {"method": "Nelder-Mead"}).step(closure)
    assert x.item() == pytest.approx(1.0, abs=1e-4)
    keywords = {"bounds": [(-3.0, 3.0)], "rng": 0, "maxiter": 5}
    with pytest.warns(RuntimeWarning, match="not polished, for the loss has no gradient"):
        DifferentialEvolutionWrapper([x], keywords).step(closure)
