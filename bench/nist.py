"""Eight non-linear regressions of NIST's StRD with certified results.

Source: NIST Statistical Reference Datasets, Nonlinear Least Squares Regression,
https://www.itl.nist.gov/div898/strd/nls/nls_main.shtml (public data). tests/data/nist.json has
their numbers: starts, certified parameters and standard deviations, the residual sum of squares,
and the observations, y first.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["PROBLEMS", "Problem", "correct_digits"]

FILE = Path(__file__).parents[1] / "tests" / "data" / "nist.json"


def _bennett(b: Sequence[Tensor], x: Tensor) -> Tensor:
    return b[0] * (b[1] + x) ** (-1 / b[2])


def _cubic_over_cubic(b: Sequence[Tensor], x: Tensor) -> Tensor:
    above = b[0] + b[1] * x + b[2] * x**2 + b[3] * x**3
    return above / (1 + b[4] * x + b[5] * x**2 + b[6] * x**3)


def _mgh09(b: Sequence[Tensor], x: Tensor) -> Tensor:
    return b[0] * (x**2 + x * b[1]) / (x**2 + x * b[2] + b[3])


def _mgh17(b: Sequence[Tensor], x: Tensor) -> Tensor:
    return b[0] + b[1] * torch.exp(-x * b[3]) + b[2] * torch.exp(-x * b[4])


def _misra(b: Sequence[Tensor], x: Tensor) -> Tensor:
    return b[0] * (1 - torch.exp(-b[1] * x))


def _nelson(b: Sequence[Tensor], x: Tensor, hot: Tensor) -> Tensor:
    return b[0] - b[1] * x * torch.exp(-b[2] * hot)


def _rat43(b: Sequence[Tensor], x: Tensor) -> Tensor:
    return b[0] / (1 + torch.exp(b[1] - b[2] * x)) ** (1 / b[3])


_MODELS: dict[str, Callable[..., Tensor]] = {
    "Misra1a": _misra,
    "Thurber": _cubic_over_cubic,
    "MGH17": _mgh17,
    "Nelson": _nelson,
    "Hahn1": _cubic_over_cubic,
    "MGH09": _mgh09,
    "Rat43": _rat43,
    "Bennett5": _bennett,
}


@dataclass(frozen=True)
class Problem:
    """One regression.

    Attributes:
        name: NIST's.
        starts: both.
        certified: parameters.
        deviations: certified standard deviations of the parameters.
        sum_of_squares: certified, of the residuals.
        observations: y, and what it depends on.
    """

    name: str
    starts: list[list[float]]
    certified: list[float]
    deviations: list[float]
    sum_of_squares: float
    observations: list[Tensor]

    def start(self, number: int) -> nn.Parameter:
        """The parameters at the first or the second start."""
        return nn.Parameter(torch.tensor(self.starts[number - 1], dtype=torch.float64))

    def residuals(self, b: Tensor) -> Tensor:
        """Model minus observation; Nelson's is of log y."""
        y, *x = self.observations
        y = y.log() if self.name == "Nelson" else y
        return _MODELS[self.name](b.unbind(), *x) - y


def correct_digits(found: Any, certified: Sequence[float]) -> float:
    """The fewest correct digits of a list: -log10 of the largest relative error, at most 11.

    Example:
        >>> correct_digits([1.0001, 2.0], [1.0, 2.0])
        4.0
    """
    errors = [abs(f - c) / abs(c) for f, c in zip(found, certified, strict=True)]
    worst = max(errors)
    if not math.isfinite(worst):
        return -math.inf
    return round(min(11.0, -math.log10(max(worst, 1e-300))), 1)


def _read() -> dict[str, Problem]:
    given = json.loads(FILE.read_text(encoding="utf-8"))
    return {
        name: Problem(
            name,
            given[name]["starts"],
            given[name]["parameters"],
            given[name]["deviations"],
            given[name]["sum_of_squares"],
            [torch.tensor(column, dtype=torch.float64) for column in given[name]["observations"]],
        )
        for name in _MODELS
    }


PROBLEMS = _read()
"""By name, the easy ones first."""
