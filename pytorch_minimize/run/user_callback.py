"""The user's callback, which scipy's methods call in several ways, in one form."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult

from ..typing import Array

__all__ = ["UserCallback", "adapt_callback", "is_stop_iteration", "is_true", "wants_result"]

UserCallback = Callable[..., Any]


def adapt_callback(
    user: UserCallback | None, takes_state: bool
) -> Callable[[Array, OptimizeResult], Any] | None:
    """The user's callback in one form, told apart as scipy does: by its one parameter's name."""
    if user is None:
        return None
    if wants_result(user):

        def with_result(x: Array, result: OptimizeResult) -> Any:
            return user(intermediate_result=OptimizeResult({**result, "x": x.copy()}))

        return with_result
    if takes_state:
        return lambda x, result: user(x.copy(), result)
    return lambda x, result: user(x.copy())


def wants_result(user: UserCallback) -> bool:
    """Whether the callback's one parameter has the name that asks for a result."""
    try:
        return list(inspect.signature(user).parameters) == ["intermediate_result"]
    except (TypeError, ValueError):  # a builtin without a signature
        return False


def is_stop_iteration(returned: object) -> bool:
    return returned is StopIteration or isinstance(returned, StopIteration)


def is_true(returned: object) -> bool:
    """True, numpy's too; nothing else that happens to be true."""
    return isinstance(returned, (bool, np.bool_)) and bool(returned)
