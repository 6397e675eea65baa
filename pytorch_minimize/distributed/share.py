"""What one process adds to a sum over all of them; it raises nothing, but says that it failed."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any, Generic

from torch import Tensor

from ..bridge.interface import Bridge, V
from ..typing import Loss
from .errors import OtherProcessError
from .group import LEADER
from .memory import Memory
from .messages import TAIL, Command, Tail, as_tensor, put
from .partners import Part, Partners
from .rows import Rows, places_of

__all__ = ["Share"]


class Share(Generic[V]):
    """This process's part of what the leader asks for.

    Args:
        run: of which it is a part.
        bridge: to the vectors of this process.
        part: what is computed here.

    Attributes:
        error: what was raised here, for which the run ends.
        places: where the residuals of each process are among those of all, by rank; None before
            all have given some.
    """

    def __init__(self, run: Partners, bridge: Bridge[V], part: Part) -> None:
        self._group, self._signals, self._profile = run.group, run.signals, run.profile
        self._runner, self._factor = run.runner, run.factor
        self._bridge, self._part = bridge, part
        self._memory = Memory(run.group, run.sums)
        self._matrix: Any = None  # the Jacobian here, until it is asked for
        self.error: BaseException | None = None
        self.places: list[slice] | None = None

    @property
    def count(self) -> int:
        """How many residuals there are in all; 0 before all processes have given some."""
        return 0 if self.places is None else self.places[-1].stop

    def room(self, command: Command, vector: Any) -> Tensor:
        """Memory for what a command asks for, with a tail."""
        n = self._bridge.numel
        sizes = {Command.VALUE: 0, Command.HESSIAN: n * n, Command.JACOBIAN: 0}
        sizes |= {Command.ROWS: self.count, Command.IMAGE: self.count}
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

        if self.error is None:
            _, self.error = self._signals.caught(compute)
        if not self._group.leads:
            self._memory.lend(out, None)
        if self.error is not None:
            out.zero_()
            out[Tail.FAILED - TAIL] = 1.0
        with self._own_error_first():
            self._group.reduce(out)

    def rows(self, before: Callable[[], object] = bool) -> Tensor:
        """Run the closure for its residuals, and put them beside those of the others.

        The first time all say how many they have; how many that are must not change then.

        Args:
            before: called first.

        Returns:
            The residuals of all in the leader, with a tail; without them before all had some.
        """

        def run() -> None:
            before()
            self._own_rows().run()

        if self.places is None:
            _, self.error = self._signals.caught(run)
            rows, run = self._part.rows, _nothing
            count = 0 if rows is None or self.error is not None else rows.count
            with self._own_error_first():
                said = self._group.gather(self._group.counted(count or 0))
            self.places = places_of([int(each) for each in said])
        out = self.room(Command.ROWS, None)
        self.add(Command.ROWS, out, None, run)
        return out

    def collect(self, out: Any) -> None:
        """The Jacobians of all, for the leader below its own; each has made its one ready."""
        assert self.places is not None
        if not self._group.leads:
            matrix, self._matrix = self._matrix, None
            self._group.hand(as_tensor(matrix))
            return
        for rank, place in enumerate(self.places):
            if rank != LEADER:
                self._group.take(rank, as_tensor(out[place]))

    def lend(self, out: Tensor, vector: Any) -> None:
        """A sum is looked at as ``vector``; when that is gone, its memory may be used again."""
        self._memory.lend(out, vector)

    def move(self) -> None:
        """The parameters are about to change."""
        self._part.drop()

    def _compute(self, command: Command, vector: Any, out: Tensor, tail: Tensor) -> None:
        if command is Command.MANY:
            if self._part.many is None:
                raise ValueError("expected step(closure, vectorized=...) in every process")
            losses, recovered = self._part.many(vector)
            put(out, losses, self._factor)
            tail[Tail.RECOVERED] = recovered
        elif command in (Command.PRODUCT, Command.HESSIAN):
            self._multiply(command, vector, out, tail)
        elif command is Command.ROWS:
            self._place(out, tail)
        elif command in (Command.JACOBIAN, Command.IMAGE, Command.PULLED):
            self._multiply_rows(command, vector, out)
        else:
            self._evaluate(command, out, tail)

    def _evaluate(self, command: Command, out: Tensor, tail: Tensor) -> None:
        runner, curvature = self._runner, self._part.curvature
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
        curvature = self._part.curvature
        if curvature is None:
            raise ValueError("expected a method with products in every process")
        if command is Command.PRODUCT:
            product, finite = curvature.product(vector)
        else:
            hessian, finite = curvature.hessian()
            product = hessian.reshape(-1)
        put(out, product, self._factor)
        tail[Tail.NONFINITE] = float(not finite)

    def _place(self, out: Tensor, tail: Tensor) -> None:
        """The residuals here among zeros, where they are no others'."""
        values = self._own_rows().values
        finite = values is not None and bool(as_tensor(values).isfinite().all())
        out.zero_()
        if self.places is not None:
            own = out[self.places[self._group.rank]]
            put(own, values) if values is not None else own.fill_(math.nan)
        tail[Tail.RECOVERED] = float(self._runner.recovered)
        tail[Tail.NONFINITE] = float(not (finite or self._runner.recovered))

    def _multiply_rows(self, command: Command, vector: Any, out: Tensor) -> None:
        assert self.places is not None
        rows, place = self._own_rows(), self.places[self._group.rank]
        if command is Command.IMAGE:
            out.zero_()
            put(out[place], rows.product(vector))
        elif command is Command.PULLED:
            put(out, rows.transposed_product(vector[place]))
        else:
            matrix = rows.matrix(vector[place] if self._group.leads else None)
            self._matrix = None if self._group.leads else matrix

    def _own_rows(self) -> Rows[Any]:
        if self._part.rows is None:
            raise ValueError("expected a LeastSquaresWrapper in every process")
        return self._part.rows

    @contextlib.contextmanager
    def _own_error_first(self) -> Iterator[None]:
        """Where a process is lost, what was raised here is raised all the same."""
        try:
            yield
        except OtherProcessError as lost:
            if self.error is not None:
                raise self.error from lost
            raise


def _nothing() -> None:
    pass
