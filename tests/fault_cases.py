"""Steps of several ranks in one of which something happens."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any, NamedTuple

import torch
from scipy.optimize import OptimizeResult
from together_cases import Shared
from torch import Tensor

from pytorch_minimize import optim
from pytorch_minimize.typing import Array

ITERATIONS = 8


_IN_CALLBACKS = ("callback", "stop", "interrupted callback")


class Fault(Exception):
    """What a rank raises."""


class Left(NamedTuple):
    """How a rank came out of a step in which something happened.

    Attributes:
        raised: the kind of the exception, "" for none.
        message: its own.
        calls: of the closure.
        points: where it was called.
        x: where the parameters were left.
        status: of the result, if there is one.
        after: where the next step ended, and its loss.
    """

    raised: str
    message: str
    calls: int
    points: list[Array]
    x: Array
    status: int | None
    after: tuple[list[float], float] | None


def _interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


class _Faulty:
    """A fit, and what happens in it, once."""

    def __init__(self, rank: int, size: int, kind: str, at: int, method: str) -> None:
        self.kind, self.at, self.calls = kind, at, 0
        self.shared = Shared(rank, size)
        self.points: list[Array] = []
        self.timer: threading.Timer | None = None
        args = {"method": method, "options": {"maxiter": ITERATIONS}, "callback": self.called_back}
        keywords: dict[str, Any] = {"timeout": 0.02} if kind == "timeout" else {}
        if kind == "nonfinite":
            keywords["nonfinite"] = "raise"
        self.optimizer = optim.MinimizeWrapper(
            self.shared.model.parameters(),
            args,
            distributed=True,
            weight=self.shared.weight,
            **keywords,
        )

    def closure(self) -> Tensor:
        self.calls += 1
        self.points.append(self.optimizer.bridge.flatten_params())
        if self.kind == "timeout":
            time.sleep(0.01)
        if self.calls == self.at and self.kind not in _IN_CALLBACKS:
            kind, self.kind = self.kind, ""
            if kind == "raise":
                raise Fault("of this rank")
            if kind == "interrupt":
                _interrupt()
                time.sleep(1.0)  # it comes before this is over
            if kind == "exit":
                raise SystemExit(3)
            if kind == "late interrupt":
                self.timer = threading.Timer(0.003, _interrupt)
                self.timer.start()
            if kind == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if kind == "nonfinite":
                return torch.tensor(torch.nan)
        return self.shared.loss()

    def called_back(self, intermediate_result: OptimizeResult) -> None:
        if len(self.optimizer.history) != self.at or self.kind not in _IN_CALLBACKS:
            return
        kind, self.kind = self.kind, ""
        if kind == "callback":
            raise Fault("of the callback")
        if kind == "stop":
            raise StopIteration
        if kind == "interrupted callback":
            _interrupt()
            time.sleep(1.0)

    def step(self) -> BaseException | None:
        try:
            self.optimizer.step(self.closure)
            if self.timer is not None:
                self.timer.join()
                time.sleep(0.01)  # for Python to see it
        except BaseException as error:
            return error
        return None


def faulty(rank: int, size: int, who: list[int], kind: str, at: int, method: str) -> Left:
    """A step in which something happens in some ranks, and one more in which nothing does."""
    is_here = rank in who
    # What is said of the whole run must be said in all.
    everywhere = kind in ("timeout", "nonfinite")
    run = _Faulty(rank, size, kind if is_here or everywhere else "", at if is_here else 0, method)
    error = run.step()
    res = run.optimizer.res
    left = Left(
        type(error).__name__ if error is not None else "",
        str(error),
        run.calls,
        list(run.points),
        run.optimizer.bridge.flatten_params(),
        None if res is None else int(res.status),
        None,
    )
    if kind == "kill":
        return left
    run.kind = ""
    run.optimizer._settings.__dict__["timeout"] = None
    loss = run.optimizer.step(run.closure)
    return left._replace(after=(run.optimizer.bridge.flatten_params().tolist(), float(loss)))


def lowest(size: int, points: list[Array]) -> Array:
    """That of the points with the lowest loss of all shares."""
    shares = [Shared(rank, size) for rank in range(size)]
    bridges = [optim.MinimizeWrapper(s.model.parameters(), {}).bridge for s in shares]

    def loss(x: Array) -> float:
        total = 0.0
        for share, bridge in zip(shares, bridges, strict=True):
            bridge.load_params(x)
            total += share.weight * share.loss().item()
        return total

    return min(points, key=loss)


def killed(
    rank: int, size: int, who: int, at: int, path: str
) -> tuple[str, str, list[Array], Array]:
    """A run with a checkpoint, in which a rank is killed."""
    run = _Faulty(rank, size, "kill" if rank == who else "", at, "L-BFGS-B")
    run.optimizer._settings.__dict__["checkpoint"] = (path, 0.0)
    start = time.perf_counter()
    error = run.step()
    assert time.perf_counter() - start < 20.0
    x = run.optimizer.bridge.flatten_params()
    again = run.step()  # there is nobody to make it with
    assert type(again).__name__ == "OtherProcessError"
    return type(error).__name__, str(error), run.points, x
