"""The account of where a run's time went."""

from __future__ import annotations

from collections import defaultdict
from time import perf_counter

__all__ = ["PARTS", "Profile"]

PARTS = ("closure", "bridge", "curvature", "solver")


class Profile:
    r"""Seconds and counts of one ``optimizer.step``, by part.

    ``closure`` is the user's forward and backward, until a device is done with them, ``bridge``
    the traffic between the model and the flat vector, ``curvature`` the Hessian products,
    ``solver`` scipy itself and everything else. At each change of part the time since the last
    change is charged to the part that ends, so the parts add up to ``total`` by construction.

    Attributes:
        closure, bridge, curvature, solver: seconds.
        total: their sum.
        counts: how often each thing happened: ``closure`` runs, ``fun``, ``jac``, ``hessp`` and
            ``hess`` requests of the solver, ``graph`` builds and ``reload`` of an older point.

    Example:
        >>> profile = Profile()
        >>> profile.start(); profile.charge("solver"); profile.count("fun")
        >>> profile.counts["fun"]
        1
        >>> sorted(profile.as_dict()) == ["bridge", "closure", "counts", "curvature", "solver",
        ...                               "total"]
        True
    """

    def __init__(self) -> None:
        self._seconds = dict.fromkeys(PARTS, 0.0)
        self.counts: defaultdict[str, int] = defaultdict(int)
        self._mark = perf_counter()

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
        """Set the clock going; time before this call belongs to no part."""
        self._mark = perf_counter()

    def charge(self, part: str) -> None:
        """End a stretch of ``part``: it is charged the seconds since the last call."""
        now = perf_counter()
        self._seconds[part] += now - self._mark
        self._mark = now

    def attribute(self, part: str, seconds: float) -> None:
        """Charge some of the seconds since the last :meth:`charge` to ``part``, now."""
        self._seconds[part] += seconds
        self._mark += seconds

    def count(self, what: str, times: int = 1) -> None:
        """Add to the count of ``what``."""
        self.counts[what] += times

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
