"""What an optimizer's first step warns of: a random closure, gradients that are lost or absent."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.parameter import is_lazy
from torch.utils.weak import TensorWeakRef

from ..bridge.interface import Bridge
from ..closure.draws import notice_draws
from ..closure.runner import ClosureRunner

__all__ = ["FirstStep"]

# Parameters of which a number is kept, to see that they were written to.
_SAMPLED = 32
# By how much, of their norm, gradients at the same point may differ by rounding.
_ROUNDING = 1e-3


class _Mark(NamedTuple):
    """A parameter as it was when the optimizer was made.

    Attributes:
        version, first: of its values; the first of them tells what leaves no trace in the version:
            fused optimizers, and what is written through ``p.data``.
        grad, grad_version: of its gradient.
    """

    param: Tensor
    version: int
    first: Tensor | None
    grad: TensorWeakRef | None
    grad_version: int

    @classmethod
    def of(cls, param: Tensor, *, sampled: bool) -> _Mark:
        first = _first(param) if sampled else None
        grad: Tensor | None = param.grad
        if grad is None:
            return cls(param, _version(param), first, None, 0)
        return cls(param, _version(param), first, TensorWeakRef(grad), _version(grad))

    def has_new_gradient(self) -> bool:
        """Whether a gradient was made or added to since."""
        now: Tensor | None = self.param.grad
        if now is None:
            return False
        is_new = self.grad is None or self.grad() is not now
        return is_new or _version(now) != self.grad_version

    def is_as_it_was(self) -> bool:
        """Whether the values are, as far as is seen."""
        if _version(self.param) != self.version:
            return False
        now = None if self.first is None else _first(self.param)
        return self.first is None or (now is not None and torch.equal(self.first, now))


class FirstStep:
    """Knows the parameters from when the optimizer was made to its first step.

    Gradients that are in ``.grad`` when a step begins are no part of what it minimises. They were
    meant to be where ``backward()`` has made them since, nobody has written to the parameters in
    the meantime, as another optimizer's step would, and the closure does not give the same there.

    Args:
        params: all that the optimizer has.
    """

    def __init__(self, params: Iterable[Tensor]) -> None:
        known = [p for p in params if not is_lazy(p)]
        self._marks = [_Mark.of(p, sampled=i < _SAMPLED) for i, p in enumerate(known)]

    def watch(self, runner: ClosureRunner, *, draws: bool, gradients: bool) -> None:
        """Warn once where something is wrong, as soon as the runner's first runs show it.

        Args:
            runner: of the first step, the parameters at its start.
            draws: look for random numbers.
            gradients: look for gradients; for solvers that ask for some.
        """
        if draws:
            notice_draws(runner)
        if gradients and runner.fixed is not None:
            runner.when_gradient(partial(_notice_zeros, runner.bridge))
        elif gradients and self._has_new_gradients():
            runner.when_gradient(_Left(runner.bridge).compare)

    def _has_new_gradients(self) -> bool:
        return any(mark.has_new_gradient() for mark in self._marks) and all(
            mark.is_as_it_was() for mark in self._marks
        )


def _notice_zeros(bridge: Bridge) -> None:
    """Warn where a captured graph has left the gradients as they were set before it ran."""
    if not bridge.flatten_grads().any():
        warnings.warn(
            "captured_graph=True, but the first run of the closure left zeros in .grad. Unless the "
            "start is a stationary point, it fills other tensors than those that were in .grad "
            "when step() began, or replays no graph; then leave captured_graph out.",
            RuntimeWarning,
            stacklevel=2,
        )


class _Left:
    """The gradients that were there when the step began."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._versions = [_version(param) for param in bridge.params]
        self._gradients = [param.grad for param in bridge.params]

    def compare(self) -> None:
        """Warn where the closure's, that are in ``.grad`` now, are others; then forget them."""
        bridge, gradients, self._gradients = self._bridge, self._gradients, []
        if [_version(param) for param in bridge.params] != self._versions:
            return  # of another point
        if any(g is not None and g.layout != torch.strided for g in gradients):
            return
        left, now = bridge.flatten(gradients), bridge.flatten_grads()
        scale = max(np.linalg.norm(left), np.linalg.norm(now))
        if not left.any() or not np.linalg.norm(left - now) > _ROUNDING * scale:
            return
        warnings.warn(
            "gradients were accumulated in .grad before step, and are thrown away: they are not "
            "those of the closure, and a solver minimises what the closure returns. Compute the "
            "whole loss in it, each micro-batch included; it may call backward() for each. Where "
            "nothing is lost, zero_grad() before step says so.",
            RuntimeWarning,
            stacklevel=2,
        )


def _version(tensor: Tensor) -> int:
    """How often it was written to; tensors of inference mode do not count."""
    return 0 if tensor.is_inference() else tensor._version


def _first(param: Tensor) -> Tensor | None:
    if param.layout != torch.strided or param.is_meta:
        return None
    return param.detach().reshape(-1)[:1].clone()
