"""A run of the closure, and what it gave, in one call of the extension's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from ..closure.backward_calls import is_backward_watched
from ..closure.runner import ClosureRunner
from ..extension import native
from .evaluation import Evaluation
from .guard import Guard

__all__ = ["ClosureCall", "make_closure_call"]

ClosureCall: TypeAlias = Callable[[Any], Evaluation[Any]]
"""The evaluation at a point, where the parameters are."""


def make_closure_call(runner: ClosureRunner, bridge: object, guard: Guard) -> ClosureCall | None:
    """One of this closure; None where the extension has none for it.

    It does what ``value_and_gradient`` of the runner does inside the guard, and the bridge's
    ``gradient`` after it (Note [oracle]): on the usual way without a line of Python.
    """
    if native is None or runner.fixed is not None:
        return None
    if not (isinstance(bridge, native.ParameterBridge) and isinstance(guard, native.Guard)):
        return None
    # A loss that is only returned is differentiated without torch's many lines of Python, 20 us,
    # unless somebody looks at them.
    differentiates = not is_backward_watched()
    made: ClosureCall = native.ClosureCall(bridge, guard, runner, Evaluation, differentiates)
    return made
