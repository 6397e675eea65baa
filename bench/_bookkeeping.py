"""What a run does besides minimising, timed from the inside."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from _quadratic import Quadratic
from torch import Tensor

from pytorch_minimize._watch import Watch
from pytorch_minimize.optim import MinimizeWrapper

CLOSURE_SECONDS = 1e-3


class Stopwatch:
    """Seconds spent in the watch of a run: history, progress, callback, limits."""

    seconds = 0.0

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Inside the block what the watch does is timed; the stopwatch starts from 0."""
        self.seconds = 0.0
        with contextlib.ExitStack() as patches:
            for name in ("__call__", "before_evaluation", "close"):
                timed = self._timed(getattr(Watch, name))
                patches.enter_context(mock.patch.object(Watch, name, timed))
            yield

    def _timed(self, method: Callable[..., None]) -> Callable[..., None]:
        def timed(*args: Any, **keywords: Any) -> None:
            start = time.perf_counter()
            method(*args, **keywords)
            self.seconds += time.perf_counter() - start

        return timed


class SlowClosure:
    """A quadratic's closure that takes a millisecond, busy like a real one."""

    def __init__(self, numel: int) -> None:
        self.problem = Quadratic(numel)

    def __call__(self) -> Tensor:
        end = time.perf_counter() + CLOSURE_SECONDS
        loss = self.problem.closure()
        while time.perf_counter() < end:
            pass
        return loss


def share(method: str, numel: int, callback: bool, **settings: Any) -> tuple[float, float]:
    """Microseconds of one run's bookkeeping per iteration, and its share of the run."""
    closure, stopwatch = SlowClosure(numel), Stopwatch()
    args: dict[str, Any] = {"method": method, "options": {"maxiter": 200, "gtol": 0.0}}
    if callback:
        args["callback"] = lambda xk: None
    optimizer = MinimizeWrapper(closure.problem.params, args, **settings)
    with stopwatch.running():
        optimizer.step(closure)
    return 1e6 * stopwatch.seconds / optimizer.res.nit, stopwatch.seconds / optimizer.profile.total
