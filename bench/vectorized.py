"""Evaluations per second of differential evolution: a closure for each point, or a population.

A population of 100 points, generation after generation; the two ways take turns. "evaluation" is
a rate over the time of evaluations alone (closure or forward pass, and the bridge), "run" over the
whole of ``step``, most of which is scipy's own where evaluations are batched.

    python bench/vectorized.py [--json bench/results/vectorized.json] [--rounds 7]
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from _report import Row, headline, table, write
from torch import Tensor, nn

from pytorch_minimize.optim import DifferentialEvolutionWrapper, vectorize

POPULATION = 100
GENERATIONS = 20


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


MODELS: Mapping[str, Callable[[], Any]] = {"Rastrigin": Rastrigin, "network": Fit}


def rates(make: Callable[[], Any], *, batched: bool) -> dict[str, float]:
    """Evaluations per second of one run from a fixed seed."""
    model = make()
    numel = sum(p.numel() for p in model.parameters())
    optimizer = DifferentialEvolutionWrapper(
        [{"params": model.parameters(), "bounds": (-5.12, 5.12)}],
        {
            "popsize": POPULATION // numel,  # scipy's is per variable
            "maxiter": GENERATIONS,
            "tol": 0.0,
            "polish": False,
            "rng": 0,
        },
    )
    vectorized = vectorize(model, lambda m: m.loss()) if batched else None
    optimizer.step(model.loss, vectorized=vectorized)
    profile = optimizer.profile
    points = profile.counts["points" if batched else "closure"]
    return {
        "evaluation": points / (profile.closure + profile.bridge),
        "run": points / profile.total,
    }


def measure(name: str, rounds: int) -> Row:
    make = MODELS[name]
    taken: dict[bool, list[dict[str, float]]] = {False: [], True: []}
    for number in range(rounds + 1):  # the first is not counted
        for batched, found in taken.items():
            torch.manual_seed(0)
            rate = rates(make, batched=batched)
            if number:
                found.append(rate)
    row: dict[str, Any] = {"model": name, "n": sum(p.numel() for p in make().parameters())}
    for what in ("evaluation", "run"):
        plain, together = (
            statistics.median(rate[what] for rate in found) for found in taken.values()
        )
        row |= {what: plain, f"{what}, vectorized": together, f"{what} ratio": together / plain}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, default=Path("bench/results/vectorized.json"))
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the tensors are small: a second thread mostly waits
    print(headline())
    print("To reach: at least 10 times the evaluations per second on Rastrigin")
    rows = [measure(name, arguments.rounds) for name in MODELS]
    print(table(rows))
    write(arguments.json, rows)


if __name__ == "__main__":
    main()
