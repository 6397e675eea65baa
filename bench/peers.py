"""Packages that fit torch models by scipy or by L-BFGS, each used as its documentation says.

All get one problem, one start and one stopping rule: the largest entry of the gradient at most
``gtol``, or ``maxiter`` iterations, and nothing else. Those with a solver of their own are told
so in its words.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch

from pytorch_minimize.optim import MinimizeWrapper

from .problems import Problem
from .straightforward import minimize as straightforward

__all__ = ["OURS", "PEERS", "SCIPY_PEERS", "Peer", "Rule", "Split", "ours", "why_not"]


@dataclass(frozen=True)
class Rule:
    """When to stop."""

    gtol: float = 0.0
    maxiter: int = 100
    method: str = "L-BFGS-B"  # the one that all of them have

    @property
    def options(self) -> dict[str, Any]:
        """In scipy's words; a new dict, since some write into theirs."""
        others = {"L-BFGS-B": {"ftol": 0.0, "maxfun": 10**9}}
        return {"gtol": self.gtol, "maxiter": self.maxiter, **others.get(self.method, {})}


Split = Mapping[str, float]


@dataclass(frozen=True)
class Peer:
    """One way to minimise.

    Attributes:
        distribution: what to install for it.
        module: what it is imported as.
        run: minimises a problem by a rule; returns seconds by part where it knows them.
        uses_scipy: whether scipy's solver does the work, so that its path is scipy's.
        differentiates: whether it calls autograd itself, on a function of the tensors.
    """

    distribution: str
    module: str
    run: Callable[[Problem, Rule], Split | None]
    uses_scipy: bool = True
    differentiates: bool = False


def ours(problem: Problem, rule: Rule, **run_keywords: Any) -> Split:
    arguments = {"method": rule.method, "options": rule.options}
    optimizer = MinimizeWrapper(problem.params, arguments, **run_keywords)
    optimizer.step(problem.closure)
    profile = optimizer.profile
    return {part: getattr(profile, part) for part in ("closure", "bridge", "solver")}


def _ours_in_python(problem: Problem, rule: Rule) -> Split:
    with mock.patch.dict(os.environ, PYTORCH_MINIMIZE_BRIDGE="python"):
        return ours(problem, rule)


def _straightforward(problem: Problem, rule: Rule) -> None:
    straightforward(problem.params, problem.closure, method=rule.method, options=rule.options)


def _torchmin_scipy(problem: Problem, rule: Rule) -> None:
    from torchmin.optim import ScipyMinimizer

    optimizer = ScipyMinimizer(problem.params, method=rule.method.lower(), options=rule.options)
    optimizer.step(problem.closure)


def _torchmin(problem: Problem, rule: Rule) -> None:
    from torchmin.optim import Minimizer

    options = {"gtol": rule.gtol, "xtol": 0.0, "history_size": 10}
    optimizer = Minimizer(problem.params, method="l-bfgs", max_iter=rule.maxiter, options=options)
    optimizer.step(problem.loss_to_differentiate)


def _autograd_minimize(problem: Problem, rule: Rule) -> None:
    from autograd_minimize import minimize

    result = minimize(
        problem.loss_of,
        [p.detach().numpy() for p in problem.params],
        backend="torch",
        precision=str(problem.params[0].dtype).removeprefix("torch."),
        method=rule.method,
        options=rule.options,
    )
    with torch.no_grad():
        for p, value in zip(problem.params, result.x, strict=True):
            p.copy_(torch.as_tensor(value))


def _botorch(problem: Problem, rule: Rule) -> None:
    from botorch.optim.core import scipy_minimize

    params = problem.params

    def closure() -> tuple[Any, list[Any]]:
        return problem.closure(), [p.grad for p in params]

    names = {str(i): p for i, p in enumerate(params)}
    scipy_minimize(closure, names, method=rule.method, options=rule.options)


def _torch_lbfgs(problem: Problem, rule: Rule) -> None:
    optimizer = torch.optim.LBFGS(
        problem.params,
        max_iter=rule.maxiter,
        max_eval=10**9,
        tolerance_grad=rule.gtol,
        tolerance_change=0.0,
        history_size=10,
        line_search_fn="strong_wolfe",
    )
    optimizer.step(problem.closure)


OURS = "ours"
_HERE = ("pytorch-minimize-bridge", "pytorch_minimize")

PEERS: Mapping[str, Peer] = {
    OURS: Peer(*_HERE, ours),
    "Python bridge": Peer(*_HERE, _ours_in_python),
    "straightforward": Peer(*_HERE, _straightforward),
    "torchmin, scipy": Peer("pytorch-minimize", "torchmin", _torchmin_scipy),
    "autograd-minimize": Peer(
        "autograd-minimize", "autograd_minimize", _autograd_minimize, differentiates=True
    ),
    "botorch": Peer("botorch", "botorch", _botorch),
    "torchmin": Peer("pytorch-minimize", "torchmin", _torchmin, uses_scipy=False),
    "torch LBFGS": Peer("torch", "torch", _torch_lbfgs, uses_scipy=False),
}

SCIPY_PEERS = [name for name, peer in PEERS.items() if peer.uses_scipy]


def why_not(peer: Peer, attempt: Callable[[], object]) -> str | None:
    """Try it once; the reason where it cannot be measured, None where it can."""
    if importlib.util.find_spec(peer.module) is None:
        return "not installed"
    try:
        attempt()
    except Exception as error:  # whatever a package of others raises is its answer
        lines = str(error).splitlines()
        return f"cannot: {type(error).__name__}: {lines[0] if lines else ''}"
    return None
