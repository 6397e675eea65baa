"""What a run does besides minimising: limits, history, progress, the user's callback."""

from __future__ import annotations

import inspect
import math
from time import perf_counter
from typing import Any

from scipy.optimize import OptimizeResult
from tqdm.auto import tqdm

from ..bridge.vectors import as_vector, distance, largest
from ..problem.objective import Evaluation
from ..record.checkpoint import Checkpoint
from ..record.history import History
from ..scipy_minimize.arguments import Arguments
from ..scipy_minimize.function import ScipyFunction
from ..settings import Settings
from ..typing import Array
from .endings import Ending, Stopped
from .user_callback import adapt_callback, is_stop_iteration, is_true

__all__ = ["Watch"]

_STALL_WINDOW = 10  # iterations over which ``rtol`` is judged

# scipy looks at the callback's signature at each call of minimize; found so, it costs nothing.
_SIGNATURE = inspect.Signature(
    [inspect.Parameter("intermediate_result", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
)


class Watch:
    """Stands by a run: asked before each evaluation, and called back at each iteration.

    Args:
        function: of the run; the parameters hold the iterate while the user's callback runs.
        x0: where the run starts.
        arguments: the user's callback, the method's habits, an iteration limit of ours.
        settings: timeout, max_evaluations, rtol, progress.
        history: gets a row per iteration.
        checkpoint: written before evaluations, when it is time.

    Attributes:
        nit: iterations so far.
        state: the last that a method told which tells its callback a whole result.
    """

    def __init__(
        self,
        function: ScipyFunction,
        x0: Array,
        arguments: Arguments,
        settings: Settings,
        history: History,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self._function = function
        self._objective = objective = function.objective
        self._settings = settings
        self._maxiter = arguments.maxiter
        self._history = history
        self._checkpoint = checkpoint
        self._row = arguments.row
        self.state: OptimizeResult | None = None
        takes_state = self._row is not None and self._row.tells_state
        self._user = adapt_callback(arguments.keywords.get("callback"), takes_state)
        # Elsewhere scipy heeds no True, and tqdm's update, for one, returns it now and then.
        self._true_ends = self._row is None or self._row.tells_state
        self._start = perf_counter()
        self._previous = objective.point(x0)
        self._last_grad_norm = math.nan
        self.nit = 0
        self._may_end = not (arguments.maxiter is None and settings.rtol is None)
        self.__signature__ = _SIGNATURE
        self._bar = tqdm(unit="it", dynamic_ncols=True) if settings.progress else None
        self._show_at = self._start

    @property
    def has_limits(self) -> bool:
        """Whether :meth:`before_evaluation` has anything to look at."""
        settings = self._settings
        limits = (self._checkpoint, settings.timeout, settings.max_evaluations)
        return any(limit is not None for limit in limits)

    def before_evaluation(self) -> None:
        """End the run at the best point where a limit is reached (also inside line searches)."""
        settings, objective = self._settings, self._objective
        if self._checkpoint is not None and math.isfinite(objective.best_value):
            self._checkpoint.if_due()
        if not objective.evaluations:  # there is no best point to end at
            return
        if settings.timeout is not None and perf_counter() - self._start >= settings.timeout:
            raise Stopped(Ending.TIMEOUT, None, self.nit)
        limit = settings.max_evaluations
        if limit is not None and objective.evaluations >= limit:
            raise Stopped(Ending.EVALUATIONS, None, self.nit)

    def break_down(self) -> None:
        """End the run: no answer brings a solver back whose own arithmetic gave NaN.

        trust-krylov does where the gradient's norm is below 1.4e-8, and would go on to maxiter.
        """
        raise Stopped(Ending.BROKEN_DOWN, None, self.nit)

    @property
    def iterate(self) -> Array:
        """The last that the solver told of, or the start."""
        return self._previous

    def __call__(self, intermediate_result: Any) -> None:
        """scipy's callback; the parameter's name is what makes scipy hand over a result."""
        objective = self._objective
        objective.profile.begin("bridge")
        given = intermediate_result
        result = given if isinstance(given, OptimizeResult) else OptimizeResult(x=given)
        x = as_vector(result["x"])
        known = objective.next_iteration(x)
        self._tell_truth(known, result)
        if self._row is not None and self._row.tells_state:
            self.state = result
        self.nit += 1
        self._record(x, float(result["fun"]), known)
        if self._user is not None:
            self._tell_user(x, result)
        objective.profile.begin("solver")
        if self._may_end:
            self._end_if_due(x)

    def close(self) -> None:
        """Leave the progress bar as it stands."""
        if self._bar is not None:
            self._show()
            self._bar.close()

    def _tell_truth(self, known: Evaluation | None, result: OptimizeResult) -> None:
        """Note [true values]: the loss is the closure's, whatever the solver was told."""
        if known is not None:
            result["fun"] = known.value
            if not known.finite and "grad" in result:
                result["grad"] = known.gradient
        result.setdefault("fun", math.nan)
        self._function.scrub(result)

    def _record(self, x: Array, loss: float, known: Evaluation | None) -> None:
        objective = self._objective
        before = self._previous
        self._previous = x.copy() if known is None else known.x
        step_length = distance(before, self._previous)
        gradient = None if known is None else known.gradient
        if gradient is not None:
            self._last_grad_norm = largest(gradient)
        elif step_length > 0.0:
            self._last_grad_norm = math.nan
        now = perf_counter()
        self._history.append(
            loss=loss,
            grad_norm=self._last_grad_norm,
            step_length=step_length,
            evaluations=objective.evaluations,
            seconds=now - self._start,
        )
        if self._bar is not None and now >= self._show_at:
            self._show()
            self._show_at = now + self._bar.mininterval

    def _show(self) -> None:
        assert self._bar is not None
        self._bar.n = self.nit
        losses = self._history.segment_losses(1) or [self._objective.best_value]
        self._bar.set_postfix_str(
            f"loss {losses[0]:.6g}, |g| {self._last_grad_norm:.2e}, "
            f"evaluations {self._objective.evaluations}"
        )

    def _tell_user(self, x: Array, result: OptimizeResult) -> None:
        user, objective = self._user, self._objective
        assert user is not None

        def use() -> Any:
            objective.profile.begin("closure")
            try:
                return user(x, result)
            except StopIteration:
                return StopIteration
            finally:
                objective.profile.begin("bridge")

        stop = objective.lend(x, use)
        if is_stop_iteration(stop) or (self._true_ends and is_true(stop)):
            self._stop_by_callback(x)

    def _stop_by_callback(self, x: Array) -> None:
        if self._row is not None and self._row.ends_on_stop_iteration:
            raise StopIteration
        raise Stopped(Ending.CALLBACK, x.copy(), self.nit)

    def _end_if_due(self, x: Array) -> None:
        if self._maxiter is not None and self.nit >= self._maxiter:
            raise Stopped(Ending.ITERATIONS, x.copy(), self.nit)
        if self._settings.rtol is not None and self._has_stalled(x, self._settings.rtol):
            raise Stopped(Ending.STALLED, x.copy(), self.nit)

    def _has_stalled(self, x: Array, rtol: float) -> bool:
        losses = self._history.segment_losses(_STALL_WINDOW + 1)
        if len(losses) <= _STALL_WINDOW:
            return False
        fallen = losses[0] - losses[-1]
        if self._objective.is_restricted:  # a loss that rises may be the way to a feasible point
            fallen = abs(fallen)
        return fallen < rtol * abs(losses[0]) and self._objective.is_known_feasible(x)
