r"""Find the lowest of Rastrigin's many minima by each global optimiser, and draw what it did.

.. math:: f(x) = \sum_i x_i^2 - 10 \cos(2 \pi x_i) + 10, \qquad f(0) = 0.

    python examples/rastrigin.py --folder rastrigin
"""

from __future__ import annotations

import argparse
import math
import pathlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from torch import Tensor, nn

from pytorch_minimize.optim import (
    BasinHoppingWrapper,
    BruteWrapper,
    DifferentialEvolutionWrapper,
    DirectWrapper,
    DualAnnealingWrapper,
    SHGOWrapper,
)

# Not symmetric, lest a grid or the first division of the box hit the minimum.
BOX = (-5.0, 4.2)
START = (3.1, -3.9)
SEED = 0

Make = Callable[[nn.Parameter, list[tuple[float, float]]], Any]

SEARCHES: dict[str, Make] = {
    "Basin hopping": lambda x, bounds: BasinHoppingWrapper(
        [x], {"method": "L-BFGS-B", "bounds": bounds}, {"niter": 40, "stepsize": 1.2, "rng": SEED}
    ),
    "Differential evolution": lambda x, bounds: DifferentialEvolutionWrapper(
        [x], {"bounds": bounds, "popsize": 12, "atol": 0.1, "rng": SEED}
    ),
    "SHGO": lambda x, bounds: SHGOWrapper([x], {"method": "SLSQP"}, {"bounds": bounds, "n": 128}),
    "Dual annealing": lambda x, bounds: DualAnnealingWrapper(
        [x], {"method": "L-BFGS-B"}, {"bounds": bounds, "maxiter": 150, "rng": SEED}
    ),
    "DIRECT": lambda x, bounds: DirectWrapper([x], {"bounds": bounds, "maxfun": 600}),
    "Brute force": lambda x, bounds: BruteWrapper([x], {"bounds": bounds, "Ns": 25}),
}


def rastrigin(x: Tensor) -> Tensor:
    """x of shape (..., n) -> losses of shape (...)."""
    return (x.square() - 10 * torch.cos(2 * math.pi * x) + 10).sum(-1)


@dataclass
class Run:
    """One search: its closure, and where that was called."""

    x: nn.Parameter
    sampled: list[list[float]] = field(default_factory=list)
    searched: list[list[float]] = field(default_factory=list)

    def closure(self) -> Tensor:
        loss = rastrigin(self.x)
        self.sampled.append(self.x.tolist())
        if loss.requires_grad:  # no graph is recorded where no gradient may be asked for
            loss.register_hook(self._differentiated)
        return loss

    @property
    def evaluations(self) -> int:
        return len(self.sampled) + len(self.searched)

    def _differentiated(self, grad: Tensor) -> None:
        self.searched.append(self.sampled.pop())


def run(make: Make) -> tuple[Run, Any]:
    search = Run(nn.Parameter(torch.tensor(START, dtype=torch.float64)))
    optimizer = make(search.x, [BOX, BOX])
    optimizer.step(search.closure)
    return search, optimizer


def draw(name: str, search: Run) -> Figure:
    """The surface, every point at which the loss was asked for, and the minimum found.

    The surface grows darker as it rises and stays lighter than the markers, which differ in shape:
    print in grey tells all.
    """
    figure = Figure(figsize=(4.4, 4.3), layout="constrained")
    axes = figure.subplots()
    side = torch.linspace(*BOX, 201, dtype=torch.float64)
    surface = rastrigin(torch.stack(torch.meshgrid(side, side, indexing="xy"), dim=-1))
    levels = range(0, 91, 10)
    filled = axes.contourf(side, side, surface, levels, cmap="YlGnBu", vmin=0.0, vmax=180.0)
    figure.colorbar(filled, ax=axes, label="loss", shrink=0.85, aspect=28)
    kinds = (
        (search.sampled, "loss alone", {"marker": "o", "s": 6, "color": "#15305b"}),
        (search.searched, "loss and gradient", {"marker": "x", "s": 22, "color": "#d00000"}),
    )
    for points, label, style in kinds:
        if points:
            across, up = zip(*points, strict=True)
            # Many points lie on the border, where half a marker would be cut off.
            axes.scatter(across, up, **style, linewidth=0.9, clip_on=False, label=label, zorder=2)
    star = {"marker": "*", "s": 190, "color": "#ffd92f", "edgecolor": "black", "zorder": 3}
    halo = [withStroke(linewidth=4, foreground="white")]  # or it would drown among many points
    axes.scatter(*search.x.tolist(), **star, path_effects=halo, label="minimum found")
    axes.set(xlim=BOX, ylim=BOX, xlabel="$x_0$", ylabel="$x_1$", aspect="equal")
    axes.set_title(f"{name}: {search.evaluations} evaluations", fontsize=11)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Rastrigin's minimum by each global optimiser.")
    parser.add_argument("--folder", default="rastrigin", help="where the pictures go")
    args = parser.parse_args(argv)

    folder = pathlib.Path(args.folder)
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{'':22} {'loss':>9} {'x':>20} {'evaluations':>12} {'gradients':>10} {'seconds':>8}")
    for name, make in SEARCHES.items():
        search, optimizer = run(make)
        where = ", ".join(f"{v:.6f}" for v in search.x.tolist())
        print(
            f"{name:22} {optimizer.res.fun:9.2e} {where:>20} {search.evaluations:12} "
            f"{len(search.searched):10} {optimizer.profile.total:8.2f}",
            flush=True,
        )
        file = f"rastrigin-{name.lower().replace(' ', '-')}.png"
        draw(name, search).savefig(folder / file, dpi=100)
    print(f"drawn in {folder}")


if __name__ == "__main__":
    main()
