"""Limited memory within bounds: variables that a bound holds are left out, others are projected."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from scipy.optimize import Bounds
from torch import Tensor

from ..bridge.interface import V
from ..bridge.space import ArraySpace, Space
from ..run.protocol import Answer
from .limited_memory import LARGEST, LimitedMemory, LimitedRules, Line, Sums
from .ring import Ring, as_tensors

__all__ = ["BoundedMemory"]

# Columns of W that are multiplied at a time.
_COLUMNS = 1 << 15
_ROUNDING = 4.0 * torch.finfo(torch.float64).eps
# How far from its own steepest descent a line may lead, as a cosine.
_STEEP = 1e-6


class BoundedMemory(LimitedMemory[V]):
    r"""Limited memory by a projected active set.

    A variable is *held* where it is at a bound and its gradient leads out. Of the others the
    direction is :math:`-(B_{FF})^{-1} g_F`, bent so that at the step that is tried first what
    would leave the bounds is on them; a search goes as far as the first bound on the line. Where
    no bound plays a part, all is as without any, to the last bit.

    Args:
        space, ring, rules: see :class:`LimitedMemory`.
        bounds: on the flat vector, inside which the start is.

    Source: directions are those of the subspace minimisation of Byrd, Lu, Nocedal and Zhu (1995);
    bending is that of Morales and Nocedal, ACM TOMS 38 (2011).
    """

    def __init__(self, space: Space[V], ring: Ring[V], rules: LimitedRules, bounds: Bounds) -> None:
        super().__init__(space, ring, rules)
        # Where W is, which knows the device.
        where = ring.rows(0).device
        self._low, self._high = (torch.tensor(b, device=where) for b in (bounds.lb, bounds.ub))
        self._held = self._held_there = 0
        self._on_tensors = not isinstance(space, ArraySpace)

    def _as_vector(self, tensor: Tensor) -> Any:
        return tensor if self._on_tensors else tensor.numpy()

    def _projected(self, x: Tensor, gradient: Tensor) -> Tensor:
        """The gradient without what only the bounds keep from leading on."""
        falling = torch.maximum(x - self._high, gradient)
        rising = torch.minimum(x - self._low, gradient)
        return torch.where(gradient < 0.0, falling, rising)

    def _is_held(self, x: Tensor, gradient: Tensor) -> Tensor:
        outwards = torch.where(gradient < 0.0, x >= self._high, x <= self._low)
        return outwards & (gradient != 0.0) | (self._low == self._high)

    def _bounded(self, x: V, gradient: V, measured: V) -> V:
        """What was measured, and what the bounds make of the gradient there."""
        at, g = as_tensors(x, gradient)
        held = self._is_held(at, g).sum().double()
        more = torch.stack([self._projected(at, g).abs().max(), held])
        return self._space.joined(measured, self._as_vector(more))

    def _measure_start(self, x: V, gradient: V) -> V:
        return self._bounded(x, gradient, super()._measure_start(x, gradient))

    def _measure(self, x: V, gradient: V) -> V:
        return self._bounded(x, gradient, super()._measure(x, gradient))

    def _heard(self, scalars: Sequence[float]) -> Sequence[float]:
        """The projected gradient's size in place of the gradient's own."""
        *found, _, largest, held = scalars
        self._held_there = int(held)
        return [*found, largest]

    def _at(self, step: float) -> V:
        """Clipped; what is nearer to a bound than a rounding is on it."""
        to, x = as_tensors(super()._at(step), self.x)
        for bound, nearest in ((self._low, torch.maximum), (self._high, torch.minimum)):
            to = nearest(to, bound)
            room = _ROUNDING * torch.maximum(bound.abs(), x.abs())
            to = torch.where(bound.isfinite() & ((to - bound).abs() <= room), bound, to)
        found: V = self._as_vector(to)
        return found

    def _accept(self, x: V, step: float, answer: Answer[V], found: Sums) -> None:
        self._held = self._held_there
        super()._accept(x, step, answer, found)

    def _begin(self) -> None:
        super()._begin()
        if math.isnan(self._before):  # at the start
            self._held = self._held_there
        if self._held:
            self._line.direction = self._as_vector(-self._free_gradient())
        self._bend()

    def _aim(self, products: Sequence[float], slot: int | None, step: float, before: V) -> None:
        if not self._held:
            super()._aim(products, slot, step, before)
        else:
            self._keep(slot, step, before)
            try:
                self._line = Line(self._reduced_direction(), math.nan)
            except ArithmeticError:
                self._forget()
                return
        self._bend()

    def _keep(self, slot: int | None, step: float, before: V) -> None:
        if slot is not None:
            g, old, d = as_tensors(self.gradient, before, self._line.direction)
            pair = self._ring.rows(2 * slot + 2)[-2:]
            pair[0], pair[1] = step * d, g - old

    def _free_gradient(self) -> Tensor:
        x, g = as_tensors(self.x, self.gradient)
        return torch.where(self._is_held(x, g), 0.0, g)

    def _reduced_direction(self) -> Any:
        x, g = as_tensors(self.x, self.gradient)
        w, held = self._ring.rows(2 * len(self._compact)), self._is_held(x, g)
        count = len(w)
        total = g.new_zeros(count, 2 * count + 1)
        for at in range(0, g.numel(), _COLUMNS):
            part = w[:, at : at + _COLUMNS].double()
            free = part * ~held[at : at + _COLUMNS]
            columns = torch.cat((part, free, g[None, at : at + _COLUMNS]))
            total[:, :count] += part @ columns[:count].T
            total[:, count:] += free @ columns[count:].T
        known = total.cpu().numpy()
        weights = self._compact.reduced(
            known[:, :count], known[:, count : 2 * count], known[:, 2 * count]
        )
        found = g * -weights.gamma
        rows = torch.from_numpy(-weights.rows).to(g.device)
        for at in range(0, g.numel(), _COLUMNS):
            found[at : at + _COLUMNS] += rows @ w[:, at : at + _COLUMNS].double()
        return self._as_vector(found.masked_fill_(held, 0.0))

    def _bend(self) -> None:
        """Let the line end on the bounds where it would leave them at the first step."""
        line = self._line
        if self._held:
            g, d = as_tensors(self.gradient, line.direction)
            line.slope = float(g @ d)
        if not line.slope < 0.0:
            return
        is_steep = self._bend_at(self._first_step())
        if not is_steep:
            # The direction of steepest descent, bent, never rises.
            step = self._compact.gamma
            self._line = Line(self._as_vector(-step * self._free_gradient()), -1.0)
            self._bend_at(1.0)
            self._line.bent = True

    def _bend_at(self, first: float) -> bool:
        """Whether what came of it still leads down."""
        line = self._line
        x, g, d = as_tensors(self.x, self.gradient, line.direction)
        to = x + first * d
        inside = torch.minimum(torch.maximum(to, self._low), self._high)
        leaves = to != inside
        bent = torch.where(leaves, (inside - x) / first, d)
        room = torch.where(bent > 0.0, self._high - x, self._low - x) / bent
        room = torch.where(bent != 0.0, room, math.inf)
        down = self._free_gradient()
        read = [leaves.any().double(), g @ bent, bent @ bent, down @ down, room.min()]
        is_bent, slope, length, steepest, reach = torch.stack(read).tolist()
        line.first, line.reach = first, min(max(reach, first), LARGEST)
        if is_bent:
            line.direction, line.slope, line.bent = self._as_vector(bent), slope, True
        return not is_bent or -slope > _STEEP * math.sqrt(length) * math.sqrt(steepest)
