"""Many starts: one after another, and all at once in rounds of one batched evaluation.

    python -m bench.starts [--starts 32] [--rounds 5] [--out bench/results]

Closures and seconds of both ways, which take turns on the same starts; and, where botorch is
installed, acquisition functions of Gaussian processes on public test functions, maximised from
the same restarts by its ``optimize_acqf`` and by ``MultiStartWrapper``. botorch is an optional
peer: its version is pinned in peers.txt, and nothing of the package depends on it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import statistics
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pytorch_minimize.optim import MultiStartWrapper

from .environment import environment, headline
from .rows import Row, table

__all__ = ["PROBLEMS", "Starting", "acquisitions", "main", "times"]

METHODS = ("torch-BFGS", "SSBroyden", "BFGS", "L-BFGS-B", "torch-L-BFGS")
PEER = "botorch"


@dataclass(frozen=True)
class Starting:
    """A loss, whose batched form takes stacks of parameters.

    Attributes:
        params: at any values.
        losses: stacks (S, *shape), or the parameters themselves without S -> losses (S,), or one.
        width: starts are uniform between -width and width.
    """

    params: list[nn.Parameter]
    losses: Callable[[Sequence[Tensor]], Tensor]
    width: float

    def points(self, count: int) -> Any:
        n = sum(p.numel() for p in self.params)
        return np.random.default_rng(0).uniform(-self.width, self.width, (count, n))


def _rosenbrock(stacks: Sequence[Tensor]) -> Tensor:
    head, tail = stacks[0][..., :-1], stacks[0][..., 1:]
    return (100.0 * (tail - head**2) ** 2 + (1.0 - head) ** 2).sum(-1)


def _rastrigin(stacks: Sequence[Tensor]) -> Tensor:
    x = stacks[0]
    return (x**2 - 10.0 * torch.cos(2.0 * math.pi * x) + 10.0).sum(-1)


def _tanh_fit() -> Starting:
    """A network of 61 variables with one hidden layer, on 20 points of a sine."""
    inputs = torch.linspace(-1.0, 1.0, 20, dtype=torch.float64)[:, None]
    targets = torch.sin(4.0 * inputs)
    shapes = ((20, 1), (20,), (1, 20), (1,))
    params = [nn.Parameter(torch.zeros(shape, dtype=torch.float64)) for shape in shapes]

    def losses(stacks: Sequence[Tensor]) -> Tensor:
        w1, b1, w2, b2 = stacks
        hidden = torch.tanh(inputs @ w1.mT + b1.unsqueeze(-2))
        return (hidden @ w2.mT + b2.unsqueeze(-2) - targets).square().mean((-2, -1))

    return Starting(params, losses, 1.5)


def _point(n: int) -> list[nn.Parameter]:
    return [nn.Parameter(torch.zeros(n, dtype=torch.float64))]


PROBLEMS: Mapping[str, Callable[[], Starting]] = {
    "rosen10": lambda: Starting(_point(10), _rosenbrock, 2.0),
    "rastrigin10": lambda: Starting(_point(10), _rastrigin, 5.12),
    "tanh fit": _tanh_fit,
}


def times(count: int, rounds: int, methods: Sequence[str] = METHODS) -> list[Row]:
    """Both ways for each problem and method; medians of ``rounds`` turns after one not counted."""
    return [
        _row(name, make(), method, count, rounds)
        for name, make in PROBLEMS.items()
        for method in methods
    ]


def _row(name: str, problem: Starting, method: str, count: int, rounds: int) -> Row:
    wall: dict[bool, list[float]] = {False: [], True: []}
    cpu: dict[bool, list[float]] = {False: [], True: []}
    calls: dict[bool, int] = {}
    ends: dict[bool, float] = {}
    for number in range(rounds + 1):
        for together in wall if number % 2 else reversed(wall):
            found = _run(problem, method, count, together=together)
            calls[together], ends[together] = found[2:]
            if number:
                wall[together].append(found[0])
                cpu[together].append(found[1])
    one, many = (statistics.median(wall[together]) for together in (False, True))
    one_cpu, many_cpu = (statistics.median(cpu[together]) for together in (False, True))
    return {
        "problem": name,
        "method": method,
        "closures": calls[False],
        "batched": calls[True],
        "fewer": calls[False] / calls[True],
        "ms": 1e3 * one,
        "ms, batched": 1e3 * many,
        "faster": one / many,
        "CPU ms": 1e3 * one_cpu,
        "CPU ms, batched": 1e3 * many_cpu,
        "less CPU": one_cpu / many_cpu,
        "end": ends[False],
        "end, batched": ends[True],
    }


def _run(
    problem: Starting, method: str, count: int, *, together: bool
) -> tuple[float, float, int, float]:
    """Seconds, seconds of CPU, evaluations of the closure single or batched, and the best loss."""
    args = {"method": method, "options": {"maxiter": 400}}
    optimizer = MultiStartWrapper(problem.params, args, problem.points(count))
    vectorized = problem.losses if together else None
    wall, cpu = perf_counter(), process_time()
    loss = optimizer.step(lambda: problem.losses(problem.params), vectorized=vectorized)
    taken = perf_counter() - wall, process_time() - cpu
    counts = optimizer.profile.counts
    return *taken, counts["closure"] + counts.get("vectorized", 0), float(loss)


def acquisitions(restarts: int) -> list[Row]:
    """What each of both maximisers ends with, from the same restarts, and how long it takes."""
    from botorch.test_functions import Ackley, Branin, Hartmann

    functions = {
        "Branin": Branin(negate=True),
        "Hartmann6": Hartmann(negate=True),
        "Ackley4": Ackley(dim=4, negate=True),
    }
    return [
        _acquisition(name, function, kind, restarts)
        for name, function in functions.items()
        for kind in ("LogEI", "UCB")
    ]


def _acquisition(name: str, function: Any, kind: str, restarts: int) -> Row:
    from botorch.optim import optimize_acqf
    from botorch.optim.initializers import gen_batch_initial_conditions

    torch.manual_seed(0)
    n = function.dim
    acquisition = _made(function, kind)
    bounds = torch.stack([torch.zeros(n), torch.ones(n)]).double()
    starts = gen_batch_initial_conditions(acquisition, bounds, 1, restarts, raw_samples=256)
    begun = perf_counter()
    _, value = optimize_acqf(
        acquisition, bounds, 1, restarts, batch_initial_conditions=starts.clone()
    )
    theirs = perf_counter() - begun

    x = nn.Parameter(starts[0, 0].clone())
    groups = [{"params": [x], "bounds": (0.0, 1.0)}]
    args = {"method": "L-BFGS-B", "options": {"maxiter": 2000}}  # the peer's own
    begun = perf_counter()
    optimizer = MultiStartWrapper(groups, args, starts[:, 0])
    loss = optimizer.step(
        lambda: -acquisition(x.view(1, 1, n)).sum(),
        vectorized=lambda stacks: -acquisition(stacks[0].unsqueeze(1)),
    )
    return {
        "function": name,
        "acquisition": kind,
        "restarts": restarts,
        "botorch": float(value),
        "ours": -float(loss),
        "difference": -float(loss) - float(value),
        "ms, botorch": 1e3 * theirs,
        "ms, ours": 1e3 * (perf_counter() - begun),
    }


def _made(function: Any, kind: str) -> Any:
    """The acquisition function of a Gaussian process fitted to 20 values of the function."""
    from botorch.acquisition import LogExpectedImprovement, UpperConfidenceBound
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import SingleTaskGP
    from botorch.models.transforms import Standardize
    from botorch.utils.transforms import unnormalize
    from gpytorch.mlls import ExactMarginalLogLikelihood

    inputs = torch.rand(20, function.dim, dtype=torch.float64)
    values = function(unnormalize(inputs, function.bounds.double())).unsqueeze(-1)
    model = SingleTaskGP(inputs, values, outcome_transform=Standardize(1))
    fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
    model.requires_grad_(False)
    if kind == "UCB":
        return UpperConfidenceBound(model, beta=4.0)
    return LogExpectedImprovement(model, best_f=values.max())


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Many starts, one after another and at once.")
    parser.add_argument("--starts", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--restarts", type=int, default=16, help="of acquisition functions")
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--out", type=Path, help="folder for starts.json")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)  # the tensors are small: a second thread mostly waits
    here = {"starts": args.starts, "rounds": args.rounds}
    report: dict[str, Any] = {"environment": environment(), **here}
    print(headline(report))
    report["times"] = times(args.starts, args.rounds, args.methods)
    print(table(report["times"]))
    if importlib.util.find_spec(PEER) is None:
        print(f"{PEER} is not installed: acquisition functions are left out (bench/peers.txt)")
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the peer's own
            report["acquisitions"] = acquisitions(args.restarts)
        print(table(report["acquisitions"]))
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        text = json.dumps(report, indent=1)
        (args.out / "starts.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
