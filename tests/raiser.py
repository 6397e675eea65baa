"""Closures that remember what they were asked, and may raise."""

from __future__ import annotations

from instance import Array, Instance
from torch import Tensor


class ClosureError(Exception):
    """One that no library knows."""


class Abort(BaseException):
    """One that `except Exception` does not catch."""


class Raiser:
    """Runs an instance's closure, remembers losses and points, and raises `error` in call `at`."""

    def __init__(
        self, instance: Instance, error: BaseException | None = None, at: int = 0, *, form: int
    ) -> None:
        self.instance, self.error, self.at = instance, error, at
        self.evaluate = instance.closure(form)
        self.seen: list[tuple[float, Array]] = []

    def __call__(self) -> Tensor:
        if self.error is not None and len(self.seen) + 1 == self.at:
            raise self.error
        loss = self.evaluate()
        self.seen.append((loss.item(), self.instance.x))
        return loss

    @property
    def best(self) -> Array:
        return min(self.seen, key=lambda pair: pair[0])[1]
