"""Losses and gradients at many points, by one forward and one backward."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from ..bridge.interface import Bridge
from ..closure.population import VectorizedLoss
from ..run.protocol import Trial
from .row_vectors import RowVectors

__all__ = ["Batch", "RowAnswer", "check_agreement"]


class RowAnswer(NamedTuple):
    """What a batch gave at one of its points.

    Attributes:
        value: the loss.
        gradient: of it, shape (n,), never written again; None where none is computed.
        finite: whether both are.
        raised: what ``recover`` names was raised there, in words; "" where nothing was.
        scalars: what was measured of the gradient, where it came over with the loss.
    """

    value: float
    gradient: Any
    finite: bool
    raised: str = ""
    scalars: Sequence[float] = ()


_Found: TypeAlias = tuple[Tensor, list[Tensor | None] | None]


class Batch:
    r"""Losses :math:`f(x_i)` and gradients at points of shape (S, n).

    The losses are added up and differentiated once: row i of the stacked parameters is in
    :math:`f(x_i)` alone, so that its gradient is what one point would have. It is so as well where
    another row holds NaN.

    Args:
        vectorized: the user's: a list of stacked parameters -> losses, shape (S,).
        bridge: between points and stacks.
        rows: how the vectors of all runs are one matrix.
        recover: exceptions that stand for a loss of NaN. Where one is raised the points are
            evaluated in halves, down to those that it is about.
        gradient: whether gradients are computed.
        on_clock: runs code of the user's; its time is the closure's.

    Raises:
        ValueError: in a call, where the losses have another shape than (S,).
        TypeError: they are complex.
        RuntimeError: they have no graph, or one that reaches no parameter.
    """

    def __init__(
        self,
        vectorized: VectorizedLoss,
        bridge: Bridge[Any],
        rows: RowVectors,
        recover: tuple[type[Exception], ...],
        *,
        gradient: bool,
        on_clock: Callable[[Callable[[], Any]], Any],
    ) -> None:
        self._vectorized, self._bridge, self._recover = vectorized, bridge, recover
        self._gradient, self._on_clock, self._rows = gradient, on_clock, rows

    def __call__(self, trials: Sequence[Trial[Any]]) -> list[RowAnswer]:
        stacks = self._bridge.unflatten_rows(self._rows.stacked([trial.x for trial in trials]))
        found = self._on_clock(lambda: self._tried(stacks, len(trials)))
        if isinstance(found, str):
            return self._halved(trials, found)
        losses, grads = found
        if grads is None:
            values = losses.detach().to("cpu", torch.float64).tolist()
            return [RowAnswer(value, None, math.isfinite(value)) for value in values]
        gradients = self._rows.empty(len(trials), self._bridge.numel)
        all_finite = self._bridge.flatten_rows(grads, gradients)
        rows = self._rows.apart(gradients)
        measured = [
            () if trial.measure is None else trial.measure(row)
            for trial, row in zip(trials, rows, strict=True)
        ]
        read = self._rows.read(losses.detach(), gradients, all_finite, measured)
        return [
            RowAnswer(value, row, finite and math.isfinite(value), "", scalars)
            for row, (value, finite, scalars) in zip(rows, read, strict=True)
        ]

    def _tried(self, stacks: list[Tensor], count: int) -> _Found | str:
        """Losses and gradients, or what was raised that may be."""
        try:
            return self._evaluate(stacks, count)
        except self._recover as error:
            return f"{type(error).__name__}: {error}"

    def _evaluate(self, stacks: list[Tensor], count: int) -> _Found:
        for stack in stacks:
            stack.requires_grad_(self._gradient)
        with torch.set_grad_enabled(self._gradient):
            losses = _checked(self._vectorized(list(stacks)), count)
            if not self._gradient:
                return losses, None
            grads: list[Tensor | None] = [None] * len(stacks)
            if losses.requires_grad:
                ones = torch.ones_like(losses)
                grads = list(torch.autograd.grad(losses, stacks, ones, allow_unused=True))
        if all(grad is None for grad in grads) and bool(losses.isfinite().any()):
            raise RuntimeError(
                "vectorized: the losses have no graph that reaches the parameters; expected them "
                "to be computed from the tensors that vectorized is called with, by operations of "
                "torch, outside of torch.no_grad() and without detach()"
            )
        return losses, grads

    def _halved(self, trials: Sequence[Trial[Any]], why: str) -> list[RowAnswer]:
        """The answers where ``vectorized`` raises for some of the points; NaN for these."""
        if len(trials) == 1:
            gradient = trials[0].x * math.nan if self._gradient else None
            return [RowAnswer(math.nan, gradient, False, why)]
        middle = (len(trials) + 1) // 2
        return [*self(trials[:middle]), *self(trials[middle:])]


def check_agreement(alone: float, together: float) -> None:
    """A loss that means something else, or parameters in another order, show at the first start.

    Raises:
        ValueError: both are finite, and not the same loss.
    """
    if not math.isfinite(alone) or not math.isfinite(together):
        return
    if not math.isclose(alone, together, rel_tol=1e-3, abs_tol=1e-3):
        raise ValueError(
            f"vectorized: expected the closure's loss at the first start, {alone:.6g}; got "
            f"{together:.6g}. It must compute the same loss, from a list of one stacked tensor "
            f"for each parameter, in the order of the optimizer's parameters."
        )


def _checked(losses: Any, count: int) -> Tensor:
    if not isinstance(losses, Tensor) or losses.shape != (count,):
        got = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
        raise ValueError(
            f"vectorized: expected a tensor of shape ({count},), one loss for each point; got {got}"
        )
    if losses.is_complex():
        raise TypeError(f"vectorized: expected real losses, got {losses.dtype}")
    return losses
