"""What an iterate comes to, in one call of the extension's."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from ..extension import native
from ..problem.objective import Objective
from ..record.history import History
from ..typing import Array
from .limits import STALL_WINDOW, Limits

if TYPE_CHECKING:
    from .watch import Watch

__all__ = ["UsualIteration", "make_usual_iteration"]


class UsualIteration(Protocol):
    """Told of an iterate, in the forms that scipy's solvers have."""

    def __call__(self, *told: Any, intermediate_result: Any = None) -> bool: ...

    def forget(self) -> None:
        """The run is over: hold nothing of it."""


def make_usual_iteration(
    watch: Watch[Array],
    objective: Objective[Array],
    history: History,
    limits: Limits,
    stays: bool,
    answers: set[float],
    callback: Callable[..., bool],
    signature: inspect.Signature,
) -> UsualIteration | None:
    """An iterate filed and recorded, where the closure was run there last and gave finite values.

    Args:
        watch: of the run; does by itself what this does (Note [oracle]).
        objective, history, limits: of the watch.
        stays: an x that is told is not written into any more.
        answers: where there are any, what is told may hold them.
        callback: is told of whatever is not usual, and wherever the run may have to end.
        signature: says what is to be told.

    Returns:
        None where the extension has none.
    """
    guard = objective.evaluator.guard
    if native is None or not isinstance(guard, native.Guard):
        return None
    made: UsualIteration = native.UsualIteration(
        guard,
        watch,
        objective.evaluator,
        objective,
        history,
        math.nan if limits.rtol is None else limits.rtol,
        STALL_WINDOW,
        math.inf if limits.maxiter is None else limits.maxiter,
        stays,
        answers,
        callback,
        signature,
    )
    return made
