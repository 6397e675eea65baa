"""What lies between a solver's question and the closure, and back: ours and the peers'.

scipy's front door is left in place, but behind it stands a solver that only asks for value and
gradient at points made beforehand; and the closure only hands out gradients made beforehand. What
is left after the closure's own time is the wrapper, with scipy's memo where it uses ``jac=True``.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from typing import Any
from unittest import mock

import numpy as np
import scipy.optimize
import torch
from scipy.optimize import OptimizeResult
from torch import Tensor, nn

from .peers import OURS, PEERS, SCIPY_PEERS, Peer, Rule, why_not
from .problems import Problem
from .straightforward import Array
from .timing import rounds_of, timed

__all__ = ["FLOOR", "OVERHEAD", "by_size", "by_tensors"]

Row = Mapping[str, Any]

FLOOR = "two copies"
_LEAST_QUESTIONS = 10  # a fit is longer than the two that find no memory of an earlier gradient
OVERHEAD = ("overhead-float64", "overhead-float32", "overhead-tensors")  # the cases of this file


class _Free(torch.autograd.Function):
    """A loss that costs nothing, and whose gradients are there already."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, grads: list[Tensor], *tensors: Tensor) -> Tensor:
        ctx.grads = grads
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Any:
        return None, None, *ctx.grads


def _free(loss: Tensor, grads: list[Tensor], *tensors: Tensor) -> Tensor:
    result: Tensor = _Free.apply(loss, grads, *tensors)  # type: ignore[no-untyped-call]
    return result


class FreeProblem(Problem):
    """A closure that does nothing but set ``.grad``; its losses fall from one to the next."""

    def __init__(self, numel: int, tensors: int, dtype: torch.dtype, questions: int) -> None:
        sizes = [chunk.numel() for chunk in torch.empty(numel).chunk(tensors)]
        self._grads = [torch.full((size,), 0.5, dtype=dtype) for size in sizes]
        losses = torch.linspace(1.0, 0.5, questions, dtype=dtype).unbind()
        self._losses = itertools.cycle(losses)
        super().__init__(
            [nn.Parameter(torch.zeros_like(grad)) for grad in self._grads],
            lambda: next(self._losses),
            lambda *tensors: _free(next(self._losses), self._grads, *tensors),
            resets=False,
        )

    def closure(self) -> Tensor:
        self.evaluations += 1
        for p, grad in zip(self.params, self._grads, strict=True):
            p.grad = grad
        return next(self._losses)


class Questions:
    """Stands in for scipy's solver: asks ``count`` times, and clocks the answers."""

    def __init__(self, numel: int, count: int) -> None:
        # Two in turn, so that no memo knows the point already.
        self._points = [np.full(numel, value) for value in (0.25, 0.75)]
        self.count = count
        self.seconds = 0.0

    def __call__(
        self, fun: Any, x0: Array, *, jac: Any, callback: Any = None, **_: Any
    ) -> OptimizeResult:
        start = perf_counter()
        for i in range(self.count):
            x = self._points[i % 2]
            value, gradient = fun(x), jac(x)
            if callback is not None:
                callback(OptimizeResult(x=x, fun=value))
        self.seconds = perf_counter() - start
        return OptimizeResult(
            x=x, fun=value, jac=gradient, nit=self.count, nfev=self.count, njev=self.count,
            status=1, success=False, message="no more questions",
        )  # fmt: skip

    @contextmanager
    def in_place_of_scipy(self) -> Iterator[None]:
        front = scipy.optimize.minimize

        def minimize(fun: Any, x0: Any, jac: Any = None, callback: Any = None, **_: Any) -> Any:
            return front(fun, x0, jac=jac, callback=callback, method=self)

        with mock.patch.object(scipy.optimize, "minimize", minimize):
            yield


def by_size(dtype: str, sizes: list[int], rounds: int) -> Iterator[Row]:
    """Overhead of one evaluation as n grows, over four tensors."""
    return (_overhead_row(n, 4, getattr(torch, dtype), rounds) for n in sizes)


def by_tensors(numel: int, counts: list[int], dtype: str, rounds: int) -> Iterator[Row]:
    """Overhead of one evaluation as the same n is split over more tensors."""
    return (_overhead_row(numel, count, getattr(torch, dtype), rounds) for count in counts)


def _overhead_row(numel: int, tensors: int, dtype: torch.dtype, rounds: int) -> Row:
    count = max(_LEAST_QUESTIONS, min(200, 2_000_000 // (numel + 200 * tensors)))
    questions = Questions(numel, count)
    problem = FreeProblem(numel, tensors, dtype, questions.count)
    cases: dict[str, Callable[[], float]] = {FLOOR: _two_copies(numel)}
    cases[FLOOR]()
    refusals: dict[str, str] = {}
    for name in SCIPY_PEERS:
        case = _overhead(PEERS[name], problem, questions)
        refusal = why_not(PEERS[name], case)
        if refusal is None:
            cases[name] = case
        else:
            refusals[name] = refusal
    values = rounds_of(cases, rounds)
    seconds = {name: statistics.median(values[name]) for name in cases}
    row = {"n": numel, "tensors": tensors, "dtype": str(dtype).removeprefix("torch.")}
    return {
        **row,
        **{f"{name} us": 1e6 * seconds[name] for name in cases},
        **{f"{name} us": refusals[name] for name in refusals},
        **{f"{name} / ours": seconds[name] / seconds[OURS] for name in cases if name != OURS},
    }


def _overhead(peer: Peer, problem: FreeProblem, questions: Questions) -> Callable[[], float]:
    """Seconds per evaluation outside the closure."""
    leaves = [p.detach().requires_grad_() for p in problem.params]

    def differentiate() -> object:
        return torch.autograd.grad(problem.loss_of(*leaves), leaves)

    closure = differentiate if peer.differentiates else problem.closure

    def case() -> float:
        with questions.in_place_of_scipy():
            peer.run(problem, Rule())
        return questions.seconds / questions.count - timed(closure, questions.count)

    return case


def _two_copies(numel: int) -> Callable[[], float]:
    """The least: x read once and written once, and so the gradient, both in float64."""
    source, target = np.ones(numel), np.zeros(numel)

    def copies() -> None:
        np.copyto(target, source)
        np.copyto(target, source)

    return lambda: timed(copies, max(1, 100_000 // numel))
