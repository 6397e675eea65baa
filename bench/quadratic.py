"""A problem of any size whose closure costs little, and a replay of a run on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.optimize
import threadpoolctl
import torch
from torch import Tensor, nn

from pytorch_minimize.optim import MinimizeWrapper

from .straightforward import Array

__all__ = ["Quadratic", "Replay"]


class Quadratic:
    """sum d (p - 1)^2 / 2 over several float64 tensors, d between 1e-3 and 1: a slow minimum."""

    def __init__(self, numel: int, tensors: int = 10) -> None:
        curvatures = torch.logspace(-3, 0, numel, dtype=torch.float64)
        self.curvatures = curvatures[torch.randperm(numel)].chunk(tensors)
        self.params = [nn.Parameter(torch.zeros_like(d)) for d in self.curvatures]

    @torch.no_grad()
    def reset(self) -> None:
        for p in self.params:
            p.zero_()

    def loss(self) -> Tensor:
        terms = [
            torch.dot(d, (p - 1).square())
            for d, p in zip(self.curvatures, self.params, strict=True)
        ]
        return torch.stack(terms).sum() / 2

    def closure(self) -> Tensor:
        """Of form 1: it zeroes the gradients and calls backward itself."""
        for p in self.params:
            p.grad = None
        loss = self.loss()
        loss.backward()
        return loss


class Replay:
    """A run of scipy whose every evaluation runs the closure and answers with a known number.

    The path, and so scipy's work, is that of a run made before; nothing crosses between tensors
    and vectors. It costs what a step would if everything between closure and scipy were free,
    the caches that each leaves cold for the other included. scipy's BLAS has one thread, as in
    a step.
    """

    def __init__(self, problem: Quadratic, method: str, options: dict[str, Any]) -> None:
        self.problem = problem
        self.keywords: dict[str, Any] = {"method": method, "options": options}
        self.answers: list[tuple[float, Array]] = []
        self.x0 = np.zeros(sum(p.numel() for p in problem.params))

        def closure() -> Tensor:
            loss = problem.closure()
            grads = [p.grad.numpy() for p in problem.params if p.grad is not None]
            self.answers.append((loss.item(), np.concatenate(grads)))
            return loss

        problem.reset()
        MinimizeWrapper(problem.params, self.keywords).step(closure)
        pools = threadpoolctl.ThreadpoolController()
        private = [p.filepath for p in pools.lib_controllers if "scipy.libs" in p.filepath]
        self.pools = pools.select(filepath=private)

    def __call__(self) -> None:
        answers = iter(self.answers)
        gradient = self.x0

        def fun(x: Array) -> float:
            nonlocal gradient
            self.problem.closure()
            value, gradient = next(answers)
            return value

        with self.pools.limit(limits=1):
            res = scipy.optimize.minimize(fun, self.x0, jac=lambda x: gradient, **self.keywords)
        if res.nfev != len(self.answers):
            raise RuntimeError(f"replayed {res.nfev} of {len(self.answers)} evaluations")
