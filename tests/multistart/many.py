"""Losses of many points whose rows have the bits that one point alone has, and their starts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.optimize import BFGS
from torch import Tensor, nn

from pytorch_minimize.optim import MinimizeWrapper, MultiStartWrapper

N = 4
STARTS = np.random.default_rng(3).uniform(-1.5, 1.5, (7, N))

# Every method that uses gradients alone, with what it needs to do so and to end soon.
METHODS: dict[str, dict[str, Any]] = {
    "CG": {},
    "BFGS": {},
    "L-BFGS-B": {},
    "TNC": {},
    "SLSQP": {},
    "trust-constr": {"hess": BFGS(), "options": {"maxiter": 15}},
    "torch-BFGS": {},
    "SSBFGS": {},
    "SSBroyden": {},
    "torch-L-BFGS": {},
    "SS-L-BFGS": {},
    "torch-CG": {},
}


def rosenbrock(x: Tensor) -> Tensor:
    """x of shape (..., n) -> losses of shape (...)."""
    return (100 * (x[..., 1:] - x[..., :-1] ** 2) ** 2 + (1 - x[..., :-1]) ** 2).sum(-1)


def threads_left() -> list[str]:
    """Names of threads of runs that have not ended.

    One that an interrupt kept from starting is enumerated for ever, and not alive.
    """
    threads = (thread for thread in threading.enumerate() if thread.is_alive())
    return [thread.name for thread in threads if thread.name.startswith("run ")]


class Many:
    """A model of two parameters, its closure, and the losses of many settings, one by one.

    Args:
        loss: of a flat point; rows are handed over one after the other, so that each has the bits
            that it has alone.
        dtype: of the parameters.

    Attributes:
        closures, rounds, points: how often the closure ran, the losses of many were asked for,
            and of how many points in all.
    """

    def __init__(
        self,
        loss: Callable[[Tensor], Tensor] = rosenbrock,
        dtype: torch.dtype = torch.float64,
        n: int = N,
    ) -> None:
        self._loss = loss
        self.params = [
            nn.Parameter(torch.zeros(1, dtype=dtype)),
            nn.Parameter(torch.zeros(n - 1, dtype=dtype)),
        ]
        self.closures = self.rounds = self.points = 0

    @property
    def x(self) -> Any:
        return torch.cat([p.detach() for p in self.params]).double().numpy()

    def closure(self) -> Tensor:
        self.closures += 1
        return self._loss(torch.cat(self.params))

    def losses(self, stacks: list[Tensor]) -> Tensor:
        self.rounds += 1
        rows = torch.cat(stacks, dim=1)
        self.points += len(rows)
        return torch.stack([self._loss(row) for row in rows])

    def optimizer(self, method: str = "L-BFGS-B", **more: Any) -> MultiStartWrapper:
        """With those of ``more`` that are not arguments of the method."""
        arguments = {"method": method, **METHODS.get(method, {}), **more.pop("arguments", {})}
        return MultiStartWrapper(self.params, arguments, **{"starts": STARTS, **more})

    def alone(self, start: Any, method: str = "L-BFGS-B", **arguments: Any) -> Any:
        """The result of one run by MinimizeWrapper."""
        with torch.no_grad():
            for param, part in zip(self.params, np.split(np.asarray(start), [1]), strict=True):
                param.copy_(torch.from_numpy(part))
        given = {"method": method, **METHODS.get(method, {}), **arguments}
        optimizer = MinimizeWrapper(self.params, given)
        optimizer.step(self.closure)
        return optimizer.res
