"""The process that runs the solver: it evaluates in all of them, and tells them how it ended."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from typing import Any, Generic

import torch
from torch import Tensor

from ..bridge.interface import Bridge, V
from ..record.profile import Profile
from ..typing import Array, Loss
from .errors import OtherProcessError
from .messages import TAIL, Command, End, Tail, as_vector, device_of, send
from .share import Curvature, Many, Partners, Share

__all__ = ["Leader", "SharedCurvature"]


class Leader(Generic[V]):
    """Evaluates in all processes, for an evaluator that would else run the closure here alone.

    It stands in for a runner of the closure: what its methods return is of the whole run. One
    broadcast of x and one sum of the gradients make an evaluation, whatever the number of
    parameters; what else is to be known rides along.

    Args:
        run: of all processes.
        bridge: over the parameters.
        many: losses of many points here, where the optimizer has a way.

    Attributes:
        where: the point that is asked for next; set by the evaluator.
        best: the best point so far; set by the run.
        recovered: whether the last loss stands for an exception that the closure may raise.
        has_ended: the others have been told so.
    """

    where: Callable[[], V]
    best: Callable[[], V]

    def __init__(self, run: Partners, bridge: Bridge, many: Many | None) -> None:
        self._run, self._many = run, many
        self._group, self._signals, self._runner = run.group, run.signals, run.runner
        self._numel = bridge.numel
        (self._message,) = run.points
        self._share: Share[Any] = Share(run, bridge, None, many)
        self._device: torch.device | None = None
        self._last: V | None = None  # the point that all processes are at
        self._best_told: V | None = None  # which they keep
        self._gradient: tuple[V, bool] | None = None
        self.recovered = False
        self.has_ended = False
        self.where = self.best = bridge.flatten_params  # type: ignore[assignment]

    def join(
        self, bridge: Bridge[V], curvature: Curvature | None
    ) -> tuple[Leader[V], SharedCurvature | None]:
        """What evaluates in all processes, in the place of the runner and of the curvature here.

        Args:
            bridge: to the vectors of the solver.
            curvature: of the closure here.
        """
        self._share = Share(self._run, bridge, curvature, self._many)
        self._device = device_of(bridge)
        if curvature is None:
            return self, None
        return self, SharedCurvature(self, curvature, self._run.profile)

    def forget(self) -> None:
        """The run is over: keep nothing of it alive."""
        self._last = self._best_told = self._gradient = None
        del self.where, self.best

    @property
    def recover(self) -> tuple[type[Exception], ...]:
        """Exceptions that stand for a loss of NaN."""
        recover: tuple[type[Exception], ...] = self._runner.recover
        return recover

    @property
    def recovered_why(self) -> str:
        """The last of them, in words."""
        return self._runner.recovered_why or "what recover names, in another process"

    def clear_grads(self) -> None:
        self._runner.clear_grads()

    def value(self) -> float:
        """The loss."""
        return self._evaluate(Command.VALUE)

    def value_and_gradient(self) -> float:
        """The loss; :meth:`gradient` has the gradient."""
        return self._evaluate(Command.GRADIENT)

    def curved(self) -> float:
        """The same, and products with the Hessian may follow."""
        return self._evaluate(Command.CURVED)

    def gradient(self) -> tuple[V, bool]:
        """The gradient at the last point, a fresh vector; and whether all of it is finite."""
        assert self._gradient is not None
        return self._gradient

    def is_at(self, point: V | None) -> bool:
        """Whether that is where all processes are."""
        return point is not None and self._last is point

    def products(self, command: Command, v: Array | None = None) -> tuple[Array, bool]:
        """H v, or H, at the last point; and whether all of it is finite."""
        vector: Any = self.where() if v is None else v
        total, tail = self._together(command, vector, v)
        # A Hessian goes to scipy; a product to whoever multiplies, as vectors of that kind.
        device = self._device if command is Command.PRODUCT else None
        return self._lent(total, device), not tail[Tail.NONFINITE]

    def many(self, points: Array) -> tuple[Array, int]:
        """The losses at points (S, n), and how many stand for an exception."""
        flat = torch.from_numpy(points).reshape(-1).to(self._group.device)
        total, tail = self._together(
            Command.MANY, self.where(), points, lambda: self._group.broadcast(flat)
        )
        return self._lent(total, None), int(tail[Tail.RECOVERED] > 0)

    def done(self, x: V, gradient: V | None, told: Any) -> None:
        """The run has ended well; every process is to hold the same.

        Args:
            x: where it ended.
            gradient: there, if there is one.
            told: what else they are to know.
        """
        best = self.best()
        with self._signals.held():
            self.has_ended = True
            self._send(Command.DONE, x)
            knows_best = best is self._best_told
            parts = End(told, gradient is not None, not knows_best)
            content = torch.frombuffer(bytearray(pickle.dumps(parts)), dtype=torch.uint8)
            size = torch.tensor([float(len(content))], dtype=torch.float64)
            self._group.broadcast(size.to(self._group.device))
            self._group.broadcast(content.to(self._group.device))
            for vector in (gradient, None if knows_best else best):
                if vector is not None:
                    send(self._group, self._message, vector, Command.DONE)

    def failed(self, error: BaseException | None) -> dict[int, str]:
        """The run has ended by an exception here or elsewhere; nothing where that is known.

        Returns:
            What each process has raised.
        """
        if self.has_ended or self._group.is_lost:
            return {}
        with self._signals.held():
            self.has_ended = True
            self._send(Command.FAILED, self.best())
            return self._group.tell(error)

    def _evaluate(self, command: Command) -> float:
        x = self.where()
        total, tail = self._together(command, x)
        self._last, self._gradient = x, None
        self.recovered = bool(tail[Tail.RECOVERED] > 0 and not tail[Tail.NONFINITE])
        if command is not Command.VALUE:
            finite = all(map(math.isfinite, total[:-TAIL].aminmax()))
            self._gradient = self._lent(total, self._device), finite
        return tail[Tail.LOSS]

    def _together(
        self,
        command: Command,
        vector: Any,
        factor: Any = None,
        then: Callable[[], None] | None = None,
    ) -> tuple[Tensor, list[float]]:
        """One exchange: a vector to all, a sum from all."""
        if self.has_ended:
            raise OtherProcessError("the run has ended in every process")
        with self._signals.held():
            total = self._share.room(command, factor)
            self._send(command, vector, float(len(total) - TAIL))
            if then is not None:
                then()
            self._share.add(command, total, factor)
            tail: list[float] = total[-TAIL:].tolist()
            if tail[Tail.FAILED]:
                self._raise_what_was_raised()
        return total, tail

    def _lent(self, total: Tensor, device: torch.device | None) -> Any:
        """A sum without its tail, as a vector."""
        vector = as_vector(total[:-TAIL], device)
        self._share.lend(total, vector)
        return vector

    def _send(self, command: Command, vector: Any, number: float = 0.0) -> None:
        is_best = self._last is not None and self.best() is self._last
        if is_best:
            self._best_told = self._last
        send(self._group, self._message, vector, command, float(is_best), number)

    def _raise_what_was_raised(self) -> None:
        error, self._share.error = self._share.error, None
        texts = self.failed(error)
        try:
            raise error if error is not None else OtherProcessError.of(texts, self._group.size)
        finally:
            del error  # whose traceback holds this frame


class SharedCurvature:
    """Products with the Hessian of the whole loss; see `Curvature` in `curvature/strategies.py`.

    Processes multiply where they all have evaluated: elsewhere they do that first.

    Attributes:
        value: the loss, where a product needed an evaluation before it.
    """

    def __init__(self, leader: Leader[Any], own: Curvature, profile: Profile) -> None:
        self._leader, self._own, self._profile = leader, own, profile
        self._at: Any = None
        self.value: Loss | None = None

    def evaluate(self) -> Loss:
        """The loss; the gradient is the leader's."""
        value = self._leader.curved()
        self._at = self._leader.where()
        return value

    def product(self, v: Array) -> tuple[Array, bool]:
        """H v, shape (n,), a fresh array; and whether all of it is finite."""
        self._require_evaluation()
        return self._leader.products(Command.PRODUCT, v)

    def hessian(self) -> tuple[Array, bool]:
        """A fresh matrix whose symmetric part is H; and whether all of it is finite."""
        self._require_evaluation()
        hessian, finite = self._leader.products(Command.HESSIAN)
        n = math.isqrt(len(hessian))
        return hessian.reshape(n, n), finite

    def drop(self) -> None:
        """The parameters change, or the run is over."""
        self._at = self.value = None
        self._own.drop()

    def _require_evaluation(self) -> None:
        if not (self._at is self._leader.where() and self._leader.is_at(self._at)):
            self._profile.begin("closure", "closure")
            self.value = self.evaluate()
            self._profile.begin("curvature")
