"""A measurement that was repeated, and how far its figure can be trusted."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from scipy import special

__all__ = ["SEEN", "Figure", "typical_spread"]

CONFIDENCE = 0.99
SEEN = 1.5  # the change that figures must be able to show before they are said to agree
WEIGHT = 2  # of the spread that is typical of a column, where a figure's own has weight 1


class Figure(NamedTuple):
    """The median of one measurement's repeats, each from a process of its own.

    Attributes:
        values: one for each process.
        noise: half the width of the interval that holds the median's true value with a
            confidence of 99 %; None where there is one process only.

    Example:
        >>> print(Figure.of([1.0, 1.02, 1.1], typical=0.02))
        1.02 ±9%
        >>> print(Figure.of([1.0]))
        1
    """

    values: tuple[float, ...]
    noise: float | None = None

    @classmethod
    def of(cls, values: Sequence[float], typical: float = 0.0) -> Figure:
        r"""A figure, given the relative spread that is typical of measurements of its kind.

        Three processes say little about their own spread: now and then they agree by chance. So
        the variance is :math:`s^2 = (s_{own}^2 + 2 s_{typical}^2) / 3`, and the noise

        .. math:: t_{3 (R - 1)} \sqrt{\frac{\pi}{2}} \frac{s}{\sqrt R}

        for R processes; the root of pi / 2 is for a median instead of a mean.
        """
        count = len(values)
        if count < 2:
            return cls(tuple(values))
        own = statistics.variance(values)
        usual = (typical * statistics.median(values)) ** 2
        variance = (own + WEIGHT * usual) / (1 + WEIGHT)
        freedom = (1 + WEIGHT) * (count - 1)
        quantile = float(special.stdtrit(freedom, (1 + CONFIDENCE) / 2))
        return cls(tuple(values), quantile * math.sqrt(math.pi / 2 * variance / count))

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Figure:
        return cls(tuple(record["values"]), record["noise"])

    def to_json(self) -> dict[str, Any]:
        return {"median": self.median, "noise": self.noise, "values": list(self.values)}

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def share(self) -> float:
        """The noise, relative to the median; 0 where neither is known."""
        return (self.noise or 0.0) / abs(self.median) if self.median else 0.0

    def agrees(self, other: Figure) -> bool | None:
        """Whether both may be measurements of one thing.

        None where that cannot be told: the noise is not known, or would hide a factor of 1.5.
        """
        if self.noise is None or other.noise is None:
            return None
        # Equal but for rounding: what does not vary at all has no noise.
        allowed = math.hypot(self.noise, other.noise) + 1e-9 * abs(self.median)
        if abs(self.median - other.median) > allowed:
            return False
        smaller = min(abs(self.median), abs(other.median))
        return True if allowed <= (SEEN - 1) * smaller else None

    def __str__(self) -> str:
        return (
            f"{self.median:.4g} ±{self.share:.0%}" if self.share >= 0.005 else f"{self.median:.4g}"
        )


def typical_spread(column: Sequence[Sequence[float]]) -> float:
    """The relative standard deviation that is typical of a column of repeated measurements.

    From the median of their variances, which one disturbed measurement does not move.

    Example:
        >>> typical_spread([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0], [3.0, 4.0, 5.0]])
        0.0
    """
    repeated = [values for values in column if len(values) > 1 and statistics.median(values)]
    if not repeated:
        return 0.0
    squares = [statistics.variance(values) / statistics.median(values) ** 2 for values in repeated]
    freedom = statistics.median(len(values) - 1 for values in repeated)
    # The median of a chi-square variable, relative to its mean.
    lowers = 2 * float(special.gammaincinv(freedom / 2, 0.5)) / freedom
    return math.sqrt(statistics.median(squares) / lowers)
