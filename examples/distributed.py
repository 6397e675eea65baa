"""One fit in several processes, each with a share of the data: digits, and a PINN's points.

    torchrun --standalone --nproc-per-node 2 examples/distributed.py

Every process has the whole model and calls ``step``; the first runs the solver. Afterwards it does
the same fits alone, with all of the data, to compare.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, NamedTuple

import digits
import pinn
import torch
import torch.distributed as dist
from torch import Tensor, nn

from pytorch_minimize.optim import MinimizeWrapper


class Problem(NamedTuple):
    """A model, the loss of a share of its data, and how that is minimised.

    Attributes:
        loss: the mean over every ``size``-th row from the ``rank``-th on.
        rows: how many there are.
    """

    name: str
    model: nn.Module
    loss: Callable[[int, int], Tensor]
    rows: int
    args: dict[str, Any]


class Fitted(NamedTuple):
    loss: float
    evaluations: int
    seconds: float
    communication: float


def digits_problem(args: argparse.Namespace) -> Problem:
    """A logistic regression of scikit-learn's handwritten digits: convex, to the optimum."""
    data = digits.load("cpu", torch.float64, args.seed)
    model = digits.make_model("logistic", "cpu", torch.float64, args.seed)

    def loss(rank: int, size: int) -> Tensor:
        rows = slice(rank, None, size)
        # The decay is in every share, and so in their mean.
        share = data._replace(inputs=data.inputs[rows], targets=data.targets[rows])
        return digits.objective(model, share)

    minimiser = {"method": "L-BFGS-B", "tol": 1e-8, "options": {"maxiter": 1000}}
    return Problem("digits", model, loss, len(data.inputs), minimiser)


def pinn_problem(args: argparse.Namespace) -> Problem:
    """A nonlinear Poisson equation, whose collocation points are shared out."""
    torch.manual_seed(args.seed)
    network = pinn.Network(args.width)
    generator = torch.Generator().manual_seed(args.seed + 1)
    points = torch.rand(args.points, 2, dtype=torch.float64, generator=generator)
    source = pinn.left_side(pinn.exact, points).detach()

    def loss(rank: int, size: int) -> Tensor:
        rows = slice(rank, None, size)
        return (pinn.left_side(network, points[rows]) - source[rows]).square().mean()

    minimiser = {"method": "SSBroyden", "options": {"maxiter": args.iterations}}
    return Problem("PINN", network, loss, len(points), minimiser)


def fit(problem: Problem, rank: int, size: int, **keywords: Any) -> Fitted:
    """The share of this process, or everything where ``size`` is 1."""
    optimizer = MinimizeWrapper(problem.model.parameters(), problem.args, **keywords)
    begun = perf_counter()
    loss = optimizer.step(lambda: problem.loss(rank, size))
    seconds = perf_counter() - begun
    evaluations = optimizer.res.nfev
    return Fitted(loss.item(), evaluations, seconds, optimizer.profile.communication)


def compare(args: argparse.Namespace) -> None:
    """Fit both together; and alone, in the first process, which prints."""
    rank, size = dist.get_rank(), dist.get_world_size()
    for make in (digits_problem, pinn_problem):
        problem = make(args)
        rows = len(range(rank, problem.rows, size))
        together = fit(problem, rank, size, distributed=True, weight=rows)
        if rank == 0:
            alone = fit(make(args), 0, 1)
            print(f"{problem.name}: {problem.rows} rows, {size} processes")
            print(f"  loss, together  {together.loss:.12g}  evaluations {together.evaluations}")
            print(f"  loss, alone     {alone.loss:.12g}  evaluations {alone.evaluations}")
            print(f"  seconds         {together.seconds:.2f} together, {alone.seconds:.2f} alone")
            print(f"  communication   {together.communication:.2f} s, waiting included", flush=True)
        dist.barrier()


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="One fit in several processes.")
    parser.add_argument("--points", type=int, default=2000, help="of the PINN")
    parser.add_argument("--width", type=int, default=12, help="of its three hidden layers")
    parser.add_argument("--iterations", type=int, default=60, help="of its fit")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    compare(args)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
