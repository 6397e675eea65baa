"""What a run does besides minimising, timed from the inside."""

from __future__ import annotations

import contextlib
import inspect
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast
from unittest import mock

from torch import Tensor

from pytorch_minimize.optim import MinimizeWrapper
from pytorch_minimize.run.watch import Watch
from pytorch_minimize.scipy_minimize.callback import ScipyCallback

from .quadratic import Quadratic
from .timing import medians

__all__ = ["shares"]

Row = Mapping[str, Any]

CLOSURE_SECONDS = 1e-3

LIMITS: Mapping[str, Any] = {"timeout": 1e6, "max_evaluations": 10**9, "rtol": 1e-300}
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "history": {},
    "history, limits": LIMITS,
    # Empty, so that what is left is ours: the model lent, looked at afterwards, x copied.
    "history, empty callback": {},
    "history, empty callback, limits": LIMITS,
    "history, progress bar": {"progress": True},
}


class Stopwatch:
    """Seconds spent in the watch of a run: history, progress, callback, limits."""

    seconds = 0.0

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Inside the block what the watch does is timed; the stopwatch starts from 0."""
        self.seconds = 0.0
        with contextlib.ExitStack() as patches:
            made = ScipyCallback.usual
            usual = lambda callback: self._timed_callback(made(callback) or callback)  # noqa: E731
            patches.enter_context(mock.patch.object(ScipyCallback, "usual", usual))
            for name in ("due", "close"):
                timed = self._timed(getattr(Watch, name))
                patches.enter_context(mock.patch.object(Watch, name, timed))
            yield

    def _timed_callback(self, callback: Callable[..., bool]) -> Callable[..., bool]:
        """It, as scipy knows it; what it holds is not let go of, which would be timed too."""
        timed: Any = self._timed(callback)
        timed.__signature__ = inspect.signature(callback)
        timed.forget = lambda: None
        return cast("Callable[..., bool]", timed)

    def _timed(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **keywords: Any) -> Any:
            start = time.perf_counter()
            returned = method(*args, **keywords)
            self.seconds += time.perf_counter() - start
            return returned

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


def shares(methods: list[str], n: int, maxiter: int, rounds: int) -> list[Row]:
    """Microseconds per iteration beside a closure of 1 ms, and percent of the run."""
    return [
        {"method": method, "with": what, "n": n}
        | medians([_share(method, n, maxiter, "callback" in what, settings) for _ in range(rounds)])
        for method in methods
        for what, settings in SETTINGS.items()
    ]


def _share(
    method: str, n: int, maxiter: int, callback: bool, settings: Mapping[str, Any]
) -> dict[str, float]:
    closure, stopwatch = SlowClosure(n), Stopwatch()
    args: dict[str, Any] = {"method": method, "options": {"maxiter": maxiter, "gtol": 0.0}}
    if callback:
        args["callback"] = lambda xk: None
    optimizer = MinimizeWrapper(closure.problem.params, args, **settings)
    with stopwatch.running():
        optimizer.step(closure)
    return {
        "us": 1e6 * stopwatch.seconds / optimizer.res.nit,
        "percent": 100 * stopwatch.seconds / optimizer.profile.total,
    }
