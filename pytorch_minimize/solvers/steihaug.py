"""A trust region with truncated conjugate gradients, as scipy's trust-ncg."""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Generic

from ..bridge.interface import V
from ..bridge.space import Space
from ..run.protocol import Answer, Product, Stage, Trial
from .conjugate import Conjugate
from .nystrom import Nystrom

__all__ = ["Steihaug", "SteihaugRules"]

_MESSAGES = {
    0: "Optimization terminated successfully.",
    1: "Maximum number of iterations has been exceeded.",
    2: "A bad approximation caused failure to predict improvement.",
    3: "NaN result encountered.",
}

# Shares of the decrease that the model predicts: below the first the radius shrinks, above the
# second it grows.
_POOR, _GOOD = 0.25, 0.75


@dataclass(frozen=True)
class SteihaugRules:
    """How one run goes; options of scipy's trust-ncg, of the same meaning.

    Attributes:
        gtol: success where the gradient's Euclidean norm is less than this.
        initial_trust_radius, max_trust_radius: of the steps.
        eta: share of the predicted decrease above which a step is taken.
        maxiter: iterations, those whose step is rejected among them; None for 200 n.
        return_all: keep the iterate of every iteration.
        damping: of the preconditioner alone, since the radius bounds the steps.
    """

    gtol: float = 1e-4
    initial_trust_radius: float = 1.0
    max_trust_radius: float = 1000.0
    eta: float = 0.15
    maxiter: int | None = None
    return_all: bool = False
    damping: float = 0.0


class Steihaug(Generic[V]):
    r"""Minimises the model :math:`f + g^T p + p^T H p / 2` where :math:`|p| \le \Delta`.

    By conjugate gradients from p = 0, which end where :math:`|H p + g| < \min(1/2, \sqrt{|g|})\,
    |g|`, at the boundary, or where a direction has no positive curvature, along which they go to
    the boundary. With a preconditioner P the length of p is that of :math:`P^{1/2} p`.

    Args:
        space: what vectors are.
        rules: the options.
        nystrom: makes a preconditioner; None for none.

    Attributes:
        x, value, gradient, nit: of the iterate.
        allvecs: the iterates, with ``return_all``.

    Source: Steihaug, SIAM Journal on Numerical Analysis 20 (1983); Nocedal and Wright, Numerical
    Optimization (2006), algorithms 4.1 and 7.2.
    """

    x: V
    value: float
    gradient: V

    def __init__(
        self, space: Space[V], rules: SteihaugRules, nystrom: Nystrom[V] | None = None
    ) -> None:
        self.nit = 0
        self.allvecs: list[V] = []
        self._space, self._rules, self._nystrom = space, rules, nystrom
        self._radius = rules.initial_trust_radius
        self._failed, self._finite = False, True
        self._size = math.nan
        self._inner = 0

    def start(self, x: V) -> Stage[V]:
        answer = yield Trial(x, self._measure)
        self.x, self.value, self.gradient = x, answer.value, answer.gradient
        self._keep()
        self._finite = answer.finite
        if answer.finite:
            self._size = math.sqrt(answer.scalars[0])

    def step(self) -> Stage[V]:
        model, at_boundary = yield from self._solve()
        self._inner += model.taken
        predicted = yield from self._predicted(model)
        x = self._space.stepped(self.x, 1.0, model.solution)
        answer = yield Trial(x, self._measure)
        if not predicted > 0.0:
            self._failed = True
            return
        ratio = (self.value - answer.value) / predicted if answer.finite else -math.inf
        if ratio < _POOR:
            self._radius *= 0.25
        elif ratio > _GOOD and at_boundary:
            self._radius = min(2.0 * self._radius, self._rules.max_trust_radius)
        if ratio > self._rules.eta:
            self._size = math.sqrt(answer.scalars[0])
            self.x, self.value, self.gradient = x, answer.value, answer.gradient
        self.nit += 1
        self._keep()

    def done(self) -> int | None:
        limit = self._rules.maxiter
        if self._failed:
            return 2
        if not self._finite:
            return 3
        if self._size < self._rules.gtol or self._size == 0.0:
            return 0
        limit = 200 * self._space.size(self.x) if limit is None else limit
        return 1 if self.nit >= max(1, limit) else None

    def message(self, status: int) -> str:
        return _MESSAGES[status]

    def fields(self) -> dict[str, Any]:
        found = {"inner": self._inner}
        return found | ({"allvecs": self.allvecs} if self._rules.return_all else {})

    def _solve(self) -> Generator[Product[V], Answer[V], tuple[Conjugate[V], bool]]:
        """The model at its least inside the radius, and whether that is at the boundary."""
        precondition = None
        if self._nystrom is not None:
            yield from self._nystrom.refresh(self.nit, self.x)
            precondition = self._nystrom.as_precondition()
        model = Conjugate(self._space, self.x, self.gradient, order=2, precondition=precondition)
        enough = min(0.5, math.sqrt(self._size)) * self._size
        for _ in range(20 * self._space.size(self.x)):
            if (yield from model.multiply()) <= 0.0:
                # Of both ends of the line the one where the model is lower.
                model.leave(min(model.steps_to(self._radius), key=model.change))
                return model, True
            if model.reach >= self._radius:
                model.leave(model.steps_to(self._radius)[1])
                return model, True
            model.take()
            if model.size < enough:
                break
        return model, False

    def _predicted(self, model: Conjugate[V]) -> Generator[Product[V], Answer[V], float]:
        """By how much the model is lower there than here, as far as the loss has digits.

        One product more, as scipy takes; what was summed up without it where there is a
        preconditioner.
        """
        if self._nystrom is not None:
            return self.value - (self.value - model.decrease)
        space, p = self._space, model.solution

        def measure(product: V) -> V:
            return space.scalars([space.dot(self.gradient, p), space.dot(p, product)])

        slope, curvature = (yield Product(self.x, p, measure)).scalars
        return self.value - (self.value + slope + 0.5 * curvature)

    def _measure(self, gradient: V) -> V:
        return self._space.scalars([self._space.dot(gradient, gradient)])

    def _keep(self) -> None:
        if self._rules.return_all:
            self.allvecs.append(self.x)
