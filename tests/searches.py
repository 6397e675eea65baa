"""What each global optimiser needs to find the lowest minimum of each landscape."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from instance import Instance
from landscapes import ACKLEY, RASTRIGIN, STYBLINSKI_TANG, Landscape
from torch import Tensor

from pytorch_minimize.optim import (
    BasinHoppingWrapper,
    BruteWrapper,
    DifferentialEvolutionWrapper,
    DirectWrapper,
    DualAnnealingWrapper,
    SHGOWrapper,
)

Make = Callable[[Any, Mapping[str, Any], Mapping[str, Any]], Any]

MAKE: dict[str, Make] = {
    "basinhopping": lambda params, args, keywords: BasinHoppingWrapper(params, args, keywords),
    "differential_evolution": lambda params, args, keywords: DifferentialEvolutionWrapper(
        params, keywords
    ),
    "shgo": lambda params, args, keywords: SHGOWrapper(params, args, keywords),
    "dual_annealing": lambda params, args, keywords: DualAnnealingWrapper(params, args, keywords),
    "direct": lambda params, args, keywords: DirectWrapper(params, keywords),
    "brute": lambda params, args, keywords: BruteWrapper(params, keywords),
}


@dataclasses.dataclass(frozen=True)
class Search:
    """One run of one algorithm on one landscape.

    Attributes:
        keywords: the algorithm's, besides bounds.
        accuracy: how close to the least value it comes; gradient-free algorithms stop early.
        batched: evaluate a population at once; the long runs of differential evolution.
    """

    algorithm: str
    landscape: Landscape
    n: int
    keywords: Mapping[str, Any]
    accuracy: float = 1e-8
    batched: bool = False

    def __str__(self) -> str:
        return f"{self.algorithm}-{self.landscape}-{self.n}"

    @property
    def local(self) -> dict[str, Any]:
        """``minimizer_args``: the algorithm's own choice, and for basinhopping L-BFGS-B."""
        bounds = self.landscape.bounds(self.n)
        if self.algorithm == "basinhopping":
            return {"method": "L-BFGS-B", "bounds": bounds}
        return {}

    @property
    def all_keywords(self) -> dict[str, Any]:
        if self.algorithm == "basinhopping":
            return dict(self.keywords)
        return {"bounds": self.landscape.bounds(self.n), **self.keywords}

    def instance(self, dtype: torch.dtype = torch.float64) -> Instance:
        return self.landscape.instance(self.n, dtype)

    def optimizer(self, instance: Instance, **more: Any) -> Any:
        return MAKE[self.algorithm](instance.params, self.local, self.all_keywords | more)

    def run(self, dtype: torch.dtype = torch.float64, **more: Any) -> tuple[Instance, Any]:
        """The instance and the optimizer, after a step."""
        instance = self.instance(dtype)
        optimizer = self.optimizer(instance, **more)
        keywords = {"vectorized": self.losses} if self.batched else {}
        optimizer.step(instance.closure(2), **keywords)
        return instance, optimizer

    def losses(self, stacked: Sequence[Tensor]) -> Tensor:
        """The losses at many points, for ``vectorized``."""
        first, others = stacked
        return self.landscape.surface(torch.cat([first[:, None], others], dim=1))


def _hops(landscape: Landscape, n: int, niter: int, stepsize: float, **more: Any) -> Search:
    return Search("basinhopping", landscape, n, {"niter": niter, "stepsize": stepsize, **more})


def _evolve(landscape: Landscape, n: int, popsize: int, seed: int) -> Search:
    # atol: where the minimum is 0, a relative tolerance never ends the run.
    keywords = {"popsize": popsize, "rng": seed, "atol": 1e-4}
    return Search("differential_evolution", landscape, n, keywords, batched=n > 2)


def _shgo(landscape: Landscape, n: int, points: int, method: str) -> Search:
    return Search("shgo", landscape, n, {"n": points, "sampling_method": method})


def _anneal(landscape: Landscape, n: int, maxiter: int, seed: int) -> Search:
    return Search("dual_annealing", landscape, n, {"maxiter": maxiter, "rng": seed})


def _direct(landscape: Landscape, n: int, accuracy: float, **keywords: Any) -> Search:
    return Search("direct", landscape, n, {"vol_tol": 0.0, "maxfun": 2000} | keywords, accuracy)


def _brute(landscape: Landscape, n: int, per_variable: int, accuracy: float) -> Search:
    return Search("brute", landscape, n, {"Ns": per_variable}, accuracy)


# Landscapes on which each algorithm has room to spare: a rounding may send a search another way,
# and must not send it away from the minimum.
SEARCHES = (
    _hops(STYBLINSKI_TANG, 2, 10, 4.0, rng=0),
    _hops(STYBLINSKI_TANG, 5, 30, 4.0, rng=0),
    _hops(ACKLEY, 2, 30, 2.0, rng=0),
    _evolve(STYBLINSKI_TANG, 2, 15, 0),
    _evolve(STYBLINSKI_TANG, 5, 15, 0),
    _evolve(RASTRIGIN, 2, 20, 0),
    _shgo(STYBLINSKI_TANG, 2, 32, "sobol"),
    _shgo(STYBLINSKI_TANG, 5, 32, "simplicial"),
    _shgo(RASTRIGIN, 2, 128, "simplicial"),
    _anneal(STYBLINSKI_TANG, 2, 50, 0),
    _anneal(STYBLINSKI_TANG, 5, 200, 0),
    _anneal(ACKLEY, 2, 100, 0),
    _direct(STYBLINSKI_TANG, 2, 1e-4, maxfun=1000),
    _direct(STYBLINSKI_TANG, 5, 0.05, maxfun=2000),
    _direct(RASTRIGIN, 2, 1e-6),
    _brute(STYBLINSKI_TANG, 2, 15, 1e-6),
    _brute(STYBLINSKI_TANG, 5, 4, 1e-5),
    _brute(RASTRIGIN, 2, 25, 1e-6),
)

# One quick run of each algorithm, for what all of them promise.
QUICK = {s.algorithm: s for s in SEARCHES if s.landscape is STYBLINSKI_TANG and s.n == 2}
