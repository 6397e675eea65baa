"""The account of where a run's time went."""

from __future__ import annotations

from time import perf_counter

__all__ = ["PARTS", "Profile"]

PARTS = ("closure", "bridge", "curvature", "solver")


class Profile:
    r"""Seconds and counts of one ``optimizer.step``, by part.

    ``closure`` is the user's forward and backward, ``bridge`` the traffic between the model and
    the flat vector, ``curvature`` the Hessian products, ``solver`` scipy itself and everything
    else. At each change of part the time since the last change is charged to the part that ends,
    so the parts add up to ``total`` by construction.

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

    __slots__ = ("_mark", "counts", *PARTS)

    closure: float
    bridge: float
    curvature: float
    solver: float

    def __init__(self) -> None:
        for part in PARTS:
            setattr(self, part, 0.0)
        self.counts: dict[str, int] = {}
        self._mark = perf_counter()

    def start(self) -> None:
        """Set the clock going; time before this call belongs to no part."""
        self._mark = perf_counter()

    def charge(self, part: str) -> None:
        """End a stretch of ``part``: it is charged the seconds since the last call."""
        now = perf_counter()
        setattr(self, part, getattr(self, part) + now - self._mark)
        self._mark = now

    def count(self, what: str, times: int = 1) -> None:
        """Add to the count of ``what``."""
        self.counts[what] = self.counts.get(what, 0) + times

    @property
    def total(self) -> float:
        """Seconds of the whole step."""
        return self.closure + self.bridge + self.curvature + self.solver

    def as_dict(self) -> dict[str, object]:
        """Seconds by part, ``total`` and ``counts``, ready for JSON."""
        seconds: dict[str, object] = {part: getattr(self, part) for part in PARTS}
        return seconds | {"total": self.total, "counts": dict(self.counts)}

    def __str__(self) -> str:
        total = self.total
        rows = [(part, getattr(self, part)) for part in PARTS] + [("total", total)]
        lines = [f"{'part':<10}{'seconds':>12}{'share':>9}"]
        for name, seconds in rows:
            share = seconds / total if total else 0.0
            lines.append(f"{name:<10}{seconds:>12.6f}{share:>9.1%}")
        counts = ", ".join(f"{name} {number}" for name, number in self.counts.items())
        return "\n".join([*lines, f"counts: {counts or 'none'}"])

    def __repr__(self) -> str:
        return f"<Profile total={self.total:.6f}s closure={self.closure:.6f}s>"
