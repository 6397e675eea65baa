"""A state that is to be loaded, checked whole before anything changes."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from ..problem.best_point import BestPoint
from ..record.history import History
from ..settings import Settings
from .warm_start import InverseHessian

__all__ = ["VERSION", "SavedState", "check_is_ours"]

# 1, which has no number in it, is that of version 0.1.0: "best" and the loss are there before any
# run as well, and the loss is NaN where no checkpoint wrote it.
VERSION = 2

_PARTS = ("state", "param_groups", "run")
_RUN = ("settings", "arguments", "history", "loss")
_RUN_2 = (*_RUN, "method", "variables")
_SYMMETRIC_TO = 1e-8


@dataclass(frozen=True)
class SavedState:
    """What a state says, all of it checked.

    Attributes:
        history: as :meth:`History.state_dict` gives it.
        best: the best point, or None.
        inverse: the inverse Hessian of a quasi-Newton method, or None.
        method: by which it came about; None where a state of version 0.1.0 does not say.
        bounds: of each param group.
        rest: what torch restores: groups without bounds, and states but for our own.
    """

    history: Mapping[str, Any]
    best: BestPoint | None
    inverse: InverseHessian | None
    method: str | None
    bounds: list[Any]
    rest: dict[str, Any]

    @classmethod
    def parse(cls, state: Mapping[str, Any], groups: Sequence[Mapping[str, Any]]) -> SavedState:
        """Check a state against the param groups that it is loaded into.

        Raises:
            TypeError, ValueError: it is no state of ours or of other parameters, or a part of it is
                missing or spoilt.
        """
        check_is_ours(state)
        run = state["run"]
        version = _version(run)
        params = _matched(state["param_groups"], groups)
        values = _best_values(state["state"], params)
        history = run["history"]
        with _part("history"):
            History().load_state_dict(history)
        with _part("settings"):
            Settings.parse(_mapping("settings", run["settings"]))
        method = _method(run, version)
        loss = _loss(run["loss"], version)
        if version == 1 and loss is None and not history["evaluations"]:
            values = {}  # of no run, but where the parameters were when it was saved
        best = BestPoint.of_tensors(values.keys(), values.values(), loss) if values else None
        _check_whole(run, loss, best)
        inverse = _inverse(run.get("hess_inv"), best)
        bounds = [group.get("bounds") for group in state["param_groups"]]
        return cls(history, best, inverse, method, bounds, _rest(state))


def check_is_ours(state: object) -> None:
    """Refuse what no optimizer of this package returned from ``state_dict``."""
    if not isinstance(state, Mapping):
        _refuse(f"expected what state_dict() returned, got {type(state).__name__}", TypeError)
    missing = [name for name in _PARTS if name not in state]
    if not missing:
        _mapping("state", state["state"])
        _mapping("run", state["run"])
        return
    given = "a dict with " + (_few(state) or "nothing in it")
    hint = ""
    if missing == ["run"]:
        groups = _list("param_groups", state["param_groups"])
        keys = {str(key) for group in groups if isinstance(group, Mapping) for key in group}
        hint = f" It seems to be of another optimizer, whose groups hold {_few(sorted(keys))}."
    elif state and all(isinstance(value, Tensor) for value in state.values()):
        hint = " It seems to be a model's: give it to the model's load_state_dict."
    _refuse(
        f"expected what state_dict() of an optimizer of this package returned, with "
        f"{', '.join(_PARTS)}; got {given}.{hint}"
    )


def _version(run: Mapping[str, Any]) -> int:
    version = run.get("version", 1)
    if type(version) is not int or not 1 <= version <= VERSION:
        _refuse(
            f"expected a format of version 1 to {VERSION}, got {version!r}; if it was saved by a "
            f"newer pytorch_minimize, load it with that"
        )
    missing = [name for name in (_RUN if version == 1 else _RUN_2) if name not in run]
    if missing:
        _refuse(f"{', '.join(missing)} missing in its part 'run'")
    return version


def _matched(saved: object, groups: Sequence[Mapping[str, Any]]) -> dict[int, Tensor]:
    """The parameter for each number that the state calls one by."""
    numbers: list[list[Any]] = []
    for group in _list("param_groups", saved):
        numbers.append(_list("params of a group", _mapping("a param group", group).get("params")))
    sizes, own = [len(group) for group in numbers], [len(group["params"]) for group in groups]
    if sizes != own:
        _refuse(
            f"this optimizer's parameter groups have {own} parameters, the saved one's {sizes}; "
            f"load it into an optimizer of the same groups"
        )
    if not all(type(number) is int for group in numbers for number in group):
        _refuse(f"expected numbers for the params of a group, got {numbers}", TypeError)
    params = itertools.chain.from_iterable(group["params"] for group in groups)
    return dict(zip(itertools.chain.from_iterable(numbers), params, strict=True))


def _best_values(state: Mapping[Any, Any], params: Mapping[int, Tensor]) -> dict[Tensor, Tensor]:
    """The best value of each parameter that has one, in the order of the param groups."""
    strangers = [number for number in state if number not in params]
    if strangers:
        _refuse(f"the state has parameters {_few(strangers)}, which are in none of its groups")
    values = {}
    for number, param in params.items():
        entry = _mapping(f"the state of parameter {number}", state.get(number, {}))
        if "best" in entry:
            _check_best(number, entry["best"], param)
            values[param] = entry["best"]
    return values


def _check_best(number: int, best: object, param: Tensor) -> None:
    if not isinstance(best, Tensor):
        _refuse(
            f"expected a tensor as the best value of parameter {number}, got {type(best).__name__}",
            TypeError,
        )
    if best.shape != param.shape:
        _refuse(
            f"parameter {number} has shape {tuple(param.shape)}, but the saved one "
            f"{tuple(best.shape)}; load it into the model that it was saved of"
        )
    if best.is_meta or best.layout != torch.strided:
        _refuse(f"expected a dense tensor as the best value of parameter {number}, got {best!r}")
    if (best.is_complex(), best.is_floating_point()) != (
        param.is_complex(),
        param.is_floating_point(),
    ):
        _refuse(f"parameter {number} is {param.dtype}, but the saved one {best.dtype}", TypeError)
    if not torch.isfinite(best.to(param.dtype)).all():
        _refuse(
            f"expected best values that are finite in {param.dtype}, got NaN or inf in parameter "
            f"{number}"
        )


def _method(run: Mapping[str, Any], version: int) -> str | None:
    """The method's name. The arguments are not loaded, but show whether the state is whole."""
    arguments = _mapping("arguments", run["arguments"])
    _mapping("options", arguments.get("options") or {})
    tol = arguments.get("tol")
    if not (tol is None or (isinstance(tol, Real) and float(tol) >= 0.0)):
        _refuse(f"expected tol to be a number >= 0 or None, got {tol!r}")
    method = arguments.get("method") if version == 1 else run["method"]
    if not (isinstance(method, str) or (method is None and version == 1)):
        _refuse(f"expected the name of a method, got {method!r}", TypeError)
    return method


def _loss(loss: object, version: int) -> float | None:
    if loss is None:
        return None
    if isinstance(loss, bool) or not isinstance(loss, Real):
        _refuse(f"expected a number as the loss of the best point, got {loss!r}", TypeError)
    if version == 1 and math.isnan(loss):
        return None
    if not math.isfinite(loss):
        _refuse(f"expected a finite loss of the best point, got {loss}")
    return float(loss)


def _check_whole(run: Mapping[str, Any], loss: float | None, best: BestPoint | None) -> None:
    numel = 0 if best is None else best.variables.numel
    expected = run.get("variables", numel)
    if expected != numel or (loss is not None and best is None):
        _refuse(
            f"expected a best value of each parameter that was optimised, {expected!r} numbers "
            f"with a loss of {loss}; got {numel} numbers"
        )


def _inverse(matrix: object, best: BestPoint | None) -> InverseHessian | None:
    if matrix is None:
        return None
    if not isinstance(matrix, Tensor) or not matrix.is_floating_point():
        _refuse(f"expected hess_inv to be a tensor of real numbers, got {matrix!r}", TypeError)
    n = 0 if best is None else best.variables.numel
    if best is None or matrix.shape != (n, n):
        _refuse(f"expected hess_inv of shape {(n, n)}, got {tuple(matrix.shape)}")
    array = matrix.detach().cpu().double().numpy().copy()
    largest = float(np.abs(array).max(initial=0.0))
    if not math.isfinite(largest):
        _refuse("expected hess_inv to be finite, got NaN or inf")
    if float(np.abs(array - array.T).max(initial=0.0)) > _SYMMETRIC_TO * largest:
        _refuse("expected hess_inv to be symmetric")
    return InverseHessian(best.variables, array)


def _rest(state: Mapping[str, Any]) -> dict[str, Any]:
    rest = {name: value for name, value in state.items() if name != "run"}
    rest["param_groups"] = [dict(group, bounds=None) for group in state["param_groups"]]
    entries = {
        number: {name: value for name, value in entry.items() if name != "best"}
        for number, entry in state["state"].items()
    }
    rest["state"] = {number: entry for number, entry in entries.items() if entry}
    return rest


def _mapping(what: str, value: object) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        _refuse(f"expected {what} to be a dict, got {type(value).__name__}", TypeError)
    return value


def _list(what: str, value: object) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        _refuse(f"expected {what} to be a list, got {type(value).__name__}", TypeError)
    return list(value)


@contextlib.contextmanager
def _part(name: str) -> Iterator[None]:
    """Errors inside say that they are about a saved part."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise type(error)(f"load_state_dict: saved {name}: {error}") from error


def _few(names: Any) -> str:
    names = [str(name) for name in names]
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


def _refuse(message: str, kind: type[Exception] = ValueError) -> NoReturn:
    raise kind(f"load_state_dict: {message}")
