"""The account of where a run's time went."""

from __future__ import annotations

from collections import defaultdict
from contextlib import AbstractContextManager
from time import perf_counter
from typing import Any

from torch.autograd import profiler
from torch.profiler import record_function

__all__ = ["PARTS", "RANGES", "Profile"]

PARTS = ("closure", "bridge", "curvature", "solver")

# What the parts are called in torch.profiler's traces. The closure is the user's, and has none:
# curvature ranges that open inside it must close before a range of the user's own does.
RANGES = {part: f"minimize.{part}" for part in ("bridge", "curvature", "solver")}


class Profile:
    r"""Seconds and counts of one ``optimizer.step``, by part.

    ``closure`` is the user's forward and backward, until a device is done with them, ``bridge``
    the traffic between the model and the flat vector, ``curvature`` the Hessian products,
    ``solver`` scipy itself and everything else. At each change of part the time since the last
    change goes to the part that ends, so the parts add up to ``total`` by construction.

    Where a ``torch.profiler`` is on, its traces show each stretch of bridge, curvature and solver
    as a range ``minimize.bridge`` and so on; where none is, that costs one look at a flag.

    Attributes:
        closure, bridge, curvature, solver: seconds.
        total: their sum.
        counts: how often each thing happened: ``closure`` runs, ``fun``, ``jac``, ``hessp`` and
            ``hess`` requests of the solver, ``graph`` builds and ``reload`` of an older point.

    Example:
        >>> profile = Profile()
        >>> profile.start(); profile.begin("bridge", "fun"); profile.stop()
        >>> profile.counts["fun"]
        1
        >>> sorted(profile.as_dict()) == ["bridge", "closure", "counts", "curvature", "solver",
        ...                               "total"]
        True
    """

    def __init__(self) -> None:
        self._seconds = dict.fromkeys(PARTS, 0.0)
        self.counts: defaultdict[str, int] = defaultdict(int)
        self._part = "solver"
        self._mark = perf_counter()
        self._shows_ranges = False
        self._range: AbstractContextManager[Any] | None = None

    @property
    def closure(self) -> float:
        return self._seconds["closure"]

    @property
    def bridge(self) -> float:
        return self._seconds["bridge"]

    @property
    def curvature(self) -> float:
        return self._seconds["curvature"]

    @property
    def solver(self) -> float:
        return self._seconds["solver"]

    def start(self) -> None:
        """Set the clock going, with the solver; time before this call belongs to no part."""
        self._part, self._shows_ranges = "solver", True
        self._mark = perf_counter()
        self._show()

    def begin(self, part: str, what: str | None = None) -> None:
        """The time from here on goes to ``part``, that since the last call to the part before.

        What begins is counted as ``what``: a :meth:`count` in the same call, which is cheaper.
        """
        now = perf_counter()
        self._seconds[self._part] += now - self._mark
        self._part = part
        self._mark = now
        if what is not None:
            self.counts[what] += 1
        # Several times per evaluation: the range itself would cost 17 us.
        if profiler._is_profiler_enabled or self._range is not None:
            self._show()

    def stop(self) -> None:
        """The run is over: time after this call belongs to no part."""
        self.begin("solver")
        self._shows_ranges = False
        self._show()

    def attribute(self, part: str, seconds: float) -> None:
        """Some of the seconds since the last :meth:`begin` were those of ``part``."""
        self._seconds[part] += seconds
        self._mark += seconds

    def count(self, what: str, times: int = 1) -> None:
        """Add to the count of ``what``."""
        self.counts[what] += times

    def _show(self) -> None:
        """Close the range of the part that ended, and open that of the part that began."""
        ended, self._range = self._range, None
        if ended is not None:
            ended.__exit__(None, None, None)
        name = RANGES.get(self._part)
        if self._shows_ranges and profiler._is_profiler_enabled and name is not None:
            self._range = record_function(name)
            self._range.__enter__()

    @property
    def total(self) -> float:
        """Seconds of the whole step."""
        return sum(self._seconds.values())

    def as_dict(self) -> dict[str, object]:
        """Seconds by part, ``total`` and ``counts``, ready for JSON."""
        return {**self._seconds, "total": self.total, "counts": dict(self.counts)}

    def __str__(self) -> str:
        total = self.total
        rows = [*self._seconds.items(), ("total", total)]
        lines = [f"{'part':<10}{'seconds':>12}{'share':>9}"]
        for name, seconds in rows:
            share = seconds / total if total else 0.0
            lines.append(f"{name:<10}{seconds:>12.6f}{share:>9.1%}")
        counts = ", ".join(f"{name} {number}" for name, number in self.counts.items())
        return "\n".join([*lines, f"counts: {counts or 'none'}"])

    def __repr__(self) -> str:
        return f"<Profile total={self.total:.6f}s closure={self.closure:.6f}s>"
