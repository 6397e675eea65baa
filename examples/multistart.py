r"""Many starts at once, where one would end in whichever minimum is near.

Hyper-parameters of a Gaussian process with a periodic kernel,

.. math:: k(t, t') = \exp(-2 \sin^2(\pi (t - t') / p) / \ell^2) + \sigma^2 \delta,

whose likelihood has a minimum at each period that explains some of the data; and 200 starts of a
small network. All runs of each advance together, by one batched forward and backward a round.

    python examples/multistart.py --folder multistart
"""

from __future__ import annotations

import argparse
import math
import pathlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult
from torch import Tensor, nn

from pytorch_minimize.optim import MultiStartWrapper, vectorize

SEED = 0
NOISE = 0.25
PERIOD = 1.7  # of the data
# Variables are 20 log p and 20 log l, so that the first step of a run, which is about as long as
# the gradient or 1, is short beside a valley.
SCALE = 20.0
BOX = tuple(
    (SCALE * math.log(low), SCALE * math.log(high)) for low, high in ((0.5, 8.0), (0.25, 4.0))
)
Path = list[NDArray[np.float64]]


@dataclass
class Process:
    """A Gaussian process over unevenly sampled times; its variables are those of BOX."""

    times: Tensor
    values: Tensor

    @classmethod
    def sampled(cls) -> Process:
        generator = torch.Generator().manual_seed(SEED)
        times = 9.0 * torch.rand(28, generator=generator, dtype=torch.float64)
        phase = 2 * math.pi * times / PERIOD
        noise = torch.randn(28, generator=generator, dtype=torch.float64)
        return cls(times, torch.sin(phase) + 0.5 * torch.cos(2 * phase) + NOISE * noise)

    def loss(self, x: Tensor) -> Tensor:
        """Negative log marginal likelihoods for a datum; x of shape (..., 2)."""
        period, length = (x / SCALE).exp()[..., None, None].unbind(-3)
        apart = self.times[:, None] - self.times
        kernel = torch.exp(-2 * (torch.sin(math.pi * apart / period) / length).square())
        noise = NOISE**2 * torch.eye(len(self.times), dtype=torch.float64)
        factor = torch.linalg.cholesky(kernel + noise)
        half = torch.linalg.solve_triangular(factor, self.values[:, None], upper=False)
        log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return (half.square().sum((-2, -1)) / 2 + log_det) / len(self.times)


def fit_process(process: Process, starts: int) -> tuple[MultiStartWrapper, dict[int, Path]]:
    """All starts by L-BFGS-B inside the box, and the path of each."""
    x = nn.Parameter(torch.tensor([SCALE * math.log(4.0), 0.0], dtype=torch.float64))
    paths: dict[int, Path] = defaultdict(list)

    def callback(intermediate_result: OptimizeResult) -> None:
        paths[intermediate_result.run].append(intermediate_result.x)

    optimizer = MultiStartWrapper(
        [x],
        {"method": "L-BFGS-B", "bounds": BOX, "callback": callback},
        starts=starts,
        rng=SEED,
        recover=torch.linalg.LinAlgError,
    )
    optimizer.step(lambda: process.loss(x), vectorized=lambda stacks: process.loss(stacks[0]))
    assert optimizer.starts is not None
    for run, start in enumerate(optimizer.starts):
        paths[run].insert(0, start)
    return optimizer, dict(paths)


@dataclass
class Fit:
    """A network of one hidden layer, and what it is fitted to."""

    model: nn.Module
    inputs: Tensor
    targets: Tensor

    @classmethod
    def made(cls) -> Fit:
        torch.manual_seed(SEED)
        model = nn.Sequential(nn.Linear(1, 5), nn.Tanh(), nn.Linear(5, 1)).double()
        inputs = torch.linspace(-1, 1, 40, dtype=torch.float64)[:, None]
        clean = torch.sin(4 * math.pi * inputs) * torch.exp(-inputs)
        return cls(model, inputs, clean + 0.05 * torch.randn_like(inputs))

    def loss(self, model: nn.Module) -> Tensor:
        return (model(self.inputs) - self.targets).square().mean()

    def starts(self, count: int) -> list[Tensor]:
        """As torch initialises the network, so many times."""
        points = []
        for _ in range(count):
            for layer in (self.model[0], self.model[2]):  # type: ignore[index]
                layer.reset_parameters()
            points.append(nn.utils.parameters_to_vector(self.model.parameters()).detach())
        return points

    def predicted(self, x: NDArray[np.float64], inputs: Tensor) -> Tensor:
        nn.utils.vector_to_parameters(torch.from_numpy(x), self.model.parameters())
        with torch.no_grad():
            found: Tensor = self.model(inputs)
        return found


def fit_network(fit: Fit, starts: int) -> MultiStartWrapper:
    optimizer = MultiStartWrapper(
        fit.model.parameters(),
        {"method": "SSBroyden", "options": {"maxiter": 300}},
        starts=lambda rng: fit.starts(starts),
    )
    optimizer.step(lambda: fit.loss(fit.model), vectorized=vectorize(fit.model, fit.loss))
    return optimizer


def draw_process(
    axes: Axes, process: Process, optimizer: MultiStartWrapper, paths: dict[int, Path]
) -> None:
    """The landscape, each path from its start to its end, and the lowest end."""
    (left, right), (low, high) = BOX
    across, up = torch.linspace(left, right, 360), torch.linspace(low, high, 160)
    grid = torch.stack(torch.meshgrid(across, up, indexing="xy"), dim=-1).double()
    with torch.no_grad():
        surface = torch.cat([process.loss(rows) for rows in grid.split(8)])
    top = float(surface.quantile(0.9))
    levels = np.linspace(float(surface.min()), top, 22)
    surface = surface.clamp(max=top)  # above it nothing ends
    axes.contourf(across, up, surface, levels, cmap="YlGnBu", vmax=top + (top - levels[0]) / 2)
    for path in paths.values():
        axes.plot(*np.transpose(path), color="#8c2d04", linewidth=0.7, alpha=0.75)
    starts = np.array([path[0] for path in paths.values()])
    ends = np.array([res.x for res in optimizer.results])
    axes.scatter(
        *starts.T, s=9, color="white", edgecolor="#8c2d04", linewidth=0.7, zorder=3, label="start"
    )
    cross = {"s": 22, "marker": "x", "color": "#d00000", "linewidth": 1.1, "zorder": 4}
    axes.scatter(*ends.T, **cross, clip_on=False, label="end")  # many lie on the border
    best = optimizer.results[0].x
    halo = [withStroke(linewidth=4, foreground="white")]
    star = {"marker": "*", "s": 210, "color": "#ffd92f", "edgecolor": "black", "zorder": 5}
    axes.scatter(*best, **star, path_effects=halo, label="lowest end")
    axes.legend(loc="upper left", fontsize=8, framealpha=0.9, markerscale=0.8)
    ticks = ([0.5, 0.85, 1.7, 3.4, 6.8], [0.25, 0.5, 1, 2, 4])
    axes.set_xticks([SCALE * math.log(v) for v in ticks[0]], [f"{v:g}" for v in ticks[0]])
    axes.set_yticks([SCALE * math.log(v) for v in ticks[1]], [f"{v:g}" for v in ticks[1]])
    axes.set(xlim=BOX[0], ylim=BOX[1], xlabel="period p", ylabel="length scale")
    axes.set_title(
        f"Gaussian process: {len(paths)} starts, {optimizer.res.rounds} batched evaluations",
        fontsize=10,
    )


def draw_network(lines: Axes, curves: Axes, fit: Fit, optimizer: MultiStartWrapper) -> None:
    """The loss of each run by its iterations; and what the best and the median run fit."""
    results = optimizer.results
    for rank, res in reversed(list(enumerate(results))):
        style = {"color": "0.45", "linewidth": 0.5, "alpha": 0.35}
        if rank == 0:
            style = {"color": "#d00000", "linewidth": 1.8}
        lines.plot(res.history.loss, **style)
    lines.set(yscale="log", xlabel="iteration", ylabel="loss", xlim=(0, 300))
    lines.set_title(
        f"Network: {len(results)} starts, {optimizer.res.rounds} batched evaluations", fontsize=10
    )
    inputs = torch.linspace(-1, 1, 300, dtype=torch.float64)[:, None]
    curves.scatter(fit.inputs, fit.targets, s=10, color="0.55", label="data")
    middle = results[len(results) // 2]
    for res, style in (
        (middle, {"color": "#15305b", "linestyle": "--", "label": "median start"}),
        (results[0], {"color": "#d00000", "label": "best start"}),
    ):
        curves.plot(inputs, fit.predicted(res.x, inputs), linewidth=1.5, **style)
    curves.legend(fontsize=8, frameon=False)
    curves.set(xlabel="input", ylabel="output")


def told(name: str, optimizer: MultiStartWrapper) -> str:
    res, losses = optimizer.res, [res.fun for res in optimizer.results]
    same = sum(loss < losses[0] + 1e-3 * abs(losses[0]) for loss in losses)
    return (
        f"{name:18} {res.runs:6} {res.rounds:7} {res.evaluations:12} {losses[0]:9.5f} "
        f"{losses[len(losses) // 2]:9.5f} {same:8}"
    )


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Many starts at once.")
    parser.add_argument("--folder", default="multistart", help="where the picture goes")
    parser.add_argument("--starts", type=int, nargs=2, default=[64, 200])
    args = parser.parse_args(argv)

    folder = pathlib.Path(args.folder)
    folder.mkdir(parents=True, exist_ok=True)
    columns = f"{'starts':>6} {'batched':>7} {'evaluations':>12} {'best':>9} {'median':>9} at best"
    print(f"{'':18} {columns}")
    process, fit = Process.sampled(), Fit.made()
    of_process, paths = fit_process(process, args.starts[0])
    print(told("Gaussian process", of_process), flush=True)
    of_network = fit_network(fit, args.starts[1])
    print(told("network", of_network), flush=True)

    figure = Figure(figsize=(10.2, 5.0), layout="constrained")
    panes: Any = figure.subplot_mosaic("AAB;AAC")
    draw_process(panes["A"], process, of_process, paths)
    draw_network(panes["B"], panes["C"], fit, of_network)
    figure.savefig(folder / "multistart.png", dpi=110)
    print(f"drawn in {folder}")


if __name__ == "__main__":
    main()
