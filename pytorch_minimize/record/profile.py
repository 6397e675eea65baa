"""The account of where a run's time went."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from .clock import RANGES, make_clock
from .html import table

__all__ = ["PARTS", "RANGES", "Profile"]

PARTS = ("closure", "bridge", "curvature", "communication", "solver")
_HEADER = ("part", "seconds", "share")


class Profile:
    r"""Seconds and counts of one ``optimizer.step``, by part.

    ``closure`` is the user's forward and backward, until a device is done with them, ``bridge``
    the traffic between the model and the flat vector, ``curvature`` the Hessian products,
    ``communication`` what is sent to other processes and waited for from them, ``solver`` the
    solver itself and everything else. At each change of part the time since the last
    change goes to the part that ends, so the parts add up to ``total`` by construction.

    Where a ``torch.profiler`` is on, its traces show each stretch of all but the closure
    as a range ``minimize.bridge`` and so on; where none is, that costs one look at a flag.

    Attributes:
        closure, bridge, curvature, communication, solver: seconds.
        total: their sum.
        counts: how often each thing happened: ``closure`` runs, ``fun``, ``jac``, ``hessp`` and
            ``hess`` requests of the solver, ``graph`` builds and ``reload`` of an older point.

    Example:
        >>> profile = Profile()
        >>> profile.start(); profile.begin("bridge", "fun"); profile.stop()
        >>> profile.counts["fun"]
        1
        >>> sorted(profile.as_dict()) == ["bridge", "closure", "communication", "counts",
        ...                               "curvature", "solver", "total"]
        True
    """

    begin: Callable[..., None]
    """``begin(part, what=None)``: the time from here on goes to ``part``; counts ``what``."""
    attribute: Callable[[str, float], None]
    """``attribute(part, seconds)``: so many seconds since the last ``begin`` were ``part``'s."""

    def __init__(self) -> None:
        self.counts: defaultdict[str, int] = defaultdict(int)
        self._set_clock()

    def _set_clock(self) -> None:
        self.clock = make_clock(PARTS, self.counts)
        # The clock's own: they are called several times an evaluation.
        self.begin, self.attribute = self.clock.begin, self.clock.attribute

    @property
    def closure(self) -> float:
        return self.clock.seconds["closure"]

    @property
    def bridge(self) -> float:
        return self.clock.seconds["bridge"]

    @property
    def curvature(self) -> float:
        return self.clock.seconds["curvature"]

    @property
    def communication(self) -> float:
        return self.clock.seconds["communication"]

    @property
    def solver(self) -> float:
        return self.clock.seconds["solver"]

    def start(self) -> None:
        """Set the clock going, with the solver; time before this call belongs to no part."""
        self.clock.start("solver")

    def stop(self) -> None:
        """The run is over: time after this call belongs to no part."""
        self.clock.stop("solver")

    def count(self, what: str, times: int = 1) -> None:
        """Add to the count of ``what``."""
        self.counts[what] += times

    @property
    def total(self) -> float:
        """Seconds of the whole step."""
        return sum(self.clock.seconds.values())

    def as_dict(self) -> dict[str, object]:
        """Seconds by part, ``total`` and ``counts``, ready for JSON."""
        return {**self.clock.seconds, "total": self.total, "counts": dict(self.counts)}

    def _rows(self) -> list[tuple[str, str, str]]:
        """Part, seconds and share, as they are shown."""
        total = self.total
        return [
            (name, f"{seconds:.6f}", f"{seconds / total if total else 0.0:.1%}")
            for name, seconds in [*self.clock.seconds.items(), ("total", total)]
        ]

    def _counted(self) -> str:
        counts = ", ".join(f"{name} {number}" for name, number in self.counts.items())
        return f"counts: {counts or 'none'}"

    def __str__(self) -> str:
        rows = [_HEADER, *self._rows()]
        lines = [f"{name:<13}{seconds:>12}{share:>9}" for name, seconds, share in rows]
        return "\n".join([*lines, self._counted()])

    def _repr_html_(self) -> str:
        """The same as a table, in notebooks."""
        return table(_HEADER, self._rows(), self._counted())

    def __repr__(self) -> str:
        return f"<Profile total={self.total:.6f}s closure={self.closure:.6f}s>"

    def __getstate__(self) -> dict[str, object]:
        return {"seconds": self.clock.seconds, "counts": dict(self.counts)}

    def __setstate__(self, state: dict[str, dict[str, float]]) -> None:
        self.counts = defaultdict(int, {name: int(n) for name, n in state["counts"].items()})
        self._set_clock()
        for part, seconds in state["seconds"].items():
            self.attribute(part, seconds)
