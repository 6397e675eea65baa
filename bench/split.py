"""Where a step's time goes as n grows, and what a step costs that is over at once."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import scipy.optimize
import torch
from torch import Tensor, nn

from pytorch_minimize.optim import MinimizeWrapper
from pytorch_minimize.record.profile import Profile

from .quadratic import Quadratic, Replay
from .straightforward import Array
from .timing import interleaved, timed

__all__ = ["by_part", "fixed_costs"]

Row = Mapping[str, Any]


def by_part(methods: list[str], sizes: list[int], rounds: int) -> Iterator[Row]:
    """Milliseconds per evaluation by part, for each method and n."""
    return (evaluation_row(method, n, rounds) for method in methods for n in sizes)


def fixed_costs(rounds: int) -> list[Row]:
    """Of an evaluation at n = 100, of a step on four parameters, and of the profile."""
    return [
        overhead_row("L-BFGS-B", {"gtol": 0.0, "ftol": 0.0}, rounds),
        overhead_row("CG", {"gtol": 0.0}, rounds),
        overhead_row("BFGS", {"gtol": 0.0}, rounds),
        tiny_row("L-BFGS-B", rounds),
        tiny_row("BFGS", rounds),
        profile_row(1000 * rounds),
    ]


def evaluation_row(method: str, numel: int, rounds: int) -> Row:
    """Milliseconds per evaluation by part, as the optimizer's own profile has them.

    `crossing` is a load_params and a flatten_grads by themselves; the `bridge` of the profile
    also has the memo's copy and comparisons, and the record of the iteration.
    """
    problem = Quadratic(numel)
    args = {"method": method, "options": {"maxiter": 30, "gtol": 0.0}}
    optimizer = MinimizeWrapper(problem.params, args)
    x = optimizer.bridge.flatten_params()
    parts: dict[str, list[float]] = {"closure": [], "bridge": [], "solver": []}

    def step() -> None:
        problem.reset()
        optimizer.step(problem.closure)
        for part, values in parts.items():
            values.append(1e3 * getattr(optimizer.profile, part) / optimizer.res.nfev)

    def crossing() -> None:
        optimizer.bridge.load_params(x)
        optimizer.bridge.flatten_grads()

    seconds = interleaved({"step": step, "crossing": crossing}, rounds=rounds)
    ms = {f"{part} ms": statistics.median(values[1:]) for part, values in parts.items()}
    ms["crossing ms"] = 1e3 * seconds["crossing"]
    return {
        "method": method,
        "n": numel,
        **ms,
        "bridge/solver": ms["bridge ms"] / ms["solver ms"],
        "crossing/solver": ms["crossing ms"] / ms["solver ms"],
    }


def overhead_row(method: str, options: dict[str, Any], rounds: int) -> Row:
    """Microseconds per evaluation of a step that neither the closure nor scipy accounts for."""
    problem = Quadratic(100, tensors=4)
    replay = Replay(problem, method, {"maxiter": 60} | options)
    optimizer = MinimizeWrapper(problem.params, replay.keywords)
    bridge = []

    def step() -> None:
        problem.reset()
        optimizer.step(problem.closure)
        bridge.append(optimizer.profile.bridge)

    seconds = interleaved({"step": step, "replay": replay}, rounds=rounds)
    per_evaluation = 1e6 / len(replay.answers)
    return {
        "what": f"an evaluation of {method} at n = 100",
        "evaluations": len(replay.answers),
        "step us": per_evaluation * seconds["step"],
        "closure and scipy us": per_evaluation * seconds["replay"],
        "us": per_evaluation * (seconds["step"] - seconds["replay"]),
        "bridge us": per_evaluation * statistics.median(bridge),
    }


def profile_row(number: int) -> Row:
    """Microseconds per evaluation of the clock and the counts themselves."""
    profile = Profile()
    profile.start()

    def evaluation() -> None:
        # fun, the closure, jac, and the callback of the iteration.
        profile.begin("bridge", "fun")
        profile.begin("closure", "closure")
        profile.begin("bridge")
        profile.begin("solver")
        profile.begin("bridge", "jac")
        profile.begin("solver")
        profile.begin("bridge")
        profile.begin("solver")

    return {"what": "the profile, per evaluation", "us": 1e6 * timed(evaluation, number)}


def tiny_row(method: str, rounds: int) -> Row:
    """Microseconds of a step on a quadratic of four parameters, and of scipy on the same."""
    centre = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    scale = torch.tensor([1.0, 10.0, 3.0, 0.3], dtype=torch.float64)

    def loss(x: Tensor) -> Tensor:
        return (scale * (x - centre).square()).sum()

    def value_and_grad(x: Array) -> tuple[float, Array]:
        leaf = torch.from_numpy(x).requires_grad_()
        value = loss(leaf)
        value.backward()
        assert leaf.grad is not None
        return value.item(), leaf.grad.numpy()

    x = nn.Parameter(torch.zeros(4, dtype=torch.float64))
    optimizer = MinimizeWrapper([x], {"method": method})

    def step() -> None:
        with torch.no_grad():
            x.zero_()
        optimizer.step(lambda: loss(x))

    def plain() -> None:
        scipy.optimize.minimize(value_and_grad, np.zeros(4), jac=True, method=method)

    seconds = interleaved({"step": step, "scipy": plain}, rounds=5 * rounds)
    us = {f"{name} us": 1e6 * time for name, time in seconds.items()}
    what = f"a step of {method} on four parameters, beyond scipy's"
    return {"what": what, **us, "us": us["step us"] - us["scipy us"]}
