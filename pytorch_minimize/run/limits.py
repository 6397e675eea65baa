"""Whether a run is to end: asked before evaluations, when it may be, and at each iterate."""

from __future__ import annotations

import math
import sys
from time import perf_counter

from ..bridge.interface import V
from ..problem.objective import Objective
from ..record.history import History
from ..settings import Settings
from .endings import Ending

__all__ = ["STALL_WINDOW", "Limits"]

STALL_WINDOW = 10  # iterations over which ``rtol`` is judged


class Limits:
    """The limits of one run; its clock starts with it.

    Args:
        settings: timeout, max_evaluations, rtol.
        maxiter: iterations that we count; None where the solver does.
    """

    def __init__(self, settings: Settings, maxiter: int | None = None) -> None:
        self._timeout, self._max_evaluations = settings.timeout, settings.max_evaluations
        self.rtol, self.maxiter = settings.rtol, maxiter
        self._start = perf_counter()
        self.before_evaluations = not (self._timeout is None and self._max_evaluations is None)
        """Whether :meth:`due` may ever say so."""
        self.at_iterates = not (self.rtol is None and self.maxiter is None)
        """Whether :meth:`due_at` may ever say so."""

    def due(self, evaluations: int) -> Ending | None:
        """Why the run must end before it is evaluated again, also inside a line search.

        Never before the first evaluation: there is no best point yet.
        """
        if not evaluations:
            return None
        if self._timeout is not None and perf_counter() - self._start >= self._timeout:
            return Ending.TIMEOUT
        if self._max_evaluations is not None and evaluations >= self._max_evaluations:
            return Ending.EVALUATIONS
        return None

    def rest(self) -> tuple[float, int]:
        """For how many seconds from now, and until how many evaluations, nothing is :meth:`due`."""
        ends = math.inf if self._timeout is None else self._start + self._timeout
        most = sys.maxsize  # which more of them never come to
        if self._max_evaluations is not None:
            most = min(most, self._max_evaluations)
        return ends - perf_counter(), most

    def due_at(self, x: V, objective: Objective[V], history: History, nit: int) -> Ending | None:
        """Why the run must end at the iterate x."""
        if self.maxiter is not None and nit >= self.maxiter:
            return Ending.ITERATIONS
        if self.rtol is not None and self._has_stalled(x, objective, history, self.rtol):
            return Ending.STALLED
        return None

    @staticmethod
    def _has_stalled(x: V, objective: Objective[V], history: History, rtol: float) -> bool:
        before, now = history.recent_loss(STALL_WINDOW), history.recent_loss()
        if before is None or now is None:
            return False
        fallen = before - now
        if objective.region.is_restricted:  # a loss that rises may be the way to a feasible point
            fallen = abs(fallen)
        return fallen < rtol * abs(before) and objective.is_known_feasible(x)
