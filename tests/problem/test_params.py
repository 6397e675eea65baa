"""Which parameters may be given, and how; frozen ones; what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from instance import Instance
from problems import quadratic, rosenbrock
from torch import Tensor, nn

from pytorch_minimize.optim import MinimizeWrapper

REFUSED = (ValueError, TypeError, RuntimeError)

FORMS: dict[str, Callable[[Instance], Any]] = {
    "list": lambda i: i.params,
    "tuple": lambda i: tuple(i.params),
    "generator": lambda i: i.model.parameters(),
    "iterator": lambda i: iter(i.params),
    "named_parameters": lambda i: i.model.named_parameters(),
    "groups": lambda i: [{"params": i.params[:1]}, {"params": i.params[1:]}],
    "group of one": lambda i: [{"params": i.params[0]}, {"params": iter(i.params[1:])}],
    "named groups": lambda i: [{"params": list(i.model.named_parameters())}],
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_params(form: str) -> None:
    instance, reference = rosenbrock(), rosenbrock()
    optimizer = MinimizeWrapper(FORMS[form](instance), {"method": "BFGS"})
    optimizer.step(instance.closure(1))
    other = MinimizeWrapper(reference.params, {"method": "BFGS"})
    other.step(reference.closure(1))
    assert np.array_equal(optimizer.res.x, other.res.x)
    assert np.array_equal(instance.x, reference.x)


def test_groups_keep_their_own_entries() -> None:
    instance = rosenbrock()
    groups: list[dict[str, Any]] = [
        {"params": instance.params[:1], "name": "a"},
        {"params": instance.params[1:]},
    ]
    optimizer = MinimizeWrapper(groups, {"method": "BFGS"})
    assert optimizer.param_groups[0]["name"] == "a"
    assert set(groups[1]) == {"params"}


def test_a_plain_tensor_will_do() -> None:
    x = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    MinimizeWrapper([x], {"method": "BFGS"}).step(lambda: (x - 2).square().sum())
    torch.testing.assert_close(x.detach(), torch.full((3,), 2.0, dtype=torch.float64))


def _leaf() -> Tensor:
    return torch.ones(2, requires_grad=True)


NOT_PARAMETERS: dict[str, tuple[Callable[[], Any], str]] = {
    "one tensor": (_leaf, "(?i)tensor"),
    "nothing": (lambda: [], "empty"),
    "not tensors": (lambda: [1.0, 2.0], "(?i)tensor"),
    "a non-leaf": (lambda: [_leaf() * 2], "leaf"),
    "integers": (lambda: [torch.ones(2, dtype=torch.int64)], "int64"),
    "bools": (lambda: [torch.ones(2, dtype=torch.bool)], "bool"),
    "meta": (lambda: [torch.ones(2, device="meta", requires_grad=True)], "meta"),
    "expanded": (lambda: [torch.ones(1).expand(3)], "overlap|memory"),
}


@pytest.mark.parametrize("case", NOT_PARAMETERS)
def test_refused_params(case: str) -> None:
    make, message = NOT_PARAMETERS[case]
    params = make()
    with pytest.raises(REFUSED, match=message):
        MinimizeWrapper(params, {"method": "Powell"}).step(lambda: 1.0)


def test_overlapping_parameters_are_refused() -> None:
    memory = torch.zeros(5)
    first, second = nn.Parameter(memory[:3]), nn.Parameter(memory[2:])
    with pytest.raises(REFUSED, match=r"overlap|memory"):
        MinimizeWrapper([first, second], {"method": "BFGS"}).step(lambda: first.sum())
    assert not memory.any()


def test_one_parameter_in_two_groups_is_refused() -> None:
    x = _leaf()
    with pytest.raises(ValueError, match="more than one parameter group"):
        MinimizeWrapper([{"params": [x]}, {"params": [x]}], {"method": "BFGS"})


@pytest.mark.parametrize("method", ["BFGS", "Powell"])
def test_frozen_parameters_are_no_variables(method: str) -> None:
    instance = rosenbrock()
    frozen = instance.params[1].requires_grad_(False)
    optimizer = MinimizeWrapper(instance.params, {"method": method})
    optimizer.step(lambda: instance.loss(instance.params))
    assert optimizer.res.x.shape == (4,)
    assert frozen.item() == instance.x0[2]
    assert frozen.grad is None
    assert np.array_equal(np.delete(instance.x, 2), optimizer.res.x)


@pytest.mark.parametrize("method", ["BFGS", "trust-exact"])
def test_gradient_methods_need_a_variable(method: str) -> None:
    instance = quadratic()
    for p in instance.params:
        p.requires_grad_(False)
    with pytest.raises(REFUSED, match="requires_grad"):
        MinimizeWrapper(instance.params, {"method": method}).step(instance.closure(2))
    assert np.array_equal(instance.x, instance.x0)


@pytest.mark.parametrize("method", ["Nelder-Mead", "COBYLA"])
def test_gradient_free_methods_optimise_all_where_none_requires_grad(method: str) -> None:
    instance = quadratic()
    for p in instance.params:
        p.requires_grad_(False)
    options = {"maxiter": 60}
    optimizer = MinimizeWrapper(instance.params, {"method": method, "options": options})
    loss = optimizer.step(instance.closure(2))
    assert optimizer.res.x.shape == (6,)
    assert loss.item() < instance.fun(instance.x0)
    assert not any(p.requires_grad for p in instance.params)


def test_thawed_and_frozen_between_steps() -> None:
    instance = rosenbrock()
    middle = instance.params[1].requires_grad_(False)
    optimizer = MinimizeWrapper(instance.params, {"method": "BFGS"})
    partial = optimizer.step(lambda: instance.loss(instance.params)).item()
    middle.requires_grad_(True)
    whole = optimizer.step(instance.closure(1)).item()
    assert optimizer.res.x.shape == (5,)
    assert middle.item() == optimizer.res.x[2]
    assert whole < 1e-8 < partial
    instance.params[0].requires_grad_(False)
    optimizer.step(lambda: instance.loss(instance.params))
    assert optimizer.res.x.shape == (3,)


def test_groups_added_between_steps() -> None:
    instance, reference = rosenbrock(), rosenbrock()
    optimizer = MinimizeWrapper(instance.params[:2], {"method": "BFGS"})
    optimizer.step(instance.closure(2))
    assert optimizer.res.x.shape == (3,)
    assert np.array_equal(instance.x[3:], instance.x0[3:])
    assert np.array_equal(instance.x[:3], optimizer.res.x)
    optimizer.add_param_group({"params": instance.params[2:]})
    assert len(optimizer.param_groups) == 2
    optimizer.step(instance.closure(2))
    assert optimizer.res.x.shape == (5,)
    assert optimizer.res.fun < 1e-8 < reference.fun(reference.x0)


def test_a_parameter_resized_while_a_step_runs_is_refused() -> None:
    x = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    optimizer = MinimizeWrapper([x], {"method": "BFGS"})

    def closure() -> Tensor:
        x.data = torch.zeros(2, dtype=torch.float64)
        return (x - 1).square().sum()

    with pytest.raises(REFUSED, match=r"shape|size|resized"):
        optimizer.step(closure)
    assert not x.any()


def test_several_dtypes_scalars_and_empty_tensors() -> None:
    sizes: list[tuple[int, ...]] = [(), (0,), (2, 3), (1, 1, 1)]
    params = [nn.Parameter(torch.zeros(size, dtype=torch.float64)) for size in sizes]
    optimizer = MinimizeWrapper(params, {"method": "L-BFGS-B"})
    loss = optimizer.step(lambda: sum(((p - 1) ** 2).sum() for p in params))
    assert loss.item() < 1e-9
    assert optimizer.res.x.shape == (8,)


def test_sparse_gradients() -> None:
    table = nn.Embedding(6, 2, sparse=True, dtype=torch.float64)
    rows = torch.tensor([1, 1, 4])
    before = table.weight.detach().clone()
    optimizer = MinimizeWrapper(table.parameters(), {"method": "BFGS"})
    loss = optimizer.step(lambda: (table(rows) - 3).square().sum())
    assert loss.item() < 1e-8
    untouched = [0, 2, 3, 5]
    assert torch.equal(table.weight.detach()[untouched], before[untouched])
