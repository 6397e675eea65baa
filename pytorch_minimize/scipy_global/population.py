"""The population of differential evolution, a generation at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..closure.population import VectorizedLoss, stack_parameters
from ..region.region import Region
from ..scipy_minimize.function import ScipyFunction
from ..typing import Array

__all__ = ["Losses", "Population", "Vectorized"]

# Where nobody knows whether a point may be the best.
_UNKNOWN = Region(excesses=(lambda: None,))


Losses = Callable[[Array], tuple[Array, int]]
"""Points (S, n) -> S losses, and how many of them stand for an exception."""


class Vectorized:
    """The user's ``vectorized`` as :data:`Losses`.

    Args:
        vectorized: the user's.
        params: whose settings are the points.
        recover: exceptions that stand for a loss of NaN.

    Raises:
        ValueError: in a call, where the losses have another shape than (S,).
    """

    def __init__(
        self,
        vectorized: VectorizedLoss,
        params: Sequence[Tensor],
        recover: tuple[type[Exception], ...],
    ) -> None:
        self._vectorized, self._params, self._recover = vectorized, params, recover

    def __call__(self, points: Array) -> tuple[Array, int]:
        stacked = stack_parameters(points, self._params)
        try:
            with torch.no_grad():
                losses: Any = self._vectorized(stacked)
        except self._recover:
            return self._halved(points)
        if not isinstance(losses, Tensor) or losses.shape != (len(points),):
            got = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
            raise ValueError(
                f"vectorized: expected a tensor of shape ({len(points)},), one loss for each "
                f"point; got {got}"
            )
        return losses.detach().to("cpu", torch.float64).numpy().copy(), 0

    def _halved(self, points: Array) -> tuple[Array, int]:
        """The losses where ``vectorized`` raises for some of the points; NaN for these."""
        if len(points) == 1:
            return np.array([math.nan]), 1
        halves = [self(half) for half in np.array_split(points, 2)]
        return np.concatenate([losses for losses, _ in halves]), sum(n for _, n in halves)


class Population:
    """The objective of differential evolution's ``vectorized=True``: (n, S) points -> S losses.

    Args:
        function: files the losses.
        losses: of a population.
        x0: a point at which the closure and ``losses`` must agree.

    Raises:
        ValueError: they do not.
    """

    def __init__(self, function: ScipyFunction, losses: Losses, x0: Array) -> None:
        self._function = function
        self._objective = function.objective
        self._evaluator = function.objective.evaluator
        self._losses = losses
        self._check(x0)

    def __call__(self, columns: Array) -> Array:
        points = np.array(columns.T, dtype=np.float64, order="C")
        self._evaluator.guard.check()
        self._function.permit()
        values, raised = self._evaluator.guard.run(
            "closure", "vectorized", lambda: self._losses(points)
        )
        self._evaluator.profile.count("points", len(points))
        return self._function.many(points, values, raised)

    def _check(self, x0: Array) -> None:
        """A loss that means something else, or parameters in another order, show here."""
        with self._objective.within(_UNKNOWN):  # x0 need not be feasible
            alone = self._objective.evaluate(x0).value
        together = float(self._losses(x0[None, :])[0][0])
        if math.isfinite(together) and not math.isclose(
            alone, together, rel_tol=1e-3, abs_tol=1e-3
        ):
            raise ValueError(
                f"vectorized: expected the closure's loss at the start, {alone:.6g}; got "
                f"{together:.6g}. It must compute the same loss, from a list of one stacked tensor "
                f"for each parameter, in the order of the optimizer's parameters."
            )
