"""Losses that are not finite everywhere: how runs end, ours beside plain scipy.

    python -m bench.nonfinite [--verbose]

Six losses, twelve starts and every method that uses gradients. Plain scipy is told the closure's
own values, NaN and infinities included. A run ends worse where its true loss is higher than plain
scipy's (one that is not finite is higher than any); a success is false where the loss is not
finite at the parameters or where ``step`` returned another number. Both counts are to be zero.
"""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.optimize
import torch
from torch import Tensor

from pytorch_minimize.optim import MinimizeWrapper

METHODS = ("CG", "BFGS", "L-BFGS-B", "TNC", "SLSQP", "Newton-CG")
REGIONS = ("dogleg", "trust-ncg", "trust-krylov", "trust-exact", "trust-constr")
_DATA = torch.tensor([0.3, -0.1, 0.8, 1.1, -0.6, 0.4], dtype=torch.float64)
# Below this share of the loss two ends are the same minimum.
_SAME = 1e-6
_STARTS = 12


class Problem(NamedTuple):
    """A loss, where it is drawn from for its starts, and how many variables it has."""

    loss: Callable[[Tensor], Tensor]
    low: float
    high: float
    n: int


def gaussian(x: Tensor) -> Tensor:
    """Negative log-likelihood of a mean and a standard deviation that may turn negative."""
    mean, deviation = x[0], x[1]
    return (deviation.log() + ((_DATA - mean) / deviation) ** 2 / 2).sum()


PROBLEMS = {
    "log": Problem(lambda x: (30 * x - x.log()).sum(), 0.2, 3.0, 2),
    "sqrt": Problem(lambda x: (100 * x.sqrt() + x**2).sum(), 0.2, 3.0, 1),
    "exp overflow": Problem(lambda x: ((x.exp() - 2).exp() - 40 * x).sum(), -3.0, 2.0, 2),
    "acos": Problem(lambda x: x.acos().sum(), -0.9, 0.9, 2),
    "Gaussian likelihood": Problem(gaussian, 0.05, 3.0, 2),
    "x / (x - 1)": Problem(lambda x: (x / (x - 1) + (x - 1).sqrt()).sum(), 1.05, 9.0, 2),
}


def starts(problem: Problem) -> np.ndarray:
    """The twelve points at which runs begin."""
    rng = np.random.default_rng(0)
    return rng.uniform(problem.low, problem.high, (_STARTS, problem.n))


def _options(method: str) -> dict[str, int]:
    return {"maxfun" if method == "TNC" else "maxiter": 200}


def _plain(problem: Problem, method: str, start: np.ndarray) -> tuple[float, bool]:
    """True loss and success of scipy on the closure itself."""

    def loss(x: np.ndarray) -> tuple[Tensor, Tensor]:
        point = torch.tensor(x, dtype=torch.float64, requires_grad=True)
        return point, problem.loss(point)

    def fun(x: np.ndarray) -> float:
        return loss(x)[1].item()

    def jac(x: np.ndarray) -> np.ndarray:
        point, value = loss(x)
        return np.asarray(torch.autograd.grad(value, point)[0].numpy())

    def hessian(x: np.ndarray) -> np.ndarray:
        point, value = loss(x)
        (gradient,) = torch.autograd.grad(value, point, create_graph=True)
        rows = [torch.autograd.grad(g, point, retain_graph=True)[0].numpy() for g in gradient]
        return np.array(rows)

    hess = {"hess": hessian} if method in ("Newton-CG", *REGIONS) else {}
    try:
        res = scipy.optimize.minimize(
            fun, start, method=method, jac=jac, options=_options(method), **hess
        )
    except (ValueError, np.linalg.LinAlgError, FloatingPointError):
        return math.nan, False
    return fun(res.x), bool(res.success)


def _ours(problem: Problem, method: str, start: np.ndarray) -> tuple[float, bool, bool]:
    """True loss, success, and whether ``step`` and ``res`` told that loss."""
    x = torch.nn.Parameter(torch.tensor(start))
    optimizer = MinimizeWrapper([x], {"method": method, "options": _options(method)})
    told = optimizer.step(lambda: problem.loss(x)).item()
    true = problem.loss(x.detach()).item()
    honest = optimizer.res.fun == told and abs(told - true) <= 1e-12 * max(1.0, abs(true))
    return true, bool(optimizer.res.success), honest


def _is_worse(ours: float, plain: float) -> bool:
    if not math.isfinite(plain):
        return not math.isfinite(ours)
    return not ours <= plain + _SAME * max(1.0, abs(plain))


def main() -> int:
    """Print the table; the exit code says whether both counts are zero."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--verbose", action="store_true", help="name each such run")
    verbose = parser.parse_args().verbose
    warnings.simplefilter("ignore")
    bad = 0
    print(f"{'loss':22}{'method':14}{'worse':>6}{'better':>7}{'false success':>15}")
    print(f"{'':36}{'':13}{'ours':>8}{'scipy':>7}")
    totals = np.zeros(4, int)
    for name, problem in PROBLEMS.items():
        for method in (*METHODS, *REGIONS):
            counts = np.zeros(4, int)
            for start in starts(problem):
                ours, success, honest = _ours(problem, method, start)
                plain, plain_success = _plain(problem, method, start)
                worse = _is_worse(ours, plain)
                false = not honest or (success and not math.isfinite(ours))
                counts += [
                    worse,
                    _is_worse(plain, ours),
                    false,
                    plain_success and not math.isfinite(plain),
                ]
                if verbose and (worse or false):
                    print(f"  {name} {method} from {start}: {ours:.9g}, {success=}; {plain:.9g}")
            bad += counts[0] + counts[2]
            totals += counts
            print(f"{name:22}{method:14}{counts[0]:6}{counts[1]:7}{counts[2]:8}{counts[3]:7}")
    print(f"{'all':36}{totals[0]:6}{totals[1]:7}{totals[2]:8}{totals[3]:7}")
    return int(bad > 0)


if __name__ == "__main__":
    raise SystemExit(main())
