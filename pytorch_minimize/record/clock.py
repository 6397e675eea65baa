"""The clock of a profile: seconds by part, and counts."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager
from time import perf_counter
from typing import Any, Protocol

from torch.autograd import profiler
from torch.profiler import record_function

from ..extension import native

__all__ = ["RANGES", "Clock", "PythonClock", "make_clock"]

# What the parts are called in torch.profiler's traces. The closure is the user's, and has none:
# curvature ranges that open inside it must close before a range of the user's own does.
RANGES = {part: f"minimize.{part}" for part in ("bridge", "curvature", "communication", "solver")}

Range = AbstractContextManager[Any]


class Clock(Protocol):
    """Seconds by part, and counts; by the extension where it is built.

    At each change of part the time since the last change goes to the part that ends, so that the
    parts add up to the whole.
    """

    @property
    def part(self) -> str:
        """The part that time goes to now."""

    @property
    def seconds(self) -> dict[str, float]:
        """By part."""

    def start(self, part: str) -> None:
        """Time before this belongs to no part."""

    def stop(self, part: str) -> None:
        """Time after this goes to ``part``, and is shown to no profiler."""

    def begin(self, part: str, what: str | None = None) -> None:
        """The time from here on goes to ``part``; counts ``what``."""

    def attribute(self, part: str, seconds: float) -> None:
        """Some of the seconds since the last :meth:`begin` were those of ``part``."""


class PythonClock:
    """:class:`Clock` in Python. Note [oracle]: it counts what the extension's does."""

    def __init__(self, parts: Sequence[str], counts: MutableMapping[str, int]) -> None:
        self.seconds = dict.fromkeys(parts, 0.0)
        self.part = parts[-1]
        self._counts = counts
        self._range: Range | None = None
        self._runs = False
        self._mark = perf_counter()

    def start(self, part: str) -> None:
        self.seconds[part] += 0.0  # an unknown part changes nothing
        self.part, self._mark, self._runs = part, perf_counter(), True
        self._show()

    def stop(self, part: str) -> None:
        self._runs = False
        self.begin(part)

    def begin(self, part: str, what: str | None = None) -> None:
        now = perf_counter()
        self.seconds[part] += 0.0  # an unknown part changes nothing
        self.seconds[self.part] += now - self._mark
        self.part, self._mark = part, now
        if what is not None:
            self._counts[what] = self._counts.get(what, 0) + 1
        self._show()

    def attribute(self, part: str, seconds: float) -> None:
        self.seconds[part] += seconds
        self._mark += seconds

    def _show(self) -> None:
        # Several times per evaluation: the range itself would cost 17 us.
        if profiler._is_profiler_enabled or self._range is not None:
            self._range = show(self._range, self.part if self._runs else "")


def make_clock(parts: Sequence[str], counts: dict[str, int]) -> Clock:
    """A clock of these parts, which stands at the last of them."""
    if native is None:
        return PythonClock(parts, counts)
    flags: Mapping[str, Any] = vars(profiler)
    made: Clock = native.Clock(list(parts), counts, flags, show)
    return made


def show(ended: Range | None, part: str) -> Range | None:
    """Close the range of the part that ended, and open that of the part that began."""
    if ended is not None:
        ended.__exit__(None, None, None)
    name = RANGES.get(part)
    if name is None or not profiler._is_profiler_enabled:
        return None
    begun = record_function(name)
    begun.__enter__()
    return begun
