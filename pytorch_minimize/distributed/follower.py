"""A process that evaluates what the leader asks for, until it is told how the run ended."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..bridge.interface import Bridge
from ..bridge.make import tensor_bridge
from .errors import OtherProcessError
from .messages import HEADER, Command, End, as_vector
from .partners import Part, Partners
from .share import Share

__all__ = ["POINTS", "Told", "follow"]

_AT_A_POINT = (Command.VALUE, Command.GRADIENT, Command.CURVED, Command.ROWS)

POINTS = 3
"""That may be alive at once in a follower: the best, the last, and the one that comes in."""


@dataclass(frozen=True)
class Told:
    """How the leader says that the run ended.

    Attributes:
        x: where, an array.
        gradient: there; None for none.
        best: the best point.
        more: what the leader told besides.
    """

    x: Any
    gradient: Any
    best: Any
    more: Any


class _Follower:
    def __init__(self, run: Partners, bridge: Bridge, part: Part) -> None:
        on_card = run.group.device.type != "cpu"
        self._bridge: Bridge[Any] = tensor_bridge(bridge) if on_card else bridge
        self._device = run.group.device if on_card else None
        self._share: Share[Any] = Share(run, self._bridge, part)
        self._group, self._profile = run.group, run.profile
        self._points = run.points
        self._last: Tensor | None = None
        self._best: Tensor | None = None

    def follow(self) -> Told:
        self._profile.begin("communication")
        try:
            while True:
                message = self._next()
                self._group.broadcast(message)
                command, is_best, number = message[-HEADER:].tolist()
                if is_best:
                    self._best = self._last
                if command == Command.DONE:
                    return self._end(message)
                if command == Command.FAILED:
                    self._fail(message)
                self._answer(Command(int(command)), message, int(number))
        except BaseException:
            if self._group.is_lost and self._best is not None:
                self._share.move()
                self._bridge.load_params(self._vector(self._best))
            raise

    def _next(self) -> Tensor:
        """A buffer that holds neither the last point nor the best."""
        kept = (self._last, self._best)
        return next(p for p in self._points if all(p is not each for each in kept))

    def _answer(self, command: Command, message: Tensor, number: int) -> None:
        if command is Command.COLLECT:
            self._share.collect(None)
            return
        vector = self._vector_of(command, message, number)

        def before() -> None:
            if command in _AT_A_POINT:
                self._profile.begin("bridge")
                self._share.move()
                self._bridge.load_params(self._vector(message))
                self._profile.begin("closure", "closure")
            else:
                self._profile.begin("closure" if command is Command.MANY else "curvature")

        if command in _AT_A_POINT:
            self._last = message
        if command is Command.ROWS:
            self._share.rows(before)
        else:
            self._share.add(command, self._share.room(command, vector), vector, before)
        self._profile.begin("communication")

    def _vector_of(self, command: Command, message: Tensor, number: int) -> Any:
        """What is to be multiplied, or the points of which the losses are asked for."""
        if command is Command.PRODUCT:
            return as_vector(message[:-HEADER], None)
        if command is Command.IMAGE:
            return self._vector(message)
        if command is Command.PULLED:
            return as_vector(self._received(self._share.count), self._device)
        if command is Command.MANY:
            points = self._received(number * self._bridge.numel)
            return as_vector(points, None).reshape(number, -1)
        return None

    def _vector(self, message: Tensor) -> Any:
        return as_vector(message[:-HEADER], self._device)

    def _end(self, message: Tensor) -> Told:
        size = self._group.empty(1)
        self._group.broadcast(size)
        content = self._group.empty(int(size), torch.uint8)
        self._group.broadcast(content)
        end: End = pickle.loads(content.cpu().numpy().tobytes())
        size_of_message = self._bridge.numel + HEADER
        gradient = self._received(size_of_message) if end.has_gradient else None
        best = self._received(size_of_message) if end.has_best else self._best
        x, gradient, best = (
            None if part is None else as_vector(part[:-HEADER], None)
            for part in (message, gradient, best)
        )
        return Told(x, gradient, best, end.told)

    def _received(self, size: int) -> Tensor:
        buffer = self._group.empty(size)
        self._group.broadcast(buffer)
        return buffer

    def _fail(self, message: Tensor) -> None:
        error, self._share.error = self._share.error, None
        texts = self._group.tell(error)
        self._share.move()
        self._bridge.load_params(self._vector(message))
        try:
            raise error if error is not None else OtherProcessError.of(texts, self._group.size)
        finally:
            del error  # whose traceback holds this frame


def follow(run: Partners, bridge: Bridge, part: Part) -> Told:
    """Evaluate for the leader to the end of the run.

    Args:
        run: of all processes; signals are held when it begins.
        bridge: over the parameters.
        part: what is computed here.

    Raises:
        OtherProcessError: another process raised; the parameters are at the best point.
        Anything that was raised here: likewise.
    """
    return _Follower(run, bridge, part).follow()
