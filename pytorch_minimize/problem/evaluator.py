"""Where the parameters are, and what the closure gives there."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Generic, TypeVar

from torch import Tensor

from ..bridge.interface import Bridge, V
from ..bridge.space import Space
from ..closure.loss import read_loss
from ..closure.runner import ClosureRunner
from ..record.profile import Profile
from ..typing import Loss
from .closure_call import ClosureCall, make_closure_call
from .evaluation import Evaluation, Source
from .guard import Guard
from .sight import Sight

__all__ = ["Evaluator"]

R = TypeVar("R")

_NOTHING = contextlib.nullcontext()


class Evaluator(Generic[V]):
    """Owns where the parameters are: moves them to x, runs the closure there, lends them.

    The same x by value is evaluated once (Note [compare by value]). Whoever computes something
    else there, as constraints do, has the parameters moved by :meth:`load` and hears that they
    move on (:meth:`when_leaving`).

    Args:
        runner: runs the user's closure.
        bridge: between vectors and the parameters.
        space: of the vectors.
        guard: stands around the closure.
        profile: where counts go.
        gradient: whether gradients are computed with the values; :meth:`with_gradients` says so
            for a while.
        keeps_points: who asks for an evaluation never writes into that x again. It is then kept
            as it is, and not copied.
        source: of gradients and what the runner gives, where the closure runs in many processes;
            the gradients of the bridge are this one's alone.

    Attributes (for reading):
        x: the point that the parameters hold. Note [points stay].
        here: what is known there; None where nothing is.
        evaluations: losses so far, those that only curvature needed aside.
        has_gradient: whether gradients are computed now.
    """

    def __init__(
        self,
        runner: ClosureRunner,
        bridge: Bridge[V],
        space: Space[V],
        guard: Guard,
        profile: Profile,
        *,
        gradient: bool,
        keeps_points: bool = False,
        source: Source[V] | None = None,
    ) -> None:
        self.bridge, self.space, self.guard, self.profile = bridge, space, guard, profile
        self.has_gradient = gradient
        self.evaluations = 0
        self._runner: Source[V] | ClosureRunner = runner if source is None else source
        self._gradients = bridge if source is None else source
        self._is_shared = source is not None
        self.keeps_points = keeps_points
        self._listeners: list[Callable[[], None]] = []
        self._same, self._check, self._load = space.same, guard.check, bridge.load_params
        self._call = self._closure_call()
        self.x = bridge.flatten_params()
        self.here: Evaluation[V] | None = None
        self._sight: Sight[V] | None = None

    @property
    def recover(self) -> tuple[type[Exception], ...]:
        """Exceptions that stand for a loss of NaN."""
        return self._runner.recover

    @property
    def recovered(self) -> bool:
        """Whether the last run of the closure raised one of them."""
        return self._runner.recovered

    @property
    def recovered_why(self) -> str:
        """The last of them, in words."""
        return self._runner.recovered_why

    def evaluate(
        self,
        x: V,
        permit: Callable[[], None] | None = None,
        measure: Callable[[V], V] | None = None,
    ) -> Evaluation[V]:
        """What the closure gives at x; it is run unless that is known.

        The gradient is a fresh vector (Note [fresh gradients]).

        Args:
            permit: asked before a run; may raise.
            measure: gradient -> scalars as a vector. Where to read a scalar is to wait for a
                device it is called at once, so that they come over with the loss.
        """
        is_here = self._same(x, self.x)
        if is_here and self.here is not None:
            return self.here
        self._check()
        if permit is not None:
            permit()
        if not is_here:
            self._move(x if self.keeps_points else self.space.copy(x))
        self.evaluations += 1
        if self._call is not None and self.has_gradient:
            try:
                self.here = found = self._call(self.x)
            except BaseException as error:
                self.guard.remember(error)
                raise
            return found
        loss: Loss = self.guard.run("closure", "closure", self._run)
        if measure is not None and self.space.waits and not isinstance(loss, float):
            self.here = found = self._read_at_once(loss, measure)
        else:
            self.here = found = self._read(loss)
        return found

    @property
    def usual_call(self) -> ClosureCall | None:
        """All of :meth:`evaluate` at a new point, save that the parameters move; None if not so."""
        is_all = self.has_gradient and self.keeps_points and not self._listeners
        return self._call if is_all else None

    def count_elsewhere(self, losses: int) -> None:
        """So many losses came about without a run of the closure."""
        self.evaluations += losses

    def known(self, x: V) -> Evaluation[V] | None:
        """What the closure gave at x, if the parameters are there and it is known."""
        return self.here if self.here is not None and self._same(x, self.x) else None

    def load(self, x: V) -> None:
        """Set the parameters to x without an evaluation; what is known there stays known."""
        if not self._same(x, self.x):
            self._move(self.space.copy(x))

    def load_point(self, x: V) -> None:
        """Set the parameters to x, which is never written again (Note [points stay])."""
        self._move(x)

    @contextlib.contextmanager
    def with_gradients(self) -> Iterator[None]:
        """Inside the block gradients are computed with the values."""
        before, self.has_gradient = self.has_gradient, True
        if self.here is not None and self.here.gradient is None:
            self.here = None
        try:
            yield
        finally:
            self.has_gradient = before

    def lend(self, x: V, use: Callable[..., R], *given: object) -> R:
        """What ``use(*given)`` returns where the parameters hold x, and are the user's.

        What it does to them or their gradients is undone.
        """
        moved = not self._same(x, self.x)
        if moved:
            self._leave()
            self.bridge.load_params(x)
        sight = self._sight = self._sight or Sight(self.bridge, self.space)
        values, known = sight.params(x), self._own_gradient()
        grads = None if known is None else sight.grads(known)
        try:
            with self._showing_gradient() if self._is_shared else _NOTHING:
                return use(*given)
        finally:
            touched = not sight.same_params(values)
            if touched:
                sight.look()
            if touched and not moved:
                self._leave()
            if touched or moved:
                self.bridge.load_params(self.x)
            if known is not None and not sight.same_grads(grads):
                self._restore_grads(known)

    def settle(self) -> None:
        """Undo what the user's code may have done to the model since the last evaluation."""
        self.bridge.load_params(self.x)
        known = self._own_gradient()
        if known is not None and not self._same(known, self.bridge.flatten_grads()):
            self._restore_grads(known)

    def set_grads(self, gradient: V | None) -> None:
        """Leave this gradient in ``.grad``, or none of any point."""
        self._runner.clear_grads()
        if gradient is not None:
            self.bridge.load_grads(gradient)

    def when_leaving(self, listener: Callable[[], None]) -> None:
        """Have ``listener`` called where the parameters' values are about to change."""
        self._listeners.append(listener)

    def close(self) -> None:
        """The run is over: keep nothing of it alive."""
        self.guard.end()  # also where the release before was interrupted
        self._leave()
        self._listeners.clear()
        self.guard.forget()
        self._call = None

    def _closure_call(self) -> ClosureCall | None:
        if not isinstance(self._runner, ClosureRunner):  # of many processes
            return None
        return make_closure_call(self._runner, self.bridge, self.guard)

    def _run(self) -> Loss:
        return self._runner.value_and_gradient() if self.has_gradient else self._runner.value()

    def _move(self, x: V) -> None:
        for listener in self._listeners:
            listener()
        self.here = None
        self.x = x
        self._load(x)

    def _leave(self) -> None:
        """The parameters are about to change: what hangs on their values ends here."""
        for listener in self._listeners:
            listener()

    def _read(self, loss: Loss) -> Evaluation[V]:
        """The loss and the gradient as they have come, with whether both are finite.

        Here a device is waited for, so that it is here that errors of its kernels come out,
        those of the closure included.
        """
        gradient: V | None = None
        try:
            if not self.has_gradient:
                value, finite = read_loss(loss), True
            elif isinstance(loss, float):
                value, (gradient, finite) = loss, self._gradients.gradient()
            else:
                value, gradient, finite, waited = self.bridge.evaluation(loss)
                self.profile.attribute("closure", waited)
        except BaseException as error:
            self.guard.remember(error)
            raise
        finite = finite and math.isfinite(value)
        return Evaluation(self.x, value, gradient, finite, self.recovered)

    def _read_at_once(self, loss: Tensor, measure: Callable[[V], V]) -> Evaluation[V]:
        """As :meth:`_read`, and what ``measure`` finds; a device is waited for once.

        The wait is the closure's time, with the few kernels of ``measure`` that are behind it.
        """
        try:
            gradient = self.bridge.flatten_grads()
            measured, start = measure(gradient), perf_counter()
            value, is_finite, *scalars = self.space.read_at_once(loss, gradient, measured)
            self.profile.attribute("closure", perf_counter() - start)
        except BaseException as error:
            self.guard.remember(error)
            raise
        finite = bool(is_finite) and math.isfinite(value)
        return Evaluation(self.x, value, gradient, finite, self.recovered, scalars=scalars)

    @contextlib.contextmanager
    def _showing_gradient(self) -> Iterator[None]:
        """Inside the block ``.grad`` is of the whole loss, if that is known where we are."""
        params = self.bridge.params
        own = [param.grad for param in params]
        for param in params:
            param.grad = None
        if self.here is not None and self.here.gradient is not None:
            self.bridge.load_grads(self.here.gradient)
        try:
            yield
        finally:
            for param, grad in zip(params, own, strict=True):
                param.grad = grad

    def _own_gradient(self) -> V | None:
        """What ``.grad`` is to hold, where that is known and not of this process's share."""
        return self.here.gradient if self.here is not None and not self._is_shared else None

    def _restore_grads(self, known: V) -> None:
        """Undo what was added to the gradients, or dropped; curvature is not of such ones."""
        self._leave()
        self.bridge.load_grads(known)
