"""A step to both sides of a point, and what it tells of the gradient there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["SEEN", "Trial", "agree", "kink_between"]

SEEN = 10.0
"""A change of the loss is seen where it is so many times what rounding does to it."""

# Which share of a change may be due to curvature or a kink for it to decide.
_NARROW = 0.25
# How many trials must agree, and how well, on what the gradient does not predict.
_AGREEING, _ALIKE = 3, 0.25


class Trial(NamedTuple):
    """The loss a step d to both sides of a point, and what the gradient g there predicts.

    Attributes:
        up, down: f(x + d) - f(x) and f(x) - f(x - d).
        predicted_up, predicted_down: <g, d>, for what the parameters' dtype leaves of d.
        length: of d, relative to the first that was tried.
        noise: what rounding may do to the loss.
    """

    up: float
    down: float
    predicted_up: float
    predicted_down: float
    length: float
    noise: float

    @property
    def change(self) -> float:
        """By central difference."""
        return (self.up + self.down) / 2

    @property
    def predicted(self) -> float:
        """What the change should be."""
        return (self.predicted_up + self.predicted_down) / 2

    @property
    def slope(self) -> float:
        """The larger of the two."""
        return max(abs(self.change), abs(self.predicted))

    @property
    def missing(self) -> float:
        """What the prediction lacks, for a step of length 1."""
        return (self.change - self.predicted) / self.length

    @property
    def spread(self) -> float:
        """How much larger the slope is ahead than behind, by curvature or a kink; likewise."""
        ahead, behind = self.up - self.predicted_up, self.down - self.predicted_down
        return (ahead - behind) / self.length

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.up) and math.isfinite(self.down)

    @property
    def moves(self) -> bool:
        """Whether the loss is seen to change."""
        return max(abs(self.up), abs(self.down)) > SEEN * self.noise

    def moves_much(self, shorter: float) -> bool:
        """Whether steps shorter by that factor, as many as must agree, do as well."""
        most = max(abs(self.up), abs(self.down))
        return most * shorter**_AGREEING > SEEN * self.noise

    def fits_at_once(self, tolerance: float) -> bool:
        """Whether there is nothing to look for: neither a kink nor much curvature."""
        return self.moves and self.decides(self.spread) and not self.is_off(self.spread, tolerance)

    def is_off(self, kink: float, tolerance: float) -> bool:
        """Whether the predicted slope is outside those that the point has, a ``kink`` apart."""
        spare = 0.6 * abs(kink) * self.length + tolerance * self.slope + 3.0 * self.noise
        return abs(self.missing) * self.length > spare

    def decides(self, kink: float) -> bool:
        """Whether there is a slope, and the ``kink`` is small beside it."""
        return self.slope > self.noise and abs(kink) * self.length <= _NARROW * self.slope


def kink_between(longer: Trial, trial: Trial) -> float:
    """What is left of the spread at length 0, where curvature has none."""
    ratio = longer.length / trial.length
    return (ratio * trial.spread - longer.spread) / (ratio - 1.0)


def agree(trials: Sequence[Trial]) -> bool:
    """Whether the last of them lack the same."""
    missing = [trial.missing for trial in trials[-_AGREEING:]]
    if len(missing) < _AGREEING:
        return False
    return max(missing) - min(missing) <= _ALIKE * max(map(abs, missing))
