"""load_state_dict refuses what is not whole or not ours, and changes nothing then."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from problems import rosenbrock
from saved_run import fitted
from torch import nn

from pytorch_minimize.optim import MinimizeWrapper


def everything(optimizer: MinimizeWrapper) -> Any:
    """All that a load could change, as plain values."""
    state = copy.deepcopy(optimizer.state_dict())
    tensors = {number: entry["best"].tolist() for number, entry in state.pop("state").items()}
    inverse = state["run"].pop("hess_inv").tolist()
    return tensors, inverse, state, repr(optimizer), dict(optimizer.state)


def emptied(*path: Any) -> Callable[[dict[str, Any]], None]:
    """Takes out what is at the end of a path."""

    def spoil(state: dict[str, Any]) -> None:
        for name in path[:-1]:
            state = state[name]
        del state[path[-1]]

    return spoil


def replaced(value: Any, *path: Any) -> Callable[[dict[str, Any]], None]:
    """Puts a value at the end of a path."""

    def spoil(state: dict[str, Any]) -> None:
        for name in path[:-1]:
            state = state[name]
        state[path[-1]] = value

    return spoil


def all_of(*spoils: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    def spoil(state: dict[str, Any]) -> None:
        for each in spoils:
            each(state)

    return spoil


WITHOUT_INVERSE = emptied("run", "hess_inv")
ROW = [1.0, 1.0, 1.0, 1.0, 1.0]
SPOILT = {
    **{f"without {part}": emptied(part) for part in ("state", "param_groups", "run")},
    **{
        f"without {part}": emptied("run", part)
        for part in ("settings", "arguments", "history", "loss", "method", "variables")
    },
    **{
        f"history without {part}": emptied("run", "history", part)
        for part in ("rows", "segments", "evaluations", "seconds")
    },
    "without the params of a group": emptied("param_groups", 0, "params"),
    "without one best value": all_of(emptied("state", 1), WITHOUT_INVERSE),
    "without best values": all_of(replaced({}, "state"), WITHOUT_INVERSE),
    "NaN in a best value": replaced(torch.tensor(torch.nan), "state", 1, "best"),
    "best values of another shape": replaced(torch.zeros(7), "state", 2, "best"),
    "best values that are complex": replaced(torch.tensor(1j), "state", 1, "best"),
    "best values that are integers": replaced(torch.tensor(1), "state", 1, "best"),
    "best values that are a list": replaced([1.0], "state", 1, "best"),
    "best values without memory": replaced(torch.zeros((), device="meta"), "state", 1, "best"),
    "a state that is a list": replaced([], "state"),
    "a parameter's state that is a tensor": replaced(torch.zeros(()), "state", 1),
    "a parameter too many": replaced({"best": torch.zeros(())}, "state", 3),
    "groups that are a dict": replaced({}, "param_groups"),
    "a group that is a list": replaced([0, 1, 2], "param_groups", 0),
    "params that are names": replaced(["a", "b", "c"], "param_groups", 0, "params"),
    "another number of params": replaced([0, 1], "param_groups", 0, "params"),
    "bounds of a group that are none": replaced((1, 2, 3), "param_groups", 0, "bounds"),
    "bounds of a group that are words": replaced(("a", None), "param_groups", 0, "bounds"),
    "a run that is a number": replaced(1, "run"),
    "a format to come": replaced(3, "run", "version"),
    "a format of no number": replaced("2", "run", "version"),
    "a loss that is NaN": replaced(float("nan"), "run", "loss"),
    "a loss that is a word": replaced("low", "run", "loss"),
    "a method that is a number": replaced(1, "run", "method"),
    "settings that are a list": replaced([], "run", "settings"),
    "settings out of range": replaced(-1, "run", "settings", "max_evaluations"),
    "settings that are unknown": replaced(1, "run", "settings", "speed"),
    "tol that is NaN": replaced(float("nan"), "run", "arguments", "tol"),
    "options that are a list": replaced([1], "run", "arguments", "options"),
    "history that is a list": replaced([], "run", "history"),
    "rows that are a number": replaced(3, "run", "history", "rows"),
    "a row too short": replaced([ROW[1:]], "run", "history", "rows"),
    "a row of words": replaced([list("abcde")], "run", "history", "rows"),
    "seconds below zero": replaced([[*ROW[1:], -1.0]], "run", "history", "rows"),
    "segments beyond the rows": replaced([0, 99], "run", "history", "segments"),
    "segments that fall": replaced([3, 0], "run", "history", "segments"),
    "segments of parts": replaced([0.5], "run", "history", "segments"),
    "evaluations that are NaN": replaced(float("nan"), "run", "history", "evaluations"),
    "an inverse Hessian of another shape": replaced(torch.eye(4), "run", "hess_inv"),
    "an inverse Hessian with NaN": replaced(torch.full((5, 5), torch.nan), "run", "hess_inv"),
    "an inverse Hessian not symmetric": replaced(torch.ones(5, 5).triu(), "run", "hess_inv"),
    "an inverse Hessian that is a list": replaced([[1.0]], "run", "hess_inv"),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_a_state_that_is_spoilt_changes_nothing(spoil: Callable[[dict[str, Any]], None]) -> None:
    _, source = fitted()
    instance, target = fitted(max_evaluations=50)
    target.step(instance.closure(1))
    state = copy.deepcopy(source.state_dict())
    target.load_state_dict(state)  # as it was
    target.step(instance.closure(1))
    before = everything(target)
    spoil(state)
    with pytest.raises((TypeError, ValueError), match=r"^load_state_dict: "):
        target.load_state_dict(state)
    assert everything(target) == before


def other_states() -> dict[str, Any]:
    model = nn.Linear(2, 1)
    states: dict[str, Any] = {"None": None, "an int": 7, "a list": [], "an empty dict": {}}
    for optimizer in (
        torch.optim.Adam(model.parameters()),
        torch.optim.SGD(model.parameters(), lr=0.1),
        torch.optim.LBFGS(model.parameters()),
    ):
        optimizer.step(lambda: model(torch.ones(1, 2)).square().sum())
        states[type(optimizer).__name__] = optimizer.state_dict()
    return states | {"a model": model.state_dict()}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        *((name, "expected what state_dict") for name in ("None", "an int", "a list")),
        ("an empty dict", "nothing in it"),
        *((name, "of another optimizer, whose groups hold") for name in ("Adam", "SGD", "LBFGS")),
        ("a model", r"weight, bias\. It seems to be a model's"),
    ],
)
def test_what_is_no_state_of_ours(name: str, message: str) -> None:
    _, target = fitted()
    before = everything(target)
    with pytest.raises((TypeError, ValueError), match=message):
        target.load_state_dict(other_states()[name])
    assert everything(target) == before


def test_a_state_of_other_parameters() -> None:
    _, source = fitted()
    instance = rosenbrock()
    saved = source.state_dict()
    transposed = [torch.zeros((*p.shape, 1), requires_grad=True) for p in instance.params]
    with pytest.raises(ValueError, match=r"parameter 0 has shape .* the saved one"):
        MinimizeWrapper(transposed, {}).load_state_dict(saved)
    with pytest.raises(ValueError, match=r"groups have \[2\] parameters, the saved one's \[3\]"):
        MinimizeWrapper(instance.params[:2], {}).load_state_dict(saved)
    low = [p.detach().half().requires_grad_() for p in instance.params]
    saved["state"][1]["best"] = torch.tensor(1e9)
    with pytest.raises(ValueError, match=r"finite in torch\.float16.* parameter 1"):
        MinimizeWrapper(low, {"method": "BFGS"}).load_state_dict(saved)
