"""Between the callbacks of scipy's global optimisers, which all differ, and ours."""

from __future__ import annotations

from typing import Any

from scipy.optimize import OptimizeResult

from ..run.endings import Stopped
from ..run.user_callback import UserCallback, wants_result
from ..run.watch import Watch
from .algorithms import Algorithm

__all__ = ["Relay", "adapt"]


def adapt(user: UserCallback | None, told: tuple[str, ...]) -> UserCallback | None:
    """The user's callback, which scipy would call with ``told``, as one that takes a result."""
    if user is None or not callable(user) or wants_result(user):
        return user
    return _FromResult(user, told)


class _FromResult:
    """Calls ``user`` with some fields of a result, in order; a class so that it pickles."""

    def __init__(self, user: UserCallback, told: tuple[str, ...]) -> None:
        self._user, self._told = user, told

    def __call__(self, intermediate_result: OptimizeResult) -> Any:
        return self._user(*(intermediate_result[name] for name in self._told))


class Relay:
    """scipy's callback: tells the watch, and ends the run in the way that the algorithm allows.

    Args:
        row: what scipy tells, and whether a returned True ends the run.
        watch: of the run.
    """

    def __init__(self, row: Algorithm, watch: Watch) -> None:
        self._row = row
        self._watch = watch
        self._stop: Stopped | None = None

    def tell(self, *told: Any) -> bool:
        """For callbacks with positional arguments."""
        if isinstance(told[0], OptimizeResult):
            return self.tell_result(told[0])
        return self.tell_result(OptimizeResult(zip(self._row.told, told, strict=True)))

    def tell_result(self, intermediate_result: OptimizeResult) -> bool:
        """For callbacks that scipy tells a result, which the parameter's name makes it do."""
        try:
            self._watch(intermediate_result)
        except Stopped as stop:
            if not self._row.ends_on_true:
                # The point that was told may be worse than the best one (a hop, a local iterate).
                raise Stopped(stop.ending, None, stop.nit) from None
            self._stop = stop
            return True
        return False

    def mark(self, res: OptimizeResult) -> None:
        """State in the algorithm's result why it ended, if that was our doing."""
        if self._stop is not None:
            ending = self._stop.ending
            res.status, res.success, res.message = ending.status, ending.success, ending.message
