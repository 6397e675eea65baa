"""Keys of param groups and torch's own keywords: refused, inert, or what schedulers need."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from problems import rosenbrock
from torch import nn
from torch.optim import lr_scheduler
from torch.optim.swa_utils import SWALR

from pytorch_minimize.optim import DifferentialEvolutionWrapper, MinimizeWrapper

LBFGSB = {"method": "L-BFGS-B"}


def parameter(*values: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values, dtype=torch.float64))


REFUSED_KEYS = [
    ("bound", (0.0, 0.5), "did you mean bounds"),
    ("boundss", (0.0, 0.5), "did you mean bounds"),
    ("Bounds", (0.0, 0.5), "did you mean bounds"),
    ("tag", "a", "expected keys among params, bounds, lr, name"),
    ("betas", (0.9, 0.99), "is of another optimizer"),
    ("max_iter", 20, "go into minimizer_args"),
    ("weight_decay", 10.0, "add the penalty to the loss"),
    ("maximize", True, "return -loss"),
    ("momentum", 0.9, "leave it out"),
    ("foreach", True, "leave it out"),
    ("capturable", True, "capture what the closure does"),
    ("differentiable", True, "cannot be differentiated through"),
    ("lr", "0.1", "lr: expected a number"),
    ("lr", -1.0, "lr: expected a number of at least 0"),
    ("lr", float("nan"), "lr: expected a number of at least 0"),
]
REFUSED = (TypeError, ValueError)


@pytest.mark.parametrize(("key", "value", "message"), REFUSED_KEYS)
def test_keys_that_would_be_ignored(key: str, value: Any, message: str) -> None:
    group: dict[str, Any] = {"params": [parameter(0.0, 0.0)], key: value}
    with pytest.raises(REFUSED, match=f"param group 0.*{message}"):
        MinimizeWrapper([group], LBFGSB)
    optimizer = MinimizeWrapper([parameter(0.0)], LBFGSB)
    with pytest.raises(REFUSED, match=f"param group 1.*{message}"):
        optimizer.add_param_group(group)
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("key", ["weight_decay", "maximize", "momentum", "fused"])
def test_keywords_that_would_be_ignored(key: str) -> None:
    with pytest.raises(ValueError, match=f"expected {key} to be left out, 0, False or None"):
        MinimizeWrapper([parameter(0.0)], LBFGSB, **{key: True})  # type: ignore[arg-type]


NEUTRAL: dict[str, Any] = {
    "weight_decay": 0,
    "maximize": False,
    "momentum": 0.0,
    "dampening": 0,
    "nesterov": False,
    "amsgrad": False,
    "foreach": None,
    "fused": None,
    "capturable": False,
    "differentiable": False,
}


def test_neutral_keywords_change_nothing() -> None:
    plain, instance = rosenbrock(), rosenbrock()
    reference = MinimizeWrapper(plain.params, LBFGSB)
    reference.step(plain.closure(1))
    groups = [{"params": instance.params, "name": "all", "lr": 1} | NEUTRAL]
    optimizer = MinimizeWrapper(groups, LBFGSB, lr=1.0, **NEUTRAL)
    optimizer.step(instance.closure(1))
    assert np.array_equal(optimizer.res.x, reference.res.x)
    bounds = {"bounds": [(-1, 1)]}
    DifferentialEvolutionWrapper([parameter(0.0)], bounds, lr=None, **NEUTRAL)


def lr_of(group: dict[str, Any] | None = None, **keywords: Any) -> Any:
    groups = [{"params": [parameter(0.0)], **(group or {})}, {"params": [parameter(0.0)]}]
    return MinimizeWrapper(groups, LBFGSB, **keywords).param_groups[0]["lr"]


@pytest.mark.parametrize("group", [None, {"lr": None}, {"lr": 1}])
@pytest.mark.parametrize("keywords", [{}, {"lr": None}, {"lr": 1}])
def test_an_lr_that_nobody_believes_in_is_silent(
    group: dict[str, Any] | None, keywords: dict[str, Any]
) -> None:
    assert lr_of(group, **keywords) == 1.0


@pytest.mark.parametrize(
    ("group", "keywords"),
    [
        (None, {"lr": 0.1}),
        ({"lr": 0.1}, {}),
        ({"lr": 0.1}, {"lr": 0.01}),
        ({"lr": torch.tensor(0.1)}, {}),
        ({"lr": 0.01}, {"lr": 1}),  # skorch's, but skorch is not running
    ],
)
def test_an_lr_that_someone_may_believe_in_is_told_once(
    group: dict[str, Any] | None, keywords: dict[str, Any]
) -> None:
    with pytest.warns(UserWarning, match=r"lr=.* does nothing") as told:
        kept = lr_of(group, **keywords)
    assert len(told) == 1
    assert kept == (group or keywords)["lr"]


@pytest.mark.parametrize(("lr", "is_told"), [(0.01, False), (0.3, True)])
def test_what_a_framework_passes_by_itself_is_not_told(lr: float, is_told: bool) -> None:
    namespace: dict[str, Any] = {"__name__": "skorch.net", "make": lr_of}
    exec("def initialize(lr): return make(lr=lr)", namespace)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert namespace["initialize"](lr) == lr
    assert bool(told) == is_told


SCHEDULERS: dict[str, Callable[[MinimizeWrapper], Any]] = {
    "StepLR": lambda o: lr_scheduler.StepLR(o, 1),
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda epoch: 0.5**epoch),
    "ReduceLROnPlateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=0),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 2),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.1, 10, cycle_momentum=False),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 0.1, 1.0, cycle_momentum=False),
    "SWALR": lambda o: SWALR(o, 0.05),
}


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_schedulers_write_lr_and_change_nothing(scheduler: str) -> None:
    reference, instance = rosenbrock(), rosenbrock()
    plain = MinimizeWrapper(reference.params, LBFGSB)
    optimizer = MinimizeWrapper(instance.params, LBFGSB)
    schedule = SCHEDULERS[scheduler](optimizer)
    lrs = [optimizer.param_groups[0]["lr"]]
    for _ in range(2):
        plain.step(reference.closure(1))
        loss = optimizer.step(instance.closure(1))
        schedule.step(loss) if scheduler == "ReduceLROnPlateau" else schedule.step()
        lrs.append(optimizer.param_groups[0]["lr"])
    schedule.step(1e9) if scheduler == "ReduceLROnPlateau" else None
    assert np.array_equal(instance.x, reference.x)
    assert {*lrs, optimizer.param_groups[0]["lr"]} != {1.0}
    # What it keeps in the groups is not taken for the user's where they are added once more.
    if scheduler != "ReduceLROnPlateau":  # which keeps nothing
        MinimizeWrapper([{**group} for group in optimizer.param_groups], LBFGSB, lr=1)


def test_lr_survives_copies_and_older_states() -> None:
    optimizer = MinimizeWrapper([parameter(0.0)], LBFGSB)
    optimizer.param_groups[0]["lr"] = 0.5
    for other in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        assert other.param_groups[0]["lr"] == 0.5
    state = optimizer.state_dict()
    del state["param_groups"][0]["lr"]
    optimizer.load_state_dict(state)
    lr_scheduler.StepLR(optimizer, 1)


@pytest.mark.parametrize(("key", "value"), [("bound", (0, 1)), ("weight_decay", 0.1)])
def test_what_is_written_into_groups_later(key: str, value: Any) -> None:
    x = parameter(3.0)
    optimizer = MinimizeWrapper([x], LBFGSB)
    optimizer.param_groups[0][key] = value
    with pytest.raises(ValueError, match=f"param group 0.*{key}"):
        optimizer.step(lambda: x.square().sum())
    assert x.item() == 3.0


@pytest.mark.parametrize(
    "bounds",
    [
        [(0, 1), (0, 1)],
        ((0, 1), (0, 1)),
        [[0, 1], [2, 3]],
        ([0, 1], [0, 1]),
        [(0, None), (0, None)],
        [(torch.tensor(0.0), torch.tensor(1.0))] * 2,
        [(0, 1)],
        [(0, 1)] * 1000,
    ],
)
def test_pairs_of_scipy_in_a_group(bounds: Any) -> None:
    with pytest.raises(ValueError, match=r"looks like scipy's .*Give low and high as tensors"):
        MinimizeWrapper([{"params": [parameter(0.5, 0.5)], "bounds": bounds}], LBFGSB)


@pytest.mark.parametrize(
    ("bounds", "low", "high"),
    [
        ((0, 1), [0, 0], [1, 1]),
        ([0, 1], [0, 0], [1, 1]),
        (([0, 1], [2, 3]), [0, 1], [2, 3]),
        ([(0, 0), (1, 1)], [0, 0], [1, 1]),
        ([(0, -1), (1, 2)], [0, -1], [1, 2]),
        ((np.array([0, 1]), np.array([2, 3])), [0, 1], [2, 3]),
        ([torch.tensor([0, 1]), torch.tensor([2, 3])], [0, 1], [2, 3]),
        ((None, [1, 2]), [-9, -9], [1, 2]),
    ],
)
def test_a_low_and_a_high_of_several_numbers(bounds: Any, low: Any, high: Any) -> None:
    x = parameter(0.5, 0.5)
    optimizer = MinimizeWrapper([{"params": [x], "bounds": bounds}], LBFGSB)
    target = torch.tensor([-9.0, 9.0], dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the start is outside some of them
        optimizer.step(lambda: (x - target).square().sum())
    assert x.tolist() == pytest.approx([max(low[0], -9), min(high[1], 9)])
