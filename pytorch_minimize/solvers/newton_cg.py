"""Newton's method with conjugate gradients and a search along a line, as scipy's Newton-CG."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Generic

from ..bridge.interface import V
from ..bridge.space import Space
from ..run.protocol import Answer, Product, Stage, Trial
from .along import search_along
from .conjugate import Conjugate
from .line_search import Probe, first_trial, step_back
from .nystrom import Nystrom
from .zoom import wolfe

__all__ = ["NewtonCG", "NewtonCGRules"]

_MESSAGES = {
    0: "Optimization terminated successfully.",
    1: "Warning: Maximum number of iterations has been exceeded.",
    2: "Warning: Desired error not necessarily achieved due to precision loss.",
    3: "Warning: CG iterations didn't converge. The Hessian is not positive definite.",
}
_NAN = "NaN result encountered."

# Of a curvature that is none; of the steps of More and Thuente's search, as scipy has them here.
_NO_CURVATURE = 3.0 * 2.0**-52
_LEAST_STEP, _LARGEST_STEP = 1e-8, 50.0


@dataclass(frozen=True)
class NewtonCGRules:
    """How one run goes; but for the last, options of scipy's Newton-CG, of the same meaning.

    Attributes:
        xtol: success where a step changes the variables by less than this on average.
        c1, c2: of the line search.
        maxiter: iterations; None for 200 n.
        return_all: keep every iterate.
        damping: times the identity is added to the Hessian.
    """

    xtol: float = 1e-5
    c1: float = 1e-4
    c2: float = 0.9
    maxiter: int | None = None
    return_all: bool = False
    damping: float = 0.0


class NewtonCG(Generic[V]):
    r"""Minimises along p with :math:`H p \approx -g`, by conjugate gradients from p = 0.

    They end where :math:`|H p + g|_1 \le \min(1/2, \sqrt{|g|_1})\, |g|_1`, or where a direction
    has no curvature, or a negative one. On arrays this is scipy's path to the bit.

    Args:
        space: what vectors are.
        rules: the options.
        nystrom: makes a preconditioner; None for none.

    Attributes:
        x, value, gradient, nit: of the iterate.
        allvecs: the iterates, with ``return_all``.

    Source: Nocedal and Wright, Numerical Optimization (2006), algorithm 7.1.
    """

    x: V
    value: float
    gradient: V

    def __init__(
        self, space: Space[V], rules: NewtonCGRules, nystrom: Nystrom[V] | None = None
    ) -> None:
        self.nit = 0
        self.allvecs: list[V] = []
        self._space, self._rules, self._nystrom = space, rules, nystrom
        self._status: int | None = None
        self._finite = True
        self._size = self._before = math.nan
        self._change = math.inf
        self._inner = 0
        self._direction: V

    def start(self, x: V) -> Stage[V]:
        space = self._space
        answer = yield Trial(x, lambda gradient: space.scalars([space.norm(gradient, 1.0)]))
        self.x, self.value, self.gradient = x, answer.value, answer.gradient
        self._keep()
        self._finite = answer.finite
        if answer.finite:
            (self._size,) = answer.scalars

    def step(self) -> Stage[V]:
        space, rules = self._space, self._rules
        slope = yield from self._solve()
        if slope is None:
            self._status = 3
            return
        start = Probe(0.0, self.value, slope)
        first = 1.0 if math.isnan(self._before) else first_trial(self.value, self._before, slope)
        search = wolfe(start, first, rules.c1, rules.c2, _LEAST_STEP, _LARGEST_STEP)
        search = step_back(search, start, rules.c1)
        found = yield from search_along(space, self.x, self._direction, search, self._measure)
        if found is None:
            self._status = 2
            return
        _, self._size, length = found.answer.scalars
        self._change = found.step * length
        self._before = self.value
        self.nit += 1
        self.x, self.value, self.gradient = found.x, found.answer.value, found.answer.gradient
        self._keep()

    def done(self) -> int | None:
        n, limit = self._space.size(self.x), self._rules.maxiter
        if self._status is not None:
            return self._status
        if not self._finite:
            return 3
        if self._change <= max(0.0, n * self._rules.xtol):
            return 0
        return 1 if self.nit >= (200 * n if limit is None else limit) else None

    def message(self, status: int) -> str:
        return _MESSAGES[status] if self._finite else _NAN

    def fields(self) -> dict[str, Any]:
        found = {"inner": self._inner}
        return found | ({"allvecs": self.allvecs} if self._rules.return_all else {})

    def _solve(self) -> Generator[Product[V], Answer[V], float | None]:
        """Finds the direction; its slope, or None where the iterations do not end."""
        precondition = None
        if self._nystrom is not None:
            yield from self._nystrom.refresh(self.nit, self.x)
            precondition = self._nystrom.as_precondition()
        model = Conjugate(
            self._space,
            self.x,
            self.gradient,
            order=1,
            precondition=precondition,
            damping=self._rules.damping,
        )
        # Preconditioned directions are shorter, and so are absolute curvatures along them.
        none = _NO_CURVATURE if precondition is None else 0.0
        size, enough = self._size, min(0.5, math.sqrt(self._size)) * self._size
        for _ in range(20 * self._space.size(self.x)):
            if size <= enough:
                break
            curvature = yield from model.multiply()
            if curvature <= none:
                if curvature < 0.0 and not model.taken:
                    model.leave(model.steepest)
                break
            model.take()
            size = model.size
        else:
            return None
        self._inner += model.taken
        self._direction = model.solution
        if self._space.waits:
            return model.slope
        return float(self._space.dot(self.gradient, self._direction))

    def _measure(self, x: V, gradient: V) -> V:
        """Slope and size of the gradient at a trial, and the length of the direction."""
        space, p = self._space, self._direction
        return space.scalars(
            [space.dot(gradient, p), space.norm(gradient, 1.0), space.norm(p, 1.0)]
        )

    def _keep(self) -> None:
        if self._rules.return_all:
            self.allvecs.append(self.x)
