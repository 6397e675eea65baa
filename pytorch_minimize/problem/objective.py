"""The loss at flat points: what was evaluated there, and which point is the best."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..bridge.interface import Bridge
from ..bridge.vectors import as_vector, same_values
from ..closure.loss import read_loss
from ..closure.runner import ClosureRunner
from ..record.profile import Profile
from ..settings import OnNonfinite
from ..typing import Array, Loss

__all__ = ["Evaluation", "NonfiniteError", "Objective", "nowhere_violated"]


class Evaluation(NamedTuple):
    """What the closure gave at a point (Note [true values]).

    Attributes:
        x: the point, a vector that is never written again (Note [points stay]).
        value: the loss there, NaN and infinities included.
        gradient: of the loss; None where none was computed, or it is no longer kept.
        finite: whether the loss and the gradient are.
    """

    x: Array
    value: float
    gradient: Array | None
    finite: bool


class NonfiniteError(FloatingPointError):
    """The loss or its gradient is NaN or infinite, and ``nonfinite="raise"`` was asked for."""


def nowhere_violated() -> float:
    """The violation where there are no constraints."""
    return 0.0


class SolverThreads(AbstractContextManager[Any], Protocol):
    """The threads of the solver's own BLAS: held in a ``with`` block, save where released."""

    def hold(self) -> None:
        """Before the solver goes on."""

    def release(self) -> None:
        """Before code of the user's runs."""


class Objective:
    """Value and gradient of the user's loss at flat points, each point evaluated once.

    It speaks in flat float64 vectors and knows nothing of scipy: all that it says was given by
    the closure (Note [true values]). Five vectors of length n may be alive in it, of which most
    are one and the same: the point of the memo, the best one, the iterate, the last that was
    finite with its gradient (which the solver holds as well).

    Note [points stay]: a vector that a point is kept in is never written again, so that to keep
    one is to keep a reference.

    It also owns where the parameters are. Whoever else evaluates something at x, as constraints
    do, has them moved there by :meth:`load` and hears by ``on_leave`` that they move on.

    Args:
        bridge: between the flat vector and the parameters.
        runner: runs the user's closure.
        gradient: whether gradients will be asked for; :meth:`with_gradients` says so for a while.
        nonfinite: "recover" counts a loss or gradient that is not finite, and warns of the first;
            "raise" raises NonfiniteError.
        profile: where time and counts go.
        blas: released while the closure runs.

    Attributes:
        best_x, best_value: the point with the lowest finite loss, among those that violate the
            constraints least; the start before there is one.
        iterate: the last that the solver told of (:meth:`next_iteration`), without its gradient;
            before, the first point evaluated, where it starts; None before that.
        last_finite: the last evaluation that was finite; None before there is one.
        level, worst, largest: the highest loss since the iterate, of all, and the largest in
            magnitude, among those that were finite.
        evaluations: closure runs so far, curvature aside.
        nonfinite: how many of them were not finite.
        recovered: how many of these stand for an exception that the closure may raise.
        error: what the closure raised, in case that the solver keeps it to itself.
        before_evaluation: called before each run of the closure; may raise to end the run.
        on_nan_point: called where the loss is not finite because the solver's x is not; may raise.
        on_leave: called where the parameters' values are about to change.
        owns_points: whether each x that is to be evaluated is a copy made for that, as scipy's
            methods that use gradients make one. It is then kept as it is, and not copied again.
        box: lower and upper bounds that the solver keeps, save by a rounding.
        violation: how far the parameters' point is outside the feasible region; 0 inside, None
            while a constraint is not known there.
    """

    def __init__(
        self,
        bridge: Bridge,
        runner: ClosureRunner,
        *,
        gradient: bool,
        nonfinite: OnNonfinite = "recover",
        profile: Profile,
        blas: SolverThreads,
    ) -> None:
        self.bridge = bridge
        self.profile = profile
        self._runner = runner
        self.has_gradient = gradient
        self._on_nonfinite = nonfinite
        self.blas = blas
        self._x = bridge.flatten_params()
        self._here: Evaluation | None = None
        self.iterate: Evaluation | None = None
        self.last_finite: Evaluation | None = None
        self.level, self.worst, self.largest = -math.inf, -math.inf, 0.0
        self._marks = (0, 0)  # nonfinite at the last two iterates
        self.evaluations = 0
        self.nonfinite = self.recovered = 0
        self.error: BaseException | None = None
        self.before_evaluation: Callable[[], None] | None = None
        self.on_nan_point: Callable[[], None] | None = None
        self.on_leave: list[Callable[[], None]] = []
        self.owns_points = False
        self.box: tuple[Array, Array] | None = None
        self.violation: Callable[[], float | None] = nowhere_violated
        self.best_x = self._x
        self.best_value = math.inf
        self._best_violation = math.inf

    def evaluate(self, x: Array) -> Evaluation:
        """What the closure gives at x; it is run unless that is known.

        The gradient is a fresh array (Note [fresh gradients]).
        """
        x = self.within(x)
        is_here = same_values(x, self._x)
        if is_here and self._here is not None:
            return self._here
        if self.error is not None:  # the solver has kept it to itself and goes on
            raise self.error
        if self.before_evaluation is not None:
            self.before_evaluation()
        if not is_here:
            self._move(self._kept(x))
        self.evaluations += 1
        self.blas.release()
        self.profile.begin("closure", "closure")
        try:
            loss = self._run()
        except BaseException as error:
            self.error = error
            raise
        finally:
            self.profile.begin("bridge")
            self.blas.hold()
        return self._take(loss)

    @property
    def x(self) -> Array:
        """The point that the parameters hold. Note [points stay]."""
        return self._x

    def point(self, x: Array) -> Array:
        """x as a vector that is never written again; a copy only where x is no known point."""
        for known in (self._x, self.best_x):
            if same_values(x, known):
                return known
        return x.copy()

    def within(self, x: Any) -> Array:
        """x as a flat float64 vector, put back into the box where a rounding left it."""
        flat = as_vector(x)
        return flat if self.box is None else np.clip(flat, *self.box)

    def is_at(self, x: Array) -> bool:
        """Whether the parameters hold x and its value is known."""
        return self._here is not None and same_values(x, self._x)

    def known(self, x: Array) -> Evaluation | None:
        """What the closure gave at x, if x is the last point, the iterate or the best one."""
        if self.is_at(x):
            return self._here
        if self.iterate is not None and same_values(x, self.iterate.x):
            return self.iterate
        if math.isfinite(self.best_value) and same_values(x, self.best_x):
            return Evaluation(self.best_x, self.best_value, None, True)
        return None

    def known_gradient(self, x: Array) -> Array | None:
        """The gradient at x if x is the last point evaluated, and with its gradient."""
        return self._here.gradient if self._here is not None and self.is_at(x) else None

    def next_iteration(self, x: Array) -> Evaluation | None:
        """The solver has come to x, from where it goes on; what is known there."""
        known = self.known(x)
        if known is not None:
            self.iterate = Evaluation(known.x, known.value, None, known.finite)
            if math.isfinite(known.value):
                self.level = known.value
        self._marks = self._marks[1], self.nonfinite
        return known

    @property
    def recently_nonfinite(self) -> int:
        """How many evaluations were not finite since the iterate before the last."""
        return self.nonfinite - self._marks[0]

    @property
    def is_restricted(self) -> bool:
        """Whether there is anything to violate."""
        return self.violation is not nowhere_violated

    def is_known_feasible(self, x: Array) -> bool:
        """Whether x violates nothing and is the last point or the best one."""
        if not self.is_restricted:
            return True
        if same_values(x, self.best_x):
            return self._best_violation == 0.0
        return self.is_at(x) and self.violation() == 0.0

    def violation_at(self, x: Array) -> float:
        """How far x is outside the feasible region; NaN where that is not known."""
        if not self.is_restricted:
            return 0.0
        if same_values(x, self.best_x) and math.isfinite(self._best_violation):
            return self._best_violation
        known = self.violation() if self.is_at(x) else None
        return math.nan if known is None else known

    @contextlib.contextmanager
    def without_limits(self) -> Iterator[None]:
        """Inside the block evaluations are not the solver's, and no limit ends the run."""
        limits, self.before_evaluation = self.before_evaluation, None
        try:
            yield
        finally:
            self.before_evaluation = limits

    @contextlib.contextmanager
    def with_gradients(self) -> Iterator[None]:
        """Inside the block gradients are computed with the values."""
        before, self.has_gradient = self.has_gradient, True
        if self._here is not None and self._here.gradient is None:
            self._here = None
        try:
            yield
        finally:
            self.has_gradient = before

    @contextlib.contextmanager
    def users_code(self, part: str, what: str) -> Iterator[None]:
        """Around code of the user's other than the closure; its time goes to ``part``."""
        self.profile.begin("bridge", what)
        self.blas.release()
        self.profile.begin(part)
        try:
            yield
        except BaseException as error:
            self.error = error
            raise
        finally:
            self.blas.hold()
            self.profile.begin("solver")

    def take_many(self, points: Array, values: Array) -> None:
        """File losses that were found elsewhere, at points (S, n); the parameters stay."""
        self.evaluations += len(points)
        finite = np.isfinite(values)
        if finite.any():
            self._raise_levels(float(values[finite].max()), float(np.abs(values[finite]).max()))
            best = int(np.argmin(np.where(finite, values, math.inf)))
            if values[best] < self.best_value:
                self.best_x, self.best_value = points[best].copy(), float(values[best])
                self._best_violation = 0.0
        for value in values[~finite]:
            self._note_nonfinite(f"a loss of {value}", _LARGE)

    def lend(self, x: Array, use: Callable[[], Any]) -> Any:
        """What ``use`` returns where the parameters hold x and are the user's; no evaluation.

        What it does to them or their gradients is undone.
        """
        moved = not same_values(x, self._x)
        if moved:
            self._leave()
            self.bridge.load_params(x)
        # By value: what is written through ``p.data`` leaves no trace in a version counter.
        values = self.bridge.flatten_params()
        try:
            return use()
        finally:
            touched = not same_values(values, self.bridge.flatten_params())
            if touched and not moved:
                self._leave()
            if touched or moved:
                self.bridge.load_params(self._x)
            self._restore_grads()

    def settle(self) -> None:
        """Undo what the user's code may have done to the model since the last evaluation."""
        self.bridge.load_params(self._x)
        self._restore_grads()

    def clear_grads(self) -> None:
        """No gradient of any point is left in ``.grad``."""
        self._runner.clear_grads()

    @property
    def recover(self) -> tuple[type[Exception], ...]:
        """Exceptions that stand for a loss of NaN."""
        return self._runner.recover

    @property
    def recovered_from(self) -> str:
        """The last of them, in words."""
        return self._runner.recovered_from

    def expect_recovered(self, count: int) -> None:
        """So many of the losses that are filed next stand for exceptions."""
        self._runner.recovered = count

    def _restore_grads(self) -> None:
        """Undo what was added to the gradients, or dropped; curvature is not of such ones."""
        known = self._here.gradient if self._here is not None else None
        if known is not None and not same_values(known, self.bridge.flatten_grads()):
            self._leave()
            self.bridge.load_grads(known)

    def load(self, x: Array) -> None:
        """Set the parameters to x without an evaluation; what is known there stays known."""
        if not same_values(x, self._x):
            self._move(x.copy())

    def load_best(self) -> None:
        """Set the parameters to the best point seen, the start if there was none."""
        self._move(self.best_x)

    def consider(self) -> None:
        """Keep the parameters' point as the best if it is.

        Called when the loss became known there and when a constraint did, since the solver asks
        for one after the other.
        """
        here = self._here
        if here is None or not math.isfinite(here.value):
            return
        violation = self.violation()
        if violation is None:
            return
        if (violation, here.value) < (self._best_violation, self.best_value):
            self.best_x, self.best_value = self._x, here.value
            self._best_violation = violation

    def close(self) -> None:
        """The run is over: keep nothing of it alive."""
        self.blas.release()  # again, in case that the first was interrupted
        self._leave()
        self.on_leave.clear()
        self.before_evaluation = self.on_nan_point = self.error = None

    def _run(self) -> Loss:
        return self._runner.value_and_gradient() if self.has_gradient else self._runner.value()

    def _kept(self, x: Array) -> Array:
        """x, for good; a copy where the solver may write into its own (Note [compare by value])."""
        if not self.owns_points or x.base is not None:
            return x.copy()
        x.flags.writeable = False  # a solver that breaks the promise hears of it
        return x

    def _move(self, x: Array) -> None:
        """Set the parameters to x, which is never written again (Note [points stay])."""
        self._leave()
        self._here = None
        self._x = x
        self.bridge.load_params(x)

    def _leave(self) -> None:
        """The parameters are about to change: what hangs on their values ends here."""
        for listener in self.on_leave:
            listener()

    def _read(self, loss: Loss) -> Evaluation:
        """The loss and the gradient as they have come, with whether both are finite.

        Here a device is waited for, so that it is here that errors of its kernels come out,
        those of the closure included.
        """
        gradient: Array | None = None
        try:
            if not self.has_gradient:
                value, finite = read_loss(loss), True
            elif isinstance(loss, float):
                value, (gradient, finite) = loss, self.bridge.gradient()
            else:
                value, gradient, finite, waited = self.bridge.evaluation(loss)
                self.profile.attribute("closure", waited)
        except BaseException as error:
            self.error = error
            raise
        return Evaluation(self._x, value, gradient, finite and math.isfinite(value))

    def _take(self, loss: Loss) -> Evaluation:
        """File what the closure found at ``_x``."""
        here = self._here = self._read(loss)
        if self.iterate is None:
            self.iterate = Evaluation(here.x, here.value, None, here.finite)
        if here.finite:
            self.last_finite = here
            self._raise_levels(here.value, abs(here.value))
        else:
            if self.on_nan_point is not None and np.isnan(self._x).any():
                self.on_nan_point()
            is_value = math.isfinite(here.value)
            what = "a gradient with NaN or inf" if is_value else f"a loss of {here.value}"
            self._note_nonfinite(what, _LARGE)
        self.consider()
        return here

    def _raise_levels(self, value: float, magnitude: float) -> None:
        if value > self.level:
            self.level = value
        if value > self.worst:
            self.worst = value
        if magnitude > self.largest:
            self.largest = magnitude

    def _note_nonfinite(self, what: str, answer: str) -> None:
        self.nonfinite += 1
        if self._runner.recovered:
            self._runner.recovered -= 1
            self.recovered += 1
            return
        if self._on_nonfinite == "raise":
            raise NonfiniteError(
                f"the closure gave {what}. The parameters are set to the best point seen; "
                f"nonfinite='recover' would have gone on."
            )
        if self.nonfinite - self.recovered == 1:
            warnings.warn(
                f"the closure gave {what}; the solver is told {answer}, and res.nonfinite counts "
                f"how often. nonfinite='raise' stops instead.",
                RuntimeWarning,
                stacklevel=2,
            )


_LARGE = "a large loss so that it steps back"
