"""What one process adds to a sum over all of them; it raises nothing, but says that it failed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol

from torch import Tensor

from ..bridge.interface import Bridge, V
from ..record.profile import Profile
from ..typing import Array, Loss
from .errors import OtherProcessError
from .group import Group
from .memory import Memory
from .messages import TAIL, Command, Tail, put
from .signals import HeldSignals

__all__ = ["Curvature", "Many", "Partners", "Runner", "Share"]

Many = Callable[[Array], tuple[Array, int]]
"""Points (S, n) -> their losses, and how many of these stand for an exception."""


class Runner(Protocol):
    """Runs the user's closure; see :class:`~pytorch_minimize.closure.runner.ClosureRunner`."""

    recovered: bool
    recovered_why: str
    recover: tuple[type[Exception], ...]

    def clear_grads(self) -> None: ...

    def value(self) -> float: ...

    def value_and_gradient(self) -> Loss: ...


class Curvature(Protocol):
    """See :class:`~pytorch_minimize.curvature.strategies.Curvature`."""

    def evaluate(self) -> Loss: ...

    def product(self, v: Array) -> tuple[Array, bool]: ...

    def hessian(self) -> tuple[Array, bool]: ...

    def drop(self) -> None: ...


@dataclass(frozen=True)
class Partners:
    """What a run is made of in each of its processes.

    Attributes:
        group: of them all.
        signals: held while they do something together.
        runner: of the closure here.
        profile: of the step here.
        factor: by which losses, gradients and products here are multiplied.
        points, sums: buffers for points and for gradients. They are there before the run begins,
            since who has no memory for them could not tell the others any more.
    """

    group: Group
    signals: HeldSignals
    runner: Runner
    profile: Profile
    factor: float
    points: list[Tensor]
    sums: list[Tensor]


class Share(Generic[V]):
    """This process's part of what the leader asks for.

    Args:
        run: of which it is a part.
        bridge: to the vectors of this process.
        curvature: of the closure here.
        many: losses of many points, where the optimizer has a way.

    Attributes:
        error: what was raised here, for which the run ends.
    """

    def __init__(
        self,
        run: Partners,
        bridge: Bridge[V],
        curvature: Curvature | None,
        many: Many | None,
    ) -> None:
        self._group, self._signals, self._profile = run.group, run.signals, run.profile
        self._runner, self._factor = run.runner, run.factor
        self._bridge, self._curvature, self._many = bridge, curvature, many
        self._memory = Memory(run.group, run.sums)
        self.error: BaseException | None = None

    def room(self, command: Command, vector: Any) -> Tensor:
        """Memory for what a command asks for, with a tail."""
        n = self._bridge.numel
        sizes = {Command.VALUE: 0, Command.HESSIAN: n * n}
        size = len(vector) if command is Command.MANY else sizes.get(command, n)
        return self._memory.take(size + TAIL)

    def add(
        self,
        command: Command,
        out: Tensor,
        vector: Any = None,
        before: Callable[[], object] = bool,
    ) -> None:
        """Compute what is asked for, and add it to the sum.

        Args:
            command: says what.
            out: for it; then the sum in the leader, and spoilt in others.
            vector: to multiply by, or many points.
            before: called first; what it raises is a failure as well.
        """
        out[-TAIL:] = 0.0

        def compute() -> None:
            before()
            self._compute(command, vector, out[:-TAIL], out[-TAIL:])

        _, error = self._signals.caught(compute)
        if not self._group.leads:
            self._memory.lend(out, None)
        if error is not None:
            self.error = error
            out.zero_()
            out[Tail.FAILED - TAIL] = 1.0
        try:
            self._group.reduce(out)
        except OtherProcessError as lost:
            if self.error is not None:
                raise self.error from lost
            raise

    def lend(self, out: Tensor, vector: Any) -> None:
        """A sum is looked at as ``vector``; when that is gone, its memory may be used again."""
        self._memory.lend(out, vector)

    def move(self) -> None:
        """The parameters are about to change."""
        if self._curvature is not None:
            self._curvature.drop()

    def _compute(self, command: Command, vector: Any, out: Tensor, tail: Tensor) -> None:
        if command is Command.MANY:
            if self._many is None:
                raise ValueError("expected step(closure, vectorized=...) in every process")
            losses, recovered = self._many(vector)
            put(out, losses, self._factor)
            tail[Tail.RECOVERED] = recovered
        elif command in (Command.PRODUCT, Command.HESSIAN):
            self._multiply(command, vector, out, tail)
        else:
            self._evaluate(command, out, tail)

    def _evaluate(self, command: Command, out: Tensor, tail: Tensor) -> None:
        runner, curvature = self._runner, self._curvature
        if command is Command.VALUE:
            loss: Loss = runner.value()
        elif command is Command.CURVED and curvature is not None:
            loss = curvature.evaluate()
        else:
            loss = runner.value_and_gradient()
        value = float(loss.item()) if isinstance(loss, Tensor) else loss
        if command is not Command.VALUE:
            self._profile.begin("bridge")
            put(out, self._bridge.flatten_grads(), self._factor)
        tail[Tail.LOSS] = value * self._factor
        tail[Tail.RECOVERED] = float(runner.recovered)
        tail[Tail.NONFINITE] = float(not (math.isfinite(value) or runner.recovered))

    def _multiply(self, command: Command, vector: Any, out: Tensor, tail: Tensor) -> None:
        curvature = self._curvature
        assert curvature is not None
        if command is Command.PRODUCT:
            product, finite = curvature.product(vector)
        else:
            hessian, finite = curvature.hessian()
            product = hessian.reshape(-1)
        put(out, product, self._factor)
        tail[Tail.NONFINITE] = float(not finite)
