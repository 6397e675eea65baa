"""Evaluations per second of differential evolution: a closure for each point, or a population.

A population of 100 points, generation after generation; the two ways take turns. "evaluation" is
a rate over the time of evaluations alone (closure or forward pass, and the bridge), "run" over the
whole of ``step``, most of which is scipy's own where evaluations are batched.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pytorch_minimize.optim import DifferentialEvolutionWrapper, vectorize

from .timing import medians

__all__ = ["rates"]

Row = Mapping[str, Any]

POPULATION = 100


class Rastrigin(nn.Module):
    """Its loss, at the point that is its parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.tensor([3.1, -3.9], dtype=torch.float64))

    def loss(self) -> Tensor:
        x = self.x
        return (x.square() - 10 * torch.cos(2 * math.pi * x) + 10).sum()


class Fit(nn.Module):
    """The loss of a small network, of 25 variables, on 50 samples."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 1)).double()
        self.inputs = torch.randn(50, 2, dtype=torch.float64)
        self.targets = self.inputs.prod(1, keepdim=True)

    def loss(self) -> Tensor:
        return nn.functional.mse_loss(self.net(self.inputs), self.targets)


MODELS: Mapping[str, Callable[[], Rastrigin | Fit]] = {"Rastrigin": Rastrigin, "network": Fit}


def rates(generations: int, rounds: int) -> list[Row]:
    """Evaluations per second of both ways, and their ratios, for each model."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # the tensors are small: a second thread mostly waits
    try:
        return [_row(name, generations, rounds) for name in MODELS]
    finally:
        torch.set_num_threads(before)


def _row(name: str, generations: int, rounds: int) -> Row:
    taken: dict[bool, list[dict[str, float]]] = {False: [], True: []}
    for number in range(rounds + 1):  # the first is not counted
        for batched, found in taken.items():
            torch.manual_seed(0)
            run = _rates(MODELS[name](), generations, batched=batched)
            if number:
                found.append(run)
    plain, together = (medians(found) for found in taken.values())
    row: dict[str, Any] = {"model": name, "n": _numel(MODELS[name]())}
    for what, rate in plain.items():
        row |= {f"{what}s/s": rate, f"{what}s/s, vectorized": together[what]}
        row[f"{what} ratio"] = together[what] / rate
    return row


def _rates(model: Rastrigin | Fit, generations: int, *, batched: bool) -> dict[str, float]:
    """Evaluations per second of one run from a fixed seed."""
    optimizer = DifferentialEvolutionWrapper(
        [{"params": model.parameters(), "bounds": (-5.12, 5.12)}],
        {
            "popsize": POPULATION // _numel(model),  # scipy's is per variable
            "maxiter": generations,
            "tol": 0.0,
            "polish": False,
            "rng": 0,
        },
    )
    vectorized = vectorize(model, operator.methodcaller("loss")) if batched else None
    optimizer.step(model.loss, vectorized=vectorized)
    profile = optimizer.profile
    points = profile.counts["points" if batched else "closure"]
    return {
        "evaluation": points / (profile.closure + profile.bridge),
        "run": points / profile.total,
    }


def _numel(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
