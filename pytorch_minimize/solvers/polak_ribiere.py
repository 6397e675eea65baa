"""Nonlinear conjugate gradients, as scipy's CG."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple

from ..bridge.interface import V
from ..bridge.space import Space
from ..run.protocol import Answer, Stage, Trial
from .along import Found, search_along
from .line_search import Probe, first_trial, step_back
from .zoom import wolfe

__all__ = ["PolakRibiere", "PolakRibiereRules"]

_MESSAGES: Mapping[int, str] = {
    0: "Optimization terminated successfully.",
    1: "Maximum number of iterations has been exceeded.",
    2: "Desired error not necessarily achieved due to precision loss.",
    3: "NaN result encountered.",
}

# The share of the gradient's square by which a direction must fall.
_DESCENT = 0.01


@dataclass(frozen=True)
class PolakRibiereRules:
    """How one run goes; options of scipy's CG, of the same meaning.

    Attributes:
        gtol: success where the gradient's norm is at most this.
        norm: the order of that norm.
        c1, c2: of the line search.
        maxiter: iterations; None for 200 n.
        return_all: keep every iterate.
    """

    gtol: float = 1e-5
    norm: float = math.inf
    c1: float = 1e-4
    c2: float = 0.4
    maxiter: int | None = None
    return_all: bool = False


class _Turn(NamedTuple):
    """What becomes of the direction at a trial.

    Attributes:
        answer: of that trial.
        size, square: of the gradient there.
        share: of the old direction in the next one.
        slope: of the next one there, as far as rounding lets it be known beforehand.
    """

    answer: Answer[Any]
    size: float
    square: float
    share: float
    slope: float


class PolakRibiere(Generic[V]):
    r"""Minimises along :math:`p_+ = -g_+ + \max(0, g_+^T (g_+ - g) / g^T g)\, p`.

    A step must satisfy the strong Wolfe conditions, and :math:`p_+` must fall by a share of
    :math:`|g_+|^2`, which these do not imply. Alive are two points, their gradients and one
    direction, which is turned in place. On arrays it takes scipy's path to the bit; where to read
    a scalar is to wait, all inner products of a trial come with its loss.

    Args:
        space: what vectors are.
        rules: the options.

    Attributes:
        x, value, gradient, nit: of the iterate.
        allvecs: the iterates, with ``return_all``.

    Source: Gilbert and Nocedal, SIAM Journal on Optimization 2 (1992).
    """

    x: V
    value: float
    gradient: V

    def __init__(self, space: Space[V], rules: PolakRibiereRules) -> None:
        self.nit = 0
        self.allvecs: list[V] = []
        self._space, self._rules = space, rules
        self._failed, self._finite = False, True
        self._size = self._square = self._slope = self._before = math.nan
        self._turn: _Turn | None = None
        self._last: Answer[V]
        self._direction: V

    def start(self, x: V) -> Stage[V]:
        space, order = self._space, self._rules.norm

        def measure(gradient: V) -> V:
            return space.scalars([space.norm(gradient, order), space.dot(gradient, gradient)])

        answer = yield Trial(x, measure)
        self.x, self.value, self.gradient = x, answer.value, answer.gradient
        self._keep()
        self._finite = answer.finite
        if answer.finite:
            self._size, self._square = answer.scalars
            self._slope = -self._square
            self._before = self.value + math.sqrt(self._square) / 2.0
            self._direction = space.combined([-1.0], [self.gradient])

    def step(self) -> Stage[V]:
        rules, start = self._rules, Probe(0.0, self.value, self._slope)
        first = first_trial(self.value, self._before, self._slope)
        search = wolfe(start, first, rules.c1, rules.c2, also=self._falls)
        found = yield from search_along(
            self._space,
            self.x,
            self._direction,
            step_back(search, start, rules.c1),
            self._measure,
            self._see,
        )
        if found is None:
            self._failed = True
        else:
            self._accept(found)

    def done(self) -> int | None:
        limit = self._rules.maxiter
        if self._failed:
            return 2
        if self.nit >= (200 * self._space.size(self.x) if limit is None else limit):
            return 1
        if not self._finite:
            return 3
        # From where the gradient is zero, or its square is, no direction leads.
        return 0 if self._size <= self._rules.gtol or self._square == 0.0 else None

    def message(self, status: int) -> str:
        return _MESSAGES[status]

    def fields(self) -> dict[str, Any]:
        return {"allvecs": self.allvecs} if self._rules.return_all else {}

    def _measure(self, x: V, gradient: V) -> V:
        """Slope and size at a trial; and |g+|^2 and g'g+, where to ask later would be to wait."""
        space = self._space
        found = [space.dot(gradient, self._direction), space.norm(gradient, self._rules.norm)]
        if space.waits:
            found += [space.dot(gradient, gradient), space.dot(self.gradient, gradient)]
        return space.scalars(found)

    def _turn_at(self, answer: Answer[V]) -> _Turn:
        """The next direction, were the trial of this answer accepted."""
        space, gradient = self._space, answer.gradient
        slope, size, *more = answer.scalars
        if more:
            square, along = more[0], more[0] - more[1]
        else:  # as scipy has it, to the bit
            square = float(space.dot(gradient, gradient))
            along = float(space.dot(space.stepped(gradient, -1.0, self.gradient), gradient))
        share = max(0.0, along / self._square)
        return _Turn(answer, size, square, share, share * slope - square)

    def _see(self, answer: Answer[V]) -> None:
        self._last = answer

    def _falls(self) -> bool:
        """Whether from the last trial the next direction leads down, unless that is the end."""
        self._turn = turn = self._turn_at(self._last)
        return turn.size <= self._rules.gtol or turn.slope <= -_DESCENT * turn.square

    def _accept(self, found: Found[V]) -> None:
        """The trial becomes the iterate, and the next line is made."""
        turn, space = self._turn, self._space
        if turn is None or turn.answer is not found.answer:
            turn = self._turn_at(found.answer)
        self._turn = None
        self.nit += 1
        self._before = self.value
        self.x, self.value, self.gradient = found.x, found.answer.value, found.answer.gradient
        self._size, self._square, self._slope = turn.size, turn.square, turn.slope
        space.turn(self._direction, turn.share, self.gradient)
        if not space.waits:
            self._slope = float(space.dot(self.gradient, self._direction))
        self._keep()

    def _keep(self) -> None:
        if self._rules.return_all:
            self.allvecs.append(self.x)
