"""What scipy's solvers call back, in any of their forms."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from scipy.optimize import OptimizeResult

from ..bridge.vectors import as_vector
from ..row import Habits
from ..run.endings import Ending
from ..run.usual_iteration import UsualIteration
from ..run.watch import Watch
from ..typing import Array
from .function import ScipyFunction, Stopped

__all__ = ["ScipyCallback"]

# scipy looks at the callback's signature at each call of minimize; found so, it costs nothing.
_ASKS_FOR_A_RESULT = inspect.Signature(
    [inspect.Parameter("intermediate_result", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
)


class ScipyCallback:
    """Tells a watch of each iterate, and ends the run in the way that the solver allows.

    Args:
        function: of the run.
        watch: of the run, or of one local search in it.
        habits: of the solver: what it tells, and how it is ended.
        asks_for_result: scipy is to hand over a result; where False, what the solver tells.
        complete: puts back variables that scipy left out of x.
        also: is told the result as well.
    """

    def __init__(
        self,
        function: ScipyFunction,
        watch: Watch[Array],
        habits: Habits,
        *,
        asks_for_result: bool,
        complete: Callable[[Array], Array] | None = None,
        also: Callable[..., Any] | None = None,
    ) -> None:
        self._function, self._watch, self._habits = function, watch, habits
        self._complete, self._also = complete, also
        self._begin = function.objective.evaluator.profile.begin
        self._ending: Ending | None = None
        self._asks_for_result = asks_for_result
        if asks_for_result:
            self.__signature__ = _ASKS_FOR_A_RESULT

    def __call__(self, *told: Any, intermediate_result: Any = None) -> bool:
        """Whether the solver is to end, for those that heed it.

        Raises:
            StopIteration, Stopped: it is to end, and heeds that.
        """
        self._begin("bridge")
        result = self._as_result(told) if told else intermediate_result
        x = result["x"] = as_vector(result["x"])
        if self._function.answers:
            self._function.scrub(result)
        ending = self._watch.iteration(x, result)
        self._begin("solver")
        if ending is not None:
            return self._end(ending, x)
        return self._also is not None and bool(self._also(result))

    def usual(self) -> UsualIteration | None:
        """The same by the extension, which calls this for what is unusual; None if it has none."""
        if not self._asks_for_result or self._complete is not None or self._also is not None:
            return None
        return self._watch.usual_iteration(self._function.answers, self, _ASKS_FOR_A_RESULT)

    def mark(self, res: OptimizeResult) -> None:
        """State in the solver's result why it ended, if that was our doing."""
        if self._ending is not None:
            self._ending.mark(res)

    def _as_result(self, told: tuple[Any, ...]) -> OptimizeResult:
        """scipy hands over a result, the fields of one, or x and a whole state."""
        whole = next((part for part in told if isinstance(part, OptimizeResult)), None)
        if whole is None:
            whole = OptimizeResult(zip(self._habits.told, told, strict=False))
            if self._complete is not None:
                whole["x"] = self._complete(as_vector(whole["x"]))
        return whole

    def _end(self, ending: Ending, x: Array) -> bool:
        if self._habits.stops_by == "True":
            self._ending = ending
            return True
        if self._habits.stops_by == "StopIteration" and ending is Ending.CALLBACK:
            raise StopIteration
        raise Stopped(ending, None if self._habits.ends_at_best else x.copy())
