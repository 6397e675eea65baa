"""A run of the closure, and what it gave, in one call of the extension's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from ..closure.runner import ClosureRunner
from ..extension import native
from .guard import Guard

__all__ = ["ClosureCall", "make_closure_call"]

ClosureCall: TypeAlias = Callable[[], tuple[float, Any, bool, bool, float]]
"""The fields of an :class:`~.evaluation.Evaluation` after the point, as far as ``largest``."""


def make_closure_call(runner: ClosureRunner, bridge: object, guard: Guard) -> ClosureCall | None:
    """One of this closure; None where the extension has none for it.

    It does what ``value_and_gradient`` of the runner does inside the guard, and the bridge's
    ``gradient`` after it (Note [oracle]): on the usual way without a line of Python.
    """
    if native is None or runner.fixed is not None:
        return None
    if not (isinstance(bridge, native.ParameterBridge) and isinstance(guard, native.Guard)):
        return None
    made: ClosureCall = native.ClosureCall(bridge, guard, runner)
    return made
