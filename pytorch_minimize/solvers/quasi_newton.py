"""Dense quasi-Newton methods in rank two: BFGS as scipy's, SSBFGS and SSBroyden."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic

from ..bridge.interface import V
from ..bridge.space import Space
from ..run.protocol import Answer, Stage, Trial
from .along import search_along
from .hager_zhang import hager_zhang
from .inverse import Inverse
from .line_search import Probe, Search, first_trial, or_the_first, step_back
from .updates import UPDATES, RankTwo, rank_two
from .zoom import wolfe

__all__ = ["MESSAGES", "QuasiNewton", "Rules"]

MESSAGES: Mapping[int, str] = {
    0: "Optimization terminated successfully.",
    1: "Maximum number of iterations has been exceeded.",
    2: "Desired error not necessarily achieved due to precision loss.",
    3: "NaN result encountered.",
}
"""What the statuses mean, which are those of scipy's BFGS."""


@dataclass(frozen=True)
class Rules:
    """How one run goes. The first seven are options of scipy's BFGS, of the same meaning.

    Attributes:
        gtol: success where the gradient's norm is at most this.
        norm: the order of that norm.
        xrtol: success where a step is at most this, relative to x.
        c1, c2: of the line search; None for its own.
        maxiter: iterations; None for 200 n.
        return_all: keep every iterate.
        update: a name of ``UPDATES``.
        line_search: "more-thuente" or "hager-zhang".
        initial_scale: scale the first H by s'y / y'y before its first update.
        resets: after a search that failed go on once more from H = I; scipy's BFGS ends there.
    """

    gtol: float = 1e-5
    norm: float = math.inf
    xrtol: float = 0.0
    c1: float | None = None
    c2: float | None = None
    maxiter: int | None = None
    return_all: bool = False
    update: str = "BFGS"
    line_search: str = "more-thuente"
    initial_scale: bool = False
    resets: bool = False

    def wolfe(self) -> tuple[float, float]:
        """c1 and c2 of the search."""
        c1 = 0.1 if self.line_search == "hager-zhang" else 1e-4
        return (c1 if self.c1 is None else self.c1), (0.9 if self.c2 is None else self.c2)


class _Line(Generic[V]):
    """The line that is being searched.

    Attributes:
        product, w: H g and H y at the last trial of which they were wanted.
    """

    product: V
    w: V

    def __init__(self, direction: V, slope: float) -> None:
        self.direction = direction
        self.slope = slope


class QuasiNewton(Generic[V]):
    r"""Minimises along :math:`p = -H g`, H being updated from step and change of gradient.

    One product :math:`u = H g_+` an iteration: :math:`H y = u + p`, and the next direction comes
    from u by the change of rank two, before H itself is touched.

    Args:
        space: what vectors are.
        inverse: H, to begin with.
        rules: the options.
        given: whether H is more than I.

    Attributes:
        x, value, gradient, nit: of the iterate.
        resets: how often H was set back to I.
        skipped: iterations after which H was not updated, s'y or y'Hy not being positive.
        allvecs: the iterates, with ``return_all``.

    Source: the family of updates, see :mod:`pytorch_minimize.solvers.updates`; tests and statuses
    are those of scipy's BFGS.
    """

    x: V
    value: float
    gradient: V

    def __init__(
        self, space: Space[V], inverse: Inverse[V], rules: Rules, *, given: bool = False
    ) -> None:
        self.nit = self.resets = self.skipped = 0
        self.allvecs: list[V] = []
        self._space, self._inverse, self._rules = space, inverse, rules
        self._update = UPDATES[rules.update]
        self._is_identity = not given
        self._failed = self._small_step = False
        self._finite, self._size, self._before = True, math.nan, math.nan
        self._reset_at = math.inf
        self._line: _Line[V]

    def start(self, x: V) -> Stage[V]:
        space = self._space

        def measure(gradient: V) -> V:
            dot, size = space.dot(gradient, gradient), space.norm(gradient, self._rules.norm)
            return space.scalars([dot, size])

        answer = yield Trial(x, measure)
        self.x, self.value, self.gradient = x, answer.value, answer.gradient
        self._finite = answer.finite
        if self._rules.return_all:
            self.allvecs.append(x)
        if answer.finite:
            square, self._size = answer.scalars
            self._begin(math.sqrt(square))

    def step(self) -> Stage[V]:
        while not (yield from self._advance()):
            # A loss that a reset has not lowered has no digits left.
            lowered = self.value < self._reset_at and not self._is_identity
            if not (lowered and self._rules.resets):
                self._failed = True
                return
            self._reset_at = self.value
            self._inverse.reset()
            self.resets += 1
            self._is_identity = True
            self._begin(float(self._space.norm(self.gradient)))

    def done(self) -> int | None:
        limit = self._rules.maxiter
        if self._failed:
            return 2
        if self.nit >= (200 * self._space.size(self.x) if limit is None else limit):
            return 1
        if not self._finite:
            return 3
        return 0 if self._size <= self._rules.gtol or self._small_step else None

    def message(self, status: int) -> str:
        return MESSAGES[status]

    def fields(self) -> dict[str, Any]:
        found = {"hess_inv": self._inverse.dense(), "resets": self.resets, "skipped": self.skipped}
        return found | ({"allvecs": self.allvecs} if self._rules.return_all else {})

    def _begin(self, length: float) -> None:
        """The first line from here on, on which a step of about 1 is tried first.

        Args:
            length: of the gradient.
        """
        space = self._space
        self._before = self.value + length / 2.0
        if self._is_identity:
            self._line = _Line(space.combined([-1.0], [self.gradient]), -length * length)
        else:
            direction = space.combined([-1.0], [self._inverse.product(self.gradient)])
            self._line = _Line(direction, float(space.dot(self.gradient, direction)))

    def _search(self) -> Search:
        start = Probe(0.0, self.value, self._line.slope)
        first = first_trial(self.value, self._before, start.slope)
        if self._rules.resets:
            # Where the loss has stood still the guess is 0, at which scipy's BFGS ends.
            first = first or 1.0
        c1, c2 = self._rules.wolfe()
        if self._rules.line_search == "hager-zhang":
            return step_back(hager_zhang(start, first, c1, c2), start, c1)
        return or_the_first(step_back(wolfe(start, first, c1, c2), start, c1), start, first, c1, c2)

    def _advance(self) -> Generator[Trial[V], Answer[V], bool]:
        """One search, and the step that it finds; False if it finds none."""
        line, search = self._line, self._search()
        found = yield from search_along(self._space, self.x, line.direction, search, self._measure)
        if found is not None:
            self._accept(found.x, found.step, found.answer)
        return found is not None

    def _measure(self, x: V, gradient: V) -> V:
        """Slope and size of the gradient there; |p| and |x| where xrtol asks for them; and, where
        to ask later would be to wait, what an update needs."""
        space, line = self._space, self._line
        found = [space.dot(gradient, line.direction), space.norm(gradient, self._rules.norm)]
        if self._rules.xrtol:
            found += [space.norm(line.direction), space.norm(x)]
        if space.waits:
            found += self._curvature(gradient)
        return space.scalars(found)

    def _curvature(self, gradient: V) -> list[Any]:
        """p'y, y'Hy, y'y and g+'Hy, H having been multiplied by the new gradient."""
        line = self._line
        line.product = self._inverse.product(gradient)
        line.w, *scalars = self._space.curvature(
            line.product, line.direction, gradient, self.gradient
        )
        return scalars

    def _accept(self, x: V, step: float, answer: Answer[V]) -> None:
        """The trial becomes the iterate; H is updated, and the next line made, unless it ends."""
        xrtol, gradient = self._rules.xrtol, answer.gradient
        slope, self._size, *more = answer.scalars
        if xrtol:
            length, far, *more = more
            self._small_step = step * length <= xrtol * (xrtol + far)
        else:  # a step of no length, which is small as well
            self._small_step = self._line.slope == 0.0
        self.nit += 1
        if self._size > self._rules.gtol and not self._small_step:
            curvature = more or self._curvature(gradient)
            self._line = self._next_line(step, slope, gradient, curvature)
        self._before = self.value
        self.x, self.value, self.gradient = x, answer.value, gradient
        if self._rules.return_all:
            self.allvecs.append(x)

    def _next_line(
        self, step: float, slope: float, gradient: V, curvature: Sequence[float]
    ) -> _Line[V]:
        """Update H, and find the direction that it gives from the product taken before."""
        line, scale = self._line, 1.0
        py, yhy, yy, wg = curvature
        sy = step * py
        if self._rules.initial_scale and self._is_identity and sy > 0.0 and yy > 0.0:
            scale = sy / yy
            self._inverse.reset(scale)
            self._is_identity = False
        yhy, wg, ug = scale * yhy, scale * wg, scale * (wg - slope)
        change = self._change(-step * step * line.slope / scale, sy, yhy)
        if change is None:
            self.skipped += 1
            direction = self._space.combined([-scale], [line.product])
            return self._line_along(direction, gradient, -ug)
        s = self._space.combined([step], [line.direction])
        w = line.w if scale == 1.0 else self._space.combined([scale], [line.w])
        self._inverse.update(change, s, w)
        self._is_identity = False
        sg = step * slope
        along_s, along_w = change.ss * sg + change.sw * wg, change.sw * sg + change.ww * wg
        direction = self._space.combined(
            [-scale / change.tau, -along_s, -along_w], [line.product, s, w]
        )
        falls = ug / change.tau + sg * along_s + wg * along_w
        return self._line_along(direction, gradient, -falls)

    def _change(self, sbs: float, sy: float, yhy: float) -> RankTwo | None:
        """The update, if there is one that keeps H positive definite."""
        if not (0.0 < sy < math.inf and 0.0 < yhy < math.inf and 0.0 < sbs < math.inf):
            return None
        try:
            member = self._update(sbs / sy, yhy / sy, self._space.size(self.x))
            change = rank_two(member, sy, yhy)
        except ArithmeticError:
            return None
        return change if change.tau > 0.0 and all(map(math.isfinite, change)) else None

    def _line_along(self, direction: V, gradient: V, slope: float) -> _Line[V]:
        """The slope is taken from scalars that are known already only where a new one would cost
        a wait."""
        if self._space.waits:
            return _Line(direction, slope)
        return _Line(direction, float(self._space.dot(gradient, direction)))
