r"""A nonlinear Poisson equation by a physics-informed network: Adam, then SSBroyden in segments.

.. math:: -\Delta u + u^3 = f \text{ on } (0, 1)^2, \qquad u = 0 \text{ on the boundary,}

where f is chosen so that the solution is known. SSBroyden goes on from its inverse Hessian after
the collocation points are drawn anew. torch.optim.LBFGS gets the same start, points and number of
closure calls.

python examples/pinn.py --method BFGS --segments 6 --iterations 250
"""

from __future__ import annotations

import argparse
import copy
import math
from collections.abc import Callable, Sequence

import torch
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from pytorch_minimize.optim import MinimizeWrapper

GRID_SIDE = 101
METHODS = "SSBroyden", "SSBFGS", "torch-BFGS", "BFGS"  # those that keep an inverse Hessian


def exact(points: Tensor) -> Tensor:
    x, y = points.unbind(-1)
    return torch.sin(math.pi * x) * torch.sin(2 * math.pi * y) * torch.exp(x - y)


def left_side(u: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    r""":math:`-\Delta u + u^3` at points of shape (count, 2), by autograd."""
    points = points.detach().requires_grad_()
    values = u(points)
    (slopes,) = torch.autograd.grad(values.sum(), points, create_graph=True)
    laplacian = torch.zeros_like(values)
    for axis, slope in enumerate(slopes.unbind(-1)):
        (curvatures,) = torch.autograd.grad(slope.sum(), points, create_graph=True)
        laplacian = laplacian + curvatures[:, axis]
    return values**3 - laplacian


class Network(nn.Module):
    """Three hidden layers of tanh, times what makes it zero on the boundary."""

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
        zero_outside = (4 * points * (1 - points)).prod(-1)
        free: Tensor = self.layers(2 * points - 1)
        return zero_outside * free.squeeze(-1)


class Collocation:
    """Where the equation is to hold: random points, which can be drawn anew."""

    def __init__(self, count: int, seed: int) -> None:
        self._count = count
        self._generator = torch.Generator().manual_seed(seed)
        self.draw()

    def draw(self) -> None:
        self._points = torch.rand(self._count, 2, dtype=torch.float64, generator=self._generator)
        self._source = left_side(exact, self._points).detach()

    def loss(self, network: Network) -> Tensor:
        """The mean squared residual of the equation."""
        return (left_side(network, self._points) - self._source).square().mean()


class Contestant:
    """A network, the closure of its loss, and how often that was called."""

    def __init__(self, network: Network, collocation: Collocation) -> None:
        self.network, self._collocation = network, collocation
        self.calls = 0

    def closure(self) -> Tensor:
        self.calls += 1
        self.network.zero_grad()
        loss = self._collocation.loss(self.network)
        loss.backward()
        return loss.detach()

    @torch.no_grad()
    def errors(self) -> Tensor:
        """Network minus solution on a grid, with x along the columns."""
        difference: Tensor = self.network(grid()) - exact(grid())
        return difference

    def relative_error(self) -> float:
        return float(self.errors().norm() / exact(grid()).norm())


def grid() -> Tensor:
    side = torch.linspace(0, 1, GRID_SIDE, dtype=torch.float64)
    return torch.stack(torch.meshgrid(side, side, indexing="xy"), dim=-1)


def train_adam(contestant: Contestant, steps: int) -> None:
    adam = torch.optim.Adam(contestant.network.parameters(), lr=5e-3)
    for _ in range(steps):
        adam.step(contestant.closure)


def step_lbfgs(lbfgs: torch.optim.LBFGS, contestant: Contestant, calls: int) -> None:
    """Run on until the closure has been called so often; a line search may overrun it by a few."""
    while contestant.calls < calls:
        lbfgs.param_groups[0]["max_eval"] = calls - contestant.calls
        lbfgs.step(contestant.closure)


def run(args: argparse.Namespace) -> tuple[Contestant, Contestant]:
    """Both contestants after all segments, having printed a line for each."""
    torch.manual_seed(args.seed)
    collocation = Collocation(args.points, args.seed)
    ours = Contestant(Network(args.width), collocation)
    train_adam(ours, args.adam)
    theirs = Contestant(copy.deepcopy(ours.network), collocation)
    print(f"{sum(p.numel() for p in ours.network.parameters())} parameters, {args.points} points")
    print(f"relative L2 error after {ours.calls} steps of Adam: {ours.relative_error():.2e}\n")

    optimizer = MinimizeWrapper(
        ours.network.parameters(),
        {"method": args.method, "options": {"maxiter": args.iterations, "gtol": 1e-12}},
        warm_start=True,
    )
    lbfgs = torch.optim.LBFGS(
        theirs.network.parameters(),
        max_iter=args.iterations * 10,  # what ends it is max_eval
        history_size=100,
        tolerance_grad=0.0,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )
    ours.calls = 0
    print(f"{'segment':>7} {'calls':>6} {args.method:>10} {'calls':>6} {'torch.optim.LBFGS':>18}")
    for segment in range(1, args.segments + 1):
        collocation.draw()
        optimizer.step(ours.closure)
        step_lbfgs(lbfgs, theirs, ours.calls)
        print(
            f"{segment:7} {ours.calls:6} {ours.relative_error():10.2e} "
            f"{theirs.calls:6} {theirs.relative_error():18.2e}",
            flush=True,
        )
    return ours, theirs


def draw(ours: Contestant, theirs: Contestant, method: str) -> Figure:
    """The solution that ours found, and where both are off."""
    figure = Figure(figsize=(12.0, 3.6), layout="constrained")
    solution_axes, *error_axes = figure.subplots(1, 3)
    with torch.no_grad():
        solution = ours.network(grid()).numpy()
    height = abs(solution).max()  # white is then zero
    image = solution_axes.imshow(
        solution, origin="lower", extent=(0, 1, 0, 1), cmap="RdBu_r", vmin=-height, vmax=height
    )
    solution_axes.set_title(f"u by {method}")
    figure.colorbar(image, ax=solution_axes, label="u")
    errors = [contestant.errors().abs().numpy() for contestant in (ours, theirs)]
    largest = max(error.max() for error in errors)
    smallest = largest * 1e-5
    norm = LogNorm(smallest, largest)
    titles = f"|error|, {method}", "|error|, torch.optim.LBFGS"
    for axes, error, title in zip(error_axes, errors, titles, strict=True):
        # The boundary, where both are exact, is below any log scale.
        shown = error.clip(smallest)
        image = axes.imshow(shown, origin="lower", extent=(0, 1, 0, 1), norm=norm)
        axes.set_title(title)
    for axes in (solution_axes, *error_axes):
        axes.set(xlabel="x", ylabel="y")
    figure.colorbar(image, ax=error_axes, label="|u - exact|")
    return figure


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="A nonlinear Poisson equation by a network.")
    parser.add_argument("--method", choices=METHODS, default="SSBroyden")
    parser.add_argument("--segments", type=int, default=6)
    parser.add_argument("--iterations", type=int, default=250, help="in each segment")
    parser.add_argument("--adam", type=int, default=500, help="steps of Adam before")
    parser.add_argument("--points", type=int, default=800, help="collocation points")
    parser.add_argument("--width", type=int, default=12, help="of the three hidden layers")
    parser.add_argument("--threads", type=int, default=1, help="of torch and BLAS")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--png", default="pinn.png", help="where solution and errors are drawn")
    args = parser.parse_args(argv)

    with threadpool_limits(args.threads):
        ours, theirs = run(args)
    ratio = theirs.relative_error() / ours.relative_error()
    print(f"\nrelative L2 error: {args.method} {ours.relative_error():.2e}, ", end="")
    print(f"torch.optim.LBFGS {theirs.relative_error():.2e}, {ratio:.1f} times as large")
    draw(ours, theirs, args.method).savefig(args.png, dpi=120)
    print(f"drawn in {args.png}")


if __name__ == "__main__":
    main()
