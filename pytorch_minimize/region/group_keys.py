"""Params and keys of param groups as users write them: understood, inert or refused."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..wording import did_you_mean, nearest, shown

__all__ = ["LR", "as_groups", "believes", "check_lr", "check_written", "split", "understood_group"]

LR = 1.0
"""The ``lr`` of groups that state none: schedulers and monitors read it, nothing else does."""

_KEYS = ("params", "bounds", "lr", "name")
# What torch writes: names of parameters, and in between what its schedulers keep.
_BY_TORCH = frozenset(
    (
        *("param_names", "initial_lr", "max_lr", "min_lr", "start_lr", "end_lr", "swa_lr"),
        *("base_momentum", "max_momentum"),
    )
)

_NONE = "scipy's methods have none; leave it out"
_PENALTY = "add the penalty to the loss that the closure returns: loss + 0.5 * c * p.square().sum()"
_ONE_PASS = "all parameters are written in one pass in any case; leave it out"
# Keywords of torch's own optimizers that mean nothing where they are 0, False or None, and what
# to do instead where they are not.
_INSTEAD = {
    "weight_decay": _PENALTY,
    "decoupled_weight_decay": _PENALTY,
    "maximize": "return -loss from the closure",
    "momentum": _NONE,
    "dampening": _NONE,
    "nesterov": _NONE,
    "momentum_decay": _NONE,
    "lr_decay": _NONE,
    "amsgrad": _NONE,
    "centered": _NONE,
    "foreach": _ONE_PASS,
    "fused": _ONE_PASS,
    "capturable": "scipy runs on the host; capture what the closure does, and leave it out",
    "differentiable": "a run of scipy cannot be differentiated through; leave it out",
}
_UNDERSTOOD = frozenset((*_KEYS, *_BY_TORCH, *_INSTEAD))
_OTHERS = {
    name: f"{name} is of another optimizer; options of scipy's methods go into minimizer_args"
    for name in (
        *("betas", "eps", "alpha", "rho", "lambd", "t0", "etas", "step_sizes", "max_iter"),
        *("max_eval", "history_size", "tolerance_grad", "tolerance_change"),
    )
}

# Frameworks that pass a learning rate of their own to every optimizer, and which.
_PASSED_BY = {"skorch": 0.01, "transformers": 5e-5}


def as_groups(params: Any) -> Tensor | list[Any]:
    """``params`` of a constructor as a list; a single tensor is left to torch, which refuses it.

    Raises:
        TypeError: something else than parameters, named parameters or param groups.
    """
    if isinstance(params, Tensor):
        return params
    if isinstance(params, nn.Module) and not isinstance(params, nn.ParameterList):
        raise TypeError(_expected(f"the module {type(params).__name__}; give its .parameters()"))
    if isinstance(params, Mapping):
        what = "a group goes into a list" if "params" in params else "give its .values()"
        raise TypeError(_expected(f"a {type(params).__name__}; {what}"))
    if isinstance(params, (set, frozenset)):
        raise TypeError(_expected("a set, whose order differs from run to run; give a list"))
    if isinstance(params, (str, bytes)) or not isinstance(params, Iterable):
        call = "; call it" if callable(params) else ""
        raise TypeError(_expected(f"{shown(params)}{call}"))
    groups = list(params)
    modules = [type(item).__name__ for item in groups if isinstance(item, nn.Module)]
    if modules:
        raise TypeError(_expected(f"a list with the module {modules[0]}; give its .parameters()"))
    return groups


def understood_group(group: Any, where: str) -> dict[str, Any]:
    """A copy of a param group as the user writes it, its ``params`` a list.

    Raises:
        TypeError: it is no dict, or its ``params`` are none.
        ValueError: it has no ``params``, keys that are not understood, or a parameter that has no
            shape yet.
    """
    if not isinstance(group, Mapping):
        raise TypeError(
            f"{where}: expected a dict with params, got {shown(group)}; write "
            f"dict(params=[...]), with bounds=(low, high) where there are some"
        )
    if "params" not in group:
        raise ValueError(f"{where}: expected a dict with params, got the keys {shown(list(group))}")
    unknown = [key for key in group if key not in _UNDERSTOOD]
    if unknown:
        raise ValueError(
            f"{where}: expected keys among {', '.join(_KEYS)}; got {shown(unknown)}"
            f"{did_you_mean(unknown, _KEYS, _OTHERS)}"
        )
    _check_neutral(where, group)
    copy = dict(group)
    copy["params"] = as_groups(copy["params"])
    for param in copy["params"] if isinstance(copy["params"], list) else ():
        tensor = param[1] if isinstance(param, tuple) and len(param) == 2 else param
        if is_lazy(tensor):
            raise ValueError(
                f"{where}: a parameter belongs to a lazy module and has no shape yet; run the "
                f"model once before making the optimizer"
            )
    if copy.get("lr") is None:
        copy.pop("lr", None)
    else:
        check_lr(where, copy["lr"])
    return copy


def check_written(groups: Sequence[Mapping[str, Any]]) -> None:
    """Refuse what was written into param groups since they were added.

    Keys that are unknown may be those of a scheduler, which says what it wants with them; but not
    what looks like bounds.

    Raises:
        ValueError: a key that looks like ``bounds``, or a value that would be ignored.
    """
    for number, group in enumerate(groups):
        where = f"param group {number}"
        _check_neutral(where, group)
        for key in group.keys() - _UNDERSTOOD:
            if nearest(str(key), ["bounds"]) is not None:
                raise ValueError(f"{where}: got the key {shown(key)}; did you mean bounds?")


def split(keywords: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """``lr`` (None where it is absent), and the keywords but for torch's own.

    Raises:
        ValueError: a keyword of torch's optimizers with a value that would be ignored.
    """
    _check_neutral("the optimizer", keywords)
    lr = keywords.get("lr")
    if lr is not None:
        check_lr("the optimizer", lr)
    return lr, {k: v for k, v in keywords.items() if k not in _INSTEAD}


def check_lr(where: str, lr: Any) -> None:
    """Refuse what no torch optimizer takes for a learning rate."""
    number = isinstance(lr, (Real, Tensor)) and not isinstance(lr, bool)
    if not number or (isinstance(lr, Tensor) and lr.numel() != 1):
        raise TypeError(f"{where}: lr: expected a number, got {shown(lr)}")
    if not 0.0 <= float(lr) < math.inf:
        raise ValueError(f"{where}: lr: expected a number of at least 0, got {shown(lr)}")


def believes(lr: Any) -> bool:
    """Whether whoever set ``lr`` may count on it.

    Not with torch.optim.LBFGS's own 1, which asks for the whole step, and not where a framework
    that is running passes the one that it passes to every optimizer.
    """
    if lr is None or float(lr) == 1.0:
        return False
    return float(lr) not in {_PASSED_BY[name] for name in _running(_PASSED_BY)}


def _running(packages: Iterable[str]) -> set[str]:
    """Which of the packages have a frame on the stack."""
    found, frame = set(), sys._getframe(1)
    while frame is not None:
        found.add(str(frame.f_globals.get("__name__", "")).partition(".")[0])
        frame = frame.f_back  # type: ignore[assignment]
    return found & set(packages)


def _check_neutral(where: str, given: Mapping[str, Any]) -> None:
    for name in given:
        if name in _INSTEAD and not _is_neutral(given[name]):
            raise ValueError(
                f"{where}: expected {name} to be left out, 0, False or None; got "
                f"{shown(given[name])}: {_INSTEAD[name]}"
            )


def _is_neutral(value: object) -> bool:
    if isinstance(value, Tensor):
        return value.numel() == 1 and not bool(value)
    return value is None or (isinstance(value, Real) and not value)


def _expected(got: str) -> str:
    return f"params: expected parameters, named parameters or a list of param groups; got {got}"
