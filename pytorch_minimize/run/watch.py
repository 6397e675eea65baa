"""What a run does besides minimising: limits, checkpoints, history, progress, callbacks."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from time import perf_counter
from typing import Generic

from scipy.optimize import OptimizeResult

from ..bridge.interface import V
from ..problem.evaluation import Evaluation
from ..problem.objective import Objective
from ..record.bar import ProgressBar
from ..record.checkpoint import Checkpoint
from ..record.history import History
from ..settings import Settings
from ..typing import Array
from .endings import Ending
from .limits import Limits
from .plan import Plan
from .user_callback import adapt_callback
from .usual_iteration import UsualIteration, make_usual_iteration

__all__ = ["Watch"]


class Watch(Generic[V]):
    """Stands by a run: asked before evaluations, when one may be due, and told of each iterate.

    It answers with an :class:`Ending`, or None to go on; what ends the run is up to the solver.

    Args:
        objective: of the run; the parameters hold the iterate while the user's callback runs.
        x0: where the run starts.
        plan: the user's callback, the solver's habits, an iteration limit of ours.
        settings: timeout, max_evaluations, rtol, progress.
        history: gets a row per iteration.
        checkpoint: written before evaluations, when it is time.
        is_search: the solver is one of many in a run, so that others get what it returns.

    Attributes:
        nit: iterations so far.
        iterate: the last that the solver told of, or the start.
        state: the last whole result that a solver told which does.
    """

    def __init__(
        self,
        objective: Objective[V],
        x0: V,
        plan: Plan,
        settings: Settings,
        history: History,
        checkpoint: Checkpoint | None = None,
        *,
        is_search: bool = False,
    ) -> None:
        self._objective = objective
        self._limits = Limits(settings, plan.maxiter)
        self._history = history
        self._checkpoint = checkpoint
        self._habits = plan.habits
        # Nobody then writes into an x that the solver tells, before the run is over.
        self._stays = plan.habits.leaves_iterates and plan.callback is None and not is_search
        self._evaluator = objective.evaluator
        self._ask_user = adapt_callback(
            plan.callback, plan.habits, self._evaluator.profile, self._evaluator.space.to_host
        )
        self._start = perf_counter()
        self._last_grad_norm = math.nan
        self._bar = _make_bar(plan, settings) if settings.progress else None
        self.state: OptimizeResult | None = None
        self.iterate = objective.point(x0)
        self.nit = 0
        self.looks = (
            self._limits.before_evaluations or checkpoint is not None or self._bar is not None
        )
        """Whether :meth:`due` has anything to look at."""

    def due(self) -> Ending | None:
        """Why the run must end, at its best point, instead of evaluating once more."""
        if self._checkpoint is not None and math.isfinite(self._objective.best_value):
            self._checkpoint.if_due()
        if self._bar is not None and self._bar.is_due(perf_counter() - self._start):
            self._show(self._bar)
        return self._limits.due(self._evaluator.evaluations)

    def rest(self) -> tuple[float, int]:
        """For how many seconds, and until how many evaluations, :meth:`due` has nothing to do."""
        seconds, evaluations = self._limits.rest()
        if self._checkpoint is not None:
            is_found = math.isfinite(self._objective.best_value)
            seconds = min(seconds, self._checkpoint.rest() if is_found else 0.0)
        if self._bar is not None:
            seconds = min(seconds, self._bar.rest(perf_counter() - self._start))
        return seconds, evaluations

    def iteration(
        self, x: V, result: OptimizeResult, lengths: tuple[float, float] | None = None
    ) -> Ending | None:
        """The solver has come to x; why it must end there.

        Args:
            x: the iterate.
            result: what it tells of it; set right where the closure's values are known.
            lengths: of the step from the iterate before, and max |g|, where they are known.
        """
        before = self.iterate if lengths is None else None
        known, length = self._objective.next_iteration(x, before, stays=self._stays)
        if known is None:
            loss = float(result.setdefault("fun", math.nan))
        else:  # Note [true values]
            result["fun"] = loss = known.value
            if not known.finite and "grad" in result:
                result["grad"] = known.gradient
        if self._habits.tells_state:
            self.state = result
        self.nit += 1
        if self._stays:
            self.iterate = x
        else:
            self.iterate = self._evaluator.space.copy(x) if known is None else known.x
        if lengths is None:
            lengths = length, self._grad_norm(known, moved=length > 0.0)
        self._record(loss, lengths)
        if self._ask_user is not None and self._evaluator.lend(x, self._ask_user, result):
            return Ending.CALLBACK
        if self._limits.at_iterates:
            return self._limits.due_at(x, self._objective, self._history, self.nit)
        return None

    def usual_iteration(
        self: Watch[Array],
        answers: set[float],
        callback: Callable[..., bool],
        signature: inspect.Signature,
    ) -> UsualIteration | None:
        """What scipy may call back instead of ``callback``, which gets here all that is unusual.

        None where there is more to an iterate than a row of the history. For the arguments see
        :func:`~pytorch_minimize.run.usual_iteration.make_usual_iteration`.
        """
        is_all = self._ask_user is None and not self._habits.tells_state
        if type(self) is not Watch or type(self._objective) is not Objective or not is_all:
            return None
        of_run = self._objective, self._history, self._limits, self._stays
        return make_usual_iteration(self, *of_run, answers, callback, signature)

    def spent(self) -> tuple[int, float]:
        """Evaluations and seconds so far."""
        return self._evaluator.evaluations, perf_counter() - self._start

    def close(self) -> None:
        """Leave the progress bar as it stands."""
        if self._bar is not None:
            self._show(self._bar)
            self._bar.close(self._history.endings[-1].partition(": ")[2])

    def _grad_norm(self, known: Evaluation[V] | None, *, moved: bool) -> float:
        """max |g| at the iterate, NaN where it is not known; the last one where it is the same."""
        if known is None or known.gradient is None:
            return math.nan if moved else self._last_grad_norm
        if known.largest == known.largest:  # no NaN
            return known.largest
        return self._evaluator.space.largest(known.gradient)

    def _record(self, loss: float, lengths: tuple[float, float]) -> None:
        """A row of the history; see :meth:`iteration`."""
        step_length, self._last_grad_norm = lengths
        self._history.add(loss, self._last_grad_norm, step_length, *self.spent())

    def _show(self, bar: ProgressBar) -> None:
        loss = self._history.recent_loss()
        loss = self._objective.best_value if loss is None else loss
        bar.show(self.nit, self._objective.evaluations, loss, self._last_grad_norm)


def _make_bar(plan: Plan, settings: Settings) -> ProgressBar:
    iterates = bool(plan.habits.told)
    total = plan.iterations if iterates else settings.max_evaluations
    return ProgressBar(plan.name, total, counts_iterations=iterates)
