"""Limited memory by the rules of scipy's L-BFGS-B, in compact form; self-scaled if asked for."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic

import numpy as np
import torch

from ..bridge.interface import V
from ..bridge.space import Space
from ..run.protocol import Answer, Stage, Trial
from .compact import compact_of
from .line_search import Probe, Search, first_trial, more_thuente, or_the_first, send, step_back
from .ring import SCALARS, Change, Ring

__all__ = ["LARGEST", "LimitedMemory", "LimitedRules", "Line", "Sums"]

# Of scipy's L-BFGS-B: the search's, and the largest step.
_C1, _C2, _XTOL, LARGEST = 1e-3, 0.9, 0.1, 1e10
# A search's own limit, which ours comes before.
_NEVER = 10**9
_EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class LimitedRules:
    """How one run goes. The first six are options of scipy's L-BFGS-B, of the same meaning.

    Attributes:
        maxcor: pairs that are kept.
        ftol: success where the loss falls by at most this, relative to it where it is above 1.
        gtol: success where no element of the projected gradient is larger.
        maxfun, maxiter: evaluations, after whose iteration a run ends; iterations.
        maxls: evaluations of one search.
        history_dtype: what pairs are kept in.
        first_step: what is tried first along a line: "one", scipy's rule, or "guess", as
            :func:`~pytorch_minimize.solvers.line_search.first_trial` has it.
        scaling: "none", or "self" to scale what is known before each pair.
    """

    maxcor: int = 10
    ftol: float = 2.2204460492503131e-09
    gtol: float = 1e-5
    maxfun: float = 15000
    maxiter: float = 15000
    maxls: int = 20
    history_dtype: torch.dtype = torch.float64
    first_step: str = "one"
    scaling: str = "none"


class Sums:
    """What :meth:`Ring.sums` gave of a trial, on the host.

    Attributes:
        with_g, with_y: s_0'g, y_0'g, s_1'g ... and the same with y.
        slope, square, yy, yg, largest: g'd, g'g, y'y, y'g, max |g|.
    """

    def __init__(self, scalars: Sequence[float]) -> None:
        rows = (len(scalars) - SCALARS) // 2
        self.with_g, self.with_y = scalars[:rows], scalars[rows : 2 * rows]
        self.slope, self.square, self.yy, self.yg, self.largest = scalars[2 * rows :]


class Line(Generic[V]):
    """The line that is being searched.

    Attributes:
        reach: the largest step.
        first: the step to try first; None for the rules' own.
        bent: bounds made it another than -H g.
    """

    def __init__(self, direction: V, slope: float) -> None:
        self.direction, self.slope = direction, slope
        self.reach = LARGEST
        self.first: float | None = None
        self.bent = False


class LimitedMemory(Generic[V]):
    r"""Minimises along :math:`d = -H g`, H being made of the last m pairs.

    :math:`W g_+` and :math:`W y` of a trial point give every inner product that the next direction
    needs, so that W is read once with the new gradient and once for the direction, and a device is
    waited for once an evaluation.

    Args:
        space: what vectors are.
        ring: W, which this run alone uses.
        rules: the options.

    Attributes:
        x, value, gradient, nit: of the iterate.
        resets: how often all pairs were forgotten after a search that failed.
        skipped: iterations whose pair was not kept, s'y not being positive.

    Source: Byrd, Nocedal and Schnabel, Mathematical Programming 63 (1994); start, first trial,
    search, what is skipped and tests are those of scipy's L-BFGS-B.
    """

    x: V
    value: float
    gradient: V

    def __init__(self, space: Space[V], ring: Ring[V], rules: LimitedRules) -> None:
        self.nit = self.resets = self.skipped = 0
        self._space, self._ring, self._rules = space, ring, rules
        self._compact = compact_of(rules.maxcor, scales=rules.scaling == "self")
        self._failed, self._finite = False, True
        self._evaluations = 0
        self._before, self._fall = math.nan, math.inf
        self._higher = math.nan  # from which the loss is supposed to have come
        self._square = self._largest = math.nan
        self._line: Line[V]

    def start(self, x: V) -> Stage[V]:
        answer = yield Trial(x, partial(self._measure_start, x))
        self._evaluations += 1
        self.x, self.value, self.gradient = x, answer.value, answer.gradient
        self._finite = answer.finite
        if answer.finite:
            self._square, self._largest, *_ = self._heard(answer.scalars)
            self._begin()

    def step(self) -> Stage[V]:
        while not (yield from self._advance()):
            if not len(self._compact):
                self._failed = True
                return
            self.resets += 1
            self._forget()

    def done(self) -> int | None:
        rules = self._rules
        if self._failed:
            return 2
        if not self._finite:
            return 3
        if self.nit and (self.nit >= rules.maxiter or self._evaluations > rules.maxfun):
            return 1
        return 0 if self._largest <= rules.gtol or self._has_stopped_falling() else None

    def message(self, status: int) -> str:
        if status == 0 and self._largest <= self._rules.gtol:
            return "CONVERGENCE: NORM OF PROJECTED GRADIENT <= PGTOL"
        if status == 1 and self.nit < self._rules.maxiter:
            return "STOP: TOTAL NO. OF F,G EVALUATIONS EXCEEDS LIMIT"
        return _MESSAGES[status]

    def fields(self) -> Mapping[str, Any]:
        return {"resets": self.resets, "skipped": self.skipped}

    def _has_stopped_falling(self) -> bool:
        return self._fall <= self._rules.ftol * max(abs(self._before), abs(self.value), 1.0)

    def _begin(self) -> None:
        """The first line from here on: along the gradient."""
        self._higher = self.value + math.sqrt(self._square) / 2.0
        self._line = Line(self._space.combined([-1.0], [self.gradient]), -self._square)

    def _first_step(self) -> float:
        if self._rules.first_step == "guess":
            return first_trial(self.value, self._higher, self._line.slope) or 1.0
        return 1.0 if self.nit else min(1.0 / math.sqrt(self._square), LARGEST)

    def _search(self, start: Probe) -> Search:
        line = self._line
        first = self._first_step() if line.first is None else line.first
        search = more_thuente(start, first, _C1, _C2, _XTOL, 0.0, line.reach, _NEVER)
        search = step_back(search, start, _C1)
        return or_the_first(search, start, first, _C1, _C2, 0.0, line.reach)

    def _at(self, step: float) -> V:
        """The point at a step of the line."""
        return self._space.stepped(self.x, step, self._line.direction)

    def _advance(self) -> Generator[Trial[V], Answer[V], bool]:
        """One search, and the step that it finds; False if it finds none."""
        line, tried, finite = self._line, 0, True
        if not line.slope < 0.0:
            return False
        start = Probe(0.0, self.value, line.slope)
        probe, search = start, self._search(start)
        asked = send(search, None)
        while not isinstance(asked, bool):
            x = self._at(asked)
            if tried == self._rules.maxls or (not finite and self._space.same(x, self.x)):
                return False
            answer = yield Trial(x, partial(self._measure, x))
            self._evaluations += 1
            finite = answer.finite
            if finite:
                tried += 1
                found = Sums(self._heard(answer.scalars))
                probe = Probe(asked, answer.value, found.slope)
                asked = send(search, probe)
            else:
                asked = send(search, Probe(asked, math.nan, math.nan))
            if not isinstance(asked, bool):
                del answer, x  # so that no third point is alive
        # What dcsrch warns of ends a search as well as success does: it is the best point then,
        # though it may be the start, which scipy takes for the minimum.
        if not asked:
            stands = self._rules.scaling == "none" and probe.value == start.value
            asked = stands or probe.value < start.value
        accepted = asked and finite and tried > 0
        if accepted:
            self._accept(x, probe.step, answer, found)
        return accepted

    def _measure_start(self, x: V, gradient: V) -> V:
        space = self._space
        return space.scalars([space.dot(gradient, gradient), space.norm(gradient, math.inf)])

    def _heard(self, scalars: Sequence[float]) -> Sequence[float]:
        """What was measured, as it has come to the host."""
        return scalars

    def _measure(self, x: V, gradient: V) -> V:
        rows = 2 * len(self._compact)
        return self._ring.sums(rows, gradient, self.gradient, self._line.direction)

    def _accept(self, x: V, step: float, answer: Answer[V], found: Sums) -> None:
        """The trial becomes the iterate, and the next line is made, unless it ends."""
        before, slope = self.gradient, self._line.slope
        self._before = self._higher = self.value
        self._fall = self.value - answer.value
        self.x, self.value, self.gradient = x, answer.value, answer.gradient
        self._square, self._largest = found.square, found.largest
        self.nit += 1
        if self.done() is not None:
            return
        products, slot = self._learn(step, slope, found)
        self._aim(products, slot, step, before)

    def _aim(self, products: Sequence[float], slot: int | None, step: float, before: V) -> None:
        """Keep the pair in its slot, and make the next line.

        Args:
            products: W g of the new gradient.
            before: the one before.
        """
        try:
            weights = self._compact.weights(products)
        except ArithmeticError:
            self._forget()
            return
        change = Change(weights.gamma, weights.rows, slot, step)
        falls = weights.gamma * self._square + weights.along
        direction = self._line.direction
        slope = self._ring.turn(change, self.gradient, before, direction)
        self._line = Line(direction, -falls if slope is None else slope)

    def _forget(self) -> None:
        """The pairs are of no use."""
        self._compact.clear()
        self._begin()

    def _learn(self, step: float, slope: float, found: Sums) -> tuple[Sequence[float], int | None]:
        """Take in the pair of a step; W g with it, and its slot, None where it is skipped."""
        sy, compact, products = (found.slope - slope) * step, self._compact, found.with_g
        if not (sy > -_EPSILON * slope * step and 0.0 < found.yy < math.inf):
            self.skipped += 1
            return products, None
        slot, with_y = compact.slot, found.with_y
        # s'Bs / s'y, with B s = -step g; of a line that is bent it is not known.
        b = 1.0 if self._line.bent else -step * step * slope / sy
        compact.add(with_y[0::2], with_y[1::2], sy, found.yy, min(1.0, 1.0 / b))
        products = list(products)
        products[2 * slot : 2 * slot + 2] = step * found.slope, found.yg  # at the end, or in place
        return products, slot


_MESSAGES: Mapping[int, str] = {
    0: "CONVERGENCE: RELATIVE REDUCTION OF F <= FACTR*EPSMCH",
    1: "STOP: TOTAL NO. OF ITERATIONS REACHED LIMIT",
    2: "ABNORMAL: ",
    3: "NaN result encountered.",
}
"""What the statuses mean, in the words of scipy's L-BFGS-B; the last is ours."""
