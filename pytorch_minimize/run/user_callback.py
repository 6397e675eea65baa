"""The user's callback, which scipy's solvers call in several ways, in one form."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult

from ..record.profile import Profile
from ..row import Habits
from ..typing import Array

__all__ = ["UserCallback", "adapt_callback"]

UserCallback = Callable[..., Any]


def adapt_callback(
    user: UserCallback | None, habits: Habits, profile: Profile, to_host: Callable[[Any], Array]
) -> Callable[[OptimizeResult], bool] | None:
    """The user's callback as one that takes a result, and says whether the run is to end.

    It is told apart as scipy does: by its one parameter's name. The older form gets some fields
    of the result, one after the other; "state" is the result itself. It ends the run by raising
    or returning StopIteration, and by returning True where the solver heeds that.

    Args:
        user: the user's; None for none.
        habits: of the solver: what it tells the older form, and whether True ends it.
        profile: the time of the user's code is the closure's.
        to_host: a vector as an array, of which the user gets a copy.
    """
    if user is None:
        return None
    wants_result = _wants_result(user)
    told, true_ends = habits.told, habits.true_ends

    def ask(result: OptimizeResult) -> bool:
        own = np.array(to_host(result["x"]))
        given = OptimizeResult(result, x=own) if wants_result else None
        parts = {"x": own, "state": result}
        profile.begin("closure")
        try:
            if wants_result:
                returned = user(intermediate_result=given)
            else:
                returned = user(*[parts[n] if n in parts else result[n] for n in told])
        except StopIteration:
            return True
        finally:
            profile.begin("bridge")
        if returned is StopIteration or isinstance(returned, StopIteration):
            return True
        # True, numpy's too; nothing else that happens to be true.
        return true_ends and isinstance(returned, (bool, np.bool_)) and bool(returned)

    return ask


def _wants_result(user: UserCallback) -> bool:
    try:
        return list(inspect.signature(user).parameters) == ["intermediate_result"]
    except (TypeError, ValueError):  # a builtin without a signature
        return False
