"""A curve through measurements, with error bars: the mobility of electrons in silicon.

python examples/curve_fit.py --method torch-lm --out docs/images

NIST's data set Thurber, a ratio of two cubics in the logarithm of the electrons' density, is fitted
from the start that NIST calls the far one. The parameters' standard errors come out of the Jacobian
at the solution, and so does a band around the curve; the errors stand beside those that NIST
certifies. One more fit, with a Cauchy loss, has three spoilt points to live with.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn

from pytorch_minimize import LeastSquaresWrapper

METHODS = "trf", "dogbox", "lm", "torch-lm"

# NIST/ITL Statistical Reference Datasets, https://www.itl.nist.gov/div898/strd/nls/data/thurber.shtml
# (R. Thurber, NIST: semiconductor electron mobility modeling). Public data.
LOG_DENSITY = (
    *(-3.067, -2.981, -2.921, -2.912, -2.840, -2.797, -2.702, -2.699, -2.633, -2.481, -2.363),
    *(-2.322, -1.501, -1.460, -1.274, -1.212, -1.100, -1.046, -0.915, -0.714, -0.566, -0.545),
    *(-0.400, -0.309, -0.109, -0.103, 0.010, 0.119, 0.377, 0.790, 0.963, 1.006, 1.115, 1.572),
    *(1.841, 2.047, 2.200),
)
MOBILITY = (
    *(80.574, 84.248, 87.264, 87.195, 89.076, 89.608, 89.868, 90.101, 92.405, 95.854, 100.696),
    *(101.060, 401.672, 390.724, 567.534, 635.316, 733.054, 759.087, 894.206, 990.785, 1090.109),
    *(1080.914, 1122.643, 1178.351, 1260.531, 1273.514, 1288.339, 1327.543, 1353.863, 1414.509),
    *(1425.208, 1421.384, 1442.962, 1464.350, 1468.705, 1447.894, 1457.628),
)
START = 1000.0, 1000.0, 400.0, 40.0, 0.7, 0.3, 0.03
CERTIFIED = (
    *(1.2881396800e03, 1.4910792535e03, 5.8323836877e02, 7.5416644291e01, 9.6629502864e-01),
    *(3.9797285797e-01, 4.9727297349e-02),
)
DEVIATIONS = (
    *(4.6647963344e00, 3.9571156086e01, 2.8698696102e01, 5.5675370270e00, 3.1333340687e-02),
    *(1.4984928198e-02, 6.5842344623e-03),
)


class RatioOfCubics(nn.Module):
    """(a + b x + c x^2 + d x^3) / (1 + e x + f x^2 + g x^3)."""

    def __init__(self) -> None:
        super().__init__()
        start = torch.tensor(START, dtype=torch.float64)
        self.above, self.below = nn.Parameter(start[:4]), nn.Parameter(start[4:])

    def forward(self, x: Tensor) -> Tensor:
        powers = torch.stack([x**0, x, x**2, x**3])
        result: Tensor = self.above @ powers / (1 + self.below @ powers[1:])
        return result


def fit(
    method: str, x: Tensor, y: Tensor, **kwargs: object
) -> tuple[RatioOfCubics, LeastSquaresWrapper]:
    """The model at the least squares of its differences from the measurements."""
    model = RatioOfCubics()
    optimizer = LeastSquaresWrapper(
        model.parameters(),
        {"method": method, "x_scale": "jac", "ftol": 1e-15, "xtol": 1e-15, "gtol": 1e-15, **kwargs},
    )
    optimizer.step(lambda: model(x) - y)
    return model, optimizer


def band(
    model: RatioOfCubics, optimizer: LeastSquaresWrapper, x: Tensor
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The curve at x, and two standard errors of it, to first order in the parameters'."""
    jacobian = optimizer.jacobian(lambda: model(x))
    variance = ((jacobian @ optimizer.covariance().matrix) * jacobian).sum(1)
    return model(x).detach().numpy(), 2.0 * np.sqrt(variance)


def show(optimizer: LeastSquaresWrapper) -> None:
    res, covariance = optimizer.res, optimizer.covariance()
    print(f"{res.message} cost {res.cost:.6f} after {res.nfev} evaluations, {res.njev} Jacobians")
    print(f"{'':12}{'fitted':>16}{'error':>12}{'certified':>16}{'error':>12}")
    rows = zip(res.x, covariance.errors, CERTIFIED, DEVIATIONS, strict=True)
    for name, (value, error, certified, deviation) in zip("abcdefg", rows, strict=True):
        print(f"{name:12}{value:16.9g}{error:12.5g}{certified:16.9g}{deviation:12.5g}")


def draw(method: str, out: Path) -> None:
    """The fit with its band, what is left over, and the fit with spoilt points."""
    x, y = (torch.tensor(values, dtype=torch.float64) for values in (LOG_DENSITY, MOBILITY))
    model, optimizer = fit(method, x, y)
    show(optimizer)
    grid = torch.linspace(-3.2, 2.4, 200, dtype=torch.float64)
    curve, width = band(model, optimizer, grid)
    sigma = optimizer.covariance().variance ** 0.5

    spoilt = y.clone()
    spoilt[[8, 18, 30]] += torch.tensor([500.0, -450.0, -600.0], dtype=torch.float64)
    squares, _ = fit(method, x, spoilt)
    robust: RatioOfCubics | None = None
    if method != "lm":  # which has no other loss
        robust, _ = fit(method, x, spoilt, loss="cauchy", f_scale=15.0)

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    panels = figure.subplot_mosaic([["fit", "spoilt"], ["left", "spoilt"]], height_ratios=[3, 1])
    panels["fit"].errorbar(x, y, sigma, fmt=".", color="C0", label="measured, with one s", zorder=3)
    panels["fit"].plot(grid, curve, color="C1", label="fitted")
    low, high = curve - width, curve + width
    panels["fit"].fill_between(grid, low, high, color="C1", alpha=0.3, label="two standard errors")
    panels["fit"].set_ylabel("mobility")
    panels["fit"].legend()
    panels["left"].axhline(0.0, color="C1")
    panels["left"].fill_between(grid, -width, width, color="C1", alpha=0.3)
    panels["left"].errorbar(x, -optimizer.res.fun, sigma, fmt=".", color="C0")
    panels["left"].set_ylabel("left over")
    panels["left"].set_ylim(-55.0, 55.0)
    panels["spoilt"].plot(x, spoilt, ".", color="C0", label="measured, three points spoilt")
    panels["spoilt"].plot(grid, squares(grid).detach(), "--", color="C3", label="least squares")
    if robust is not None:
        panels["spoilt"].plot(grid, robust(grid).detach(), color="C1", label='loss="cauchy"')
    panels["spoilt"].set_ylim(-50.0, 1700.0)
    panels["spoilt"].legend()
    for name in ("left", "spoilt"):
        panels[name].set_xlabel("logarithm of the density")
    out.mkdir(parents=True, exist_ok=True)
    figure.savefig(out / "curve-fit.png", dpi=130)
    print(f"written: {out / 'curve-fit.png'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", default="torch-lm", choices=METHODS)
    parser.add_argument("--out", type=Path, default=Path(), help="where curve-fit.png goes")
    arguments = parser.parse_args()
    draw(arguments.method, arguments.out)


if __name__ == "__main__":
    main()
