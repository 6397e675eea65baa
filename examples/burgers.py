r"""Burgers' equation by a physics-informed network: one start by Adam, then four optimizers.

.. math::
    u_t + u u_x = \nu u_{xx}, \qquad u(0, x) = -\sin \pi x, \qquad u(t, \pm 1) = 0, \qquad
    \nu = 0.01 / \pi,

on 0 < t < 1, where a shock forms at x = 0. The solution to compare with is Cole's and Hopf's.
Adam, torch.optim.LBFGS, BFGS and SSBroyden get the same start, the same collocation points, drawn
anew in each segment, and the same number of closure calls. BFGS and SSBroyden go on from their
inverse Hessians.

python examples/burgers.py --segments 10 --calls 300
"""

from __future__ import annotations

import argparse
import copy
import functools
import math
from collections.abc import Callable, Iterable, Sequence
from time import perf_counter
from typing import Any

import numpy as np
import torch
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from pytorch_minimize.optim import MinimizeWrapper

VISCOSITY = 0.01 / math.pi
NODES, WEIGHTS = map(torch.from_numpy, np.polynomial.hermite.hermgauss(100))
BEST = "SSBroyden"

Solver = Callable[[Iterable[nn.Parameter], int], Any]

SOLVERS: dict[str, Solver] = {
    "Adam": lambda params, calls: torch.optim.Adam(params, lr=1e-3),
    "torch.optim.LBFGS": lambda params, calls: torch.optim.LBFGS(
        params,
        max_iter=calls,  # what ends it is max_eval
        history_size=100,
        tolerance_grad=0.0,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    ),
    "BFGS": lambda params, calls: segments_of("BFGS", params, calls),
    "SSBroyden": lambda params, calls: segments_of("SSBroyden", params, calls),
}


def segments_of(method: str, params: Iterable[nn.Parameter], calls: int) -> MinimizeWrapper:
    args = {"method": method, "options": {"gtol": 0.0}}
    return MinimizeWrapper(params, args, max_evaluations=calls, warm_start=True)


def exact(points: Tensor) -> Tensor:
    r"""Points (t, x) of shape (..., 2) -> u, by Cole (1951) and Hopf (1950).

    .. math::
        u = -\frac{\int \sin(\pi y) w(y) \, d\eta}{\int w(y) \, d\eta}, \qquad
        w(y) = e^{-\cos(\pi y) / 2 \pi \nu - \eta^2 / 4 \nu t}, \qquad y = x - \eta,

    with both integrals by Gauss and Hermite's rule.
    """
    t, x = points.unsqueeze(-2).unbind(-1)
    y = x - NODES * (4 * VISCOSITY * t).sqrt()
    # w is up to e^50: softmax divides by the second integral without an overflow.
    shares = torch.softmax(WEIGHTS.log() - torch.cos(math.pi * y) / (2 * math.pi * VISCOSITY), -1)
    return -(torch.sin(math.pi * y) * shares).sum(-1)


def residual(u: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    r""":math:`u_t + u u_x - \nu u_{xx}` at points (t, x) of shape (count, 2), by autograd."""
    points = points.detach().requires_grad_()
    values = u(points)
    (slopes,) = torch.autograd.grad(values.sum(), points, create_graph=True)
    u_t, u_x = slopes.unbind(-1)
    (curvatures,) = torch.autograd.grad(u_x.sum(), points, create_graph=True)
    return u_t + values * u_x - VISCOSITY * curvatures[:, 1]


class Network(nn.Module):
    """Three hidden layers of tanh, made odd in x and exact where t = 0 and x = 0, 1 or -1."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2, width),
            nn.Tanh(),
            nn.Linear(width, width),
            nn.Tanh(),
            nn.Linear(width, width),
            nn.Tanh(),
            nn.Linear(width, 1),
        ).double()

    def forward(self, points: Tensor) -> Tensor:
        t, x = points.unbind(-1)
        here, mirrored = self.layers(
            torch.stack([torch.stack([2 * t - 1, side], -1) for side in (x, -x)])
        ).squeeze(-1)
        free: Tensor = here - mirrored
        return -torch.sin(math.pi * x) + t * (1 - x**2) * free


def draw_points(count: int, seed: int) -> Tensor:
    """Random (t, x) of shape (count, 2), crowded towards the shock; of x > 0, as u is odd."""
    generator = torch.Generator().manual_seed(seed)
    t, root = torch.rand(2, count, dtype=torch.float64, generator=generator)
    return torch.stack([t, root**2], -1)


class Contestant:
    """A network, the closure of its loss at some points, and how often that was called."""

    def __init__(self, network: Network, points: Tensor) -> None:
        self.network, self.points = network, points
        self.calls, self.seconds = 0, 0.0
        self.path = [(0, self.relative_error())]

    def closure(self) -> Tensor:
        self.calls += 1
        self.network.zero_grad()
        loss = residual(self.network, self.points).square().mean()
        loss.backward()
        return loss.detach()

    def run(self, optimizer: Any, calls: int) -> None:
        """One segment: so many closure calls; a line search of LBFGS may overrun it by a few."""
        end, began = self.calls + calls, perf_counter()
        if isinstance(optimizer, MinimizeWrapper):
            optimizer.step(self.closure)  # max_evaluations ends it
        else:
            while self.calls < end:
                optimizer.param_groups[0]["max_eval"] = end - self.calls  # Adam does not read it
                optimizer.step(self.closure)
        self.seconds += perf_counter() - began
        self.path.append((self.calls, self.relative_error()))

    @torch.no_grad()
    def errors(self) -> Tensor:
        """Network minus solution on a grid, with t along the columns."""
        difference: Tensor = self.network(grid()) - exact_on_grid()
        return difference

    def relative_error(self) -> float:
        return float(self.errors().norm() / exact_on_grid().norm())


@functools.cache
def exact_on_grid() -> Tensor:
    return exact(grid())


def grid() -> Tensor:
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    x = torch.linspace(-1, 1, 401, dtype=torch.float64)
    return torch.stack(torch.meshgrid(t, x, indexing="xy"), dim=-1)


def run(args: argparse.Namespace) -> dict[str, Contestant]:
    """All contestants after all segments, having printed a line for each segment."""
    torch.manual_seed(args.seed)
    start = Contestant(Network(args.width), draw_points(args.points, args.seed))
    start.run(torch.optim.Adam(start.network.parameters(), lr=5e-3), args.adam)
    print(f"{sum(p.numel() for p in start.network.parameters())} parameters, {args.points} points")
    print(f"relative L2 error after {args.adam} steps of Adam: {start.relative_error():.2e}\n")

    contestants = {name: Contestant(copy.deepcopy(start.network), start.points) for name in SOLVERS}
    optimizers = {
        name: make(contestants[name].network.parameters(), args.calls)
        for name, make in SOLVERS.items()
    }
    print(f"{'calls':>5}" + "".join(f"{name:>19}" for name in SOLVERS))
    for segment in range(1, args.segments + 1):
        points = draw_points(args.points, args.seed + segment)
        print(f"{segment * args.calls:5}", end="")
        for name, contestant in contestants.items():
            contestant.points = points
            contestant.run(optimizers[name], args.calls)
            print(f"{contestant.path[-1][1]:19.2e}", end="", flush=True)
        print()
    return contestants


def draw(contestants: dict[str, Contestant]) -> Figure:
    """The solution that SSBroyden found, where it is off, and how fast each contestant was."""
    figure = Figure(figsize=(13.5, 4.0), layout="constrained")
    solution_axes, error_axes, path_axes = figure.subplots(1, 3, width_ratios=(1, 1, 1.2))
    best = contestants[BEST]
    area: dict[str, Any] = {"origin": "lower", "extent": (0, 1, -1, 1), "aspect": "auto"}
    with torch.no_grad():
        solution = best.network(grid()).numpy()
    image = solution_axes.imshow(solution, cmap="RdBu_r", vmin=-1, vmax=1, **area)
    figure.colorbar(image, ax=solution_axes, label="u")
    solution_axes.set_title(f"Burgers' equation: u(t, x) by {BEST}")

    error = best.errors().abs().numpy()
    smallest = error.max() * 1e-4
    # Where the network is exact by construction is below any log scale.
    norm = LogNorm(smallest, error.max())
    image = error_axes.imshow(error.clip(smallest), norm=norm, **area)
    figure.colorbar(image, ax=error_axes, label="|u - exact|")
    error_axes.set_title(f"|error| of {BEST}, against Cole-Hopf")
    for axes in (solution_axes, error_axes):
        axes.set(xlabel="time t", ylabel="x")

    for (name, contestant), marker in zip(contestants.items(), "sd^o", strict=True):
        path_axes.semilogy(*zip(*contestant.path, strict=True), f"{marker}-", ms=4, label=name)
    path_axes.set_title("Relative L2 error, all from one start")
    path_axes.set(
        xlabel="closure calls (loss and gradient)", ylabel="relative L2 error", ylim=(None, 5.0)
    )
    path_axes.legend(loc="upper center", ncols=2)
    path_axes.grid(alpha=0.3)
    return figure


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Burgers' equation by a network.")
    parser.add_argument("--segments", type=int, default=10, help="each with points drawn anew")
    parser.add_argument("--calls", type=int, default=300, help="of the closure in each segment")
    parser.add_argument("--adam", type=int, default=500, help="steps of Adam before")
    parser.add_argument("--points", type=int, default=1000, help="collocation points")
    parser.add_argument("--width", type=int, default=12, help="of the three hidden layers")
    parser.add_argument("--threads", type=int, default=1, help="of torch and BLAS")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--png", default="burgers.png", help="where all of it is drawn")
    args = parser.parse_args(argv)

    with threadpool_limits(args.threads):
        contestants = run(args)
    print(f"\n{'':17} {'error':>9} {'calls':>6} {'seconds':>8}")
    for name, contestant in contestants.items():
        calls, error = contestant.path[-1]
        print(f"{name:17} {error:9.2e} {calls:6} {contestant.seconds:8.1f}")
    draw(contestants).savefig(args.png, dpi=110)
    print(f"drawn in {args.png}")


if __name__ == "__main__":
    main()
