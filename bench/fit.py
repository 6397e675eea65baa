"""What a fit costs besides the closure: per evaluation, per step, and against simpler code.

    python bench/fit.py [--json bench/results/fit.json] [--rounds 7]

Five tables: the seconds per evaluation that the closure, the bridge and scipy take as n
grows; what remains at n = 100 when the closure and scipy are subtracted; history, callback and
limits as a share of a run; a whole fit beside the straightforward wrapper; a whole step on a tiny
problem beside plain scipy. What is compared takes turns in one run, and medians are printed.
"""

from __future__ import annotations

import argparse
import pathlib
import statistics
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.optimize
import torch
from _bookkeeping import share
from _quadratic import Quadratic, Replay
from _report import Row, headline, interleaved, table, write
from _straightforward import Array, minimize
from torch import Tensor, nn

from pytorch_minimize.optim import MinimizeWrapper

sys.path.append(str(pathlib.Path(__file__).parent.parent / "examples"))
import digits

BOOKKEEPING: dict[str, dict[str, Any]] = {
    "history": {},
    "history, callback": {},
    "history, callback, limits": {"timeout": 1e6, "max_evaluations": 10**9, "rtol": 1e-300},
    "history, progress bar": {"progress": True},
}


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

    seconds = interleaved({"step": step, "replay": replay}, rounds=20 * rounds)
    per_evaluation = 1e6 / len(replay.answers)
    return {
        "method": method,
        "n": 100,
        "evaluations": len(replay.answers),
        "step us": per_evaluation * seconds["step"],
        "closure and scipy us": per_evaluation * seconds["replay"],
        "overhead us": per_evaluation * (seconds["step"] - seconds["replay"]),
        "bridge us": per_evaluation * statistics.median(bridge),
    }


def bookkeeping_row(method: str, case: str, rounds: int, **settings: Any) -> Row:
    """What the watch of a run takes beside a closure of a millisecond."""
    runs = [share(method, 1_000, "callback" in case, **settings) for _ in range(rounds)]
    us, of_run = (statistics.median(values) for values in zip(*runs, strict=True))
    return {"method": method, "with": case, "n": 1_000, "us per iteration": us, "share": of_run}


def digits_row(dtype: torch.dtype, rounds: int) -> Row:
    """Seconds of one fit of the digits MLP: ours, and the straightforward wrapper."""
    data = digits.load("cpu", dtype, seed=0)
    args = {"method": "L-BFGS-B", "options": {"maxiter": 300}}
    results: dict[str, scipy.optimize.OptimizeResult] = {}

    def fit(name: str, run: Callable[..., scipy.optimize.OptimizeResult]) -> Callable[[], None]:
        def case() -> None:
            model = digits.make_model("mlp", "cpu", dtype, seed=0)
            results[name] = run(model, lambda: digits.objective(model, data))

        return case

    def ours(model: nn.Module, closure: Callable[[], Tensor]) -> scipy.optimize.OptimizeResult:
        optimizer = MinimizeWrapper(model.parameters(), args)
        optimizer.step(closure)
        return optimizer.res

    def theirs(model: nn.Module, closure: Callable[[], Tensor]) -> scipy.optimize.OptimizeResult:
        return minimize(model.parameters(), closure, **args)

    cases = {"ours": fit("ours", ours), "straightforward": fit("straightforward", theirs)}
    seconds = interleaved(cases, rounds=rounds)
    return {
        "dtype": str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        **{f"{name} s": time for name, time in seconds.items()},
        "ratio": seconds["straightforward"] / seconds["ours"],
        **{f"{name} evaluations": res.nfev for name, res in results.items()},
        **{f"{name} loss": float(res.fun) for name, res in results.items()},
    }


def tiny_row(method: str, rounds: int) -> Row:
    """Milliseconds of a step on a quadratic of four parameters, and of scipy on the same."""
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

    seconds = interleaved({"step": step, "scipy": plain}, rounds=100 * rounds)
    ms = {f"{name} ms": 1e3 * time for name, time in seconds.items()}
    return {"method": method, **ms, "more ms": ms["step ms"] - ms["scipy ms"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=pathlib.Path, default="bench/results/fit.json")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    rounds = arguments.rounds
    torch.manual_seed(0)
    print(headline())

    sections: dict[str, tuple[str, Callable[[], list[Row]]]] = {
        "evaluation": (
            "Per evaluation as n grows; to reach: bridge/solver at most 0.02 at n = 1e6",
            lambda: [
                evaluation_row(method, numel, rounds)
                for method in ("L-BFGS-B", "CG")
                for numel in (1_000, 100_000, 1_000_000)
            ],
        ),
        "overhead": (
            "Outside closure and scipy; to reach: at most 15 us per evaluation",
            lambda: [
                overhead_row("L-BFGS-B", {"gtol": 0.0, "ftol": 0.0}, rounds),
                overhead_row("CG", {"gtol": 0.0}, rounds),
                overhead_row("BFGS", {"gtol": 0.0}, rounds),
            ],
        ),
        "bookkeeping": (
            "History, callback and limits where the closure takes 1 ms; to reach: below 0.01",
            lambda: [
                bookkeeping_row(method, case, rounds, **settings)
                for method in ("L-BFGS-B", "CG")
                for case, settings in BOOKKEEPING.items()
            ],
        ),
        "digits": (
            "A fit of the digits MLP by L-BFGS-B; to reach: ratio at least 2",
            lambda: [digits_row(dtype, rounds) for dtype in (torch.float32, torch.float64)],
        ),
        "tiny": (
            "A step on four parameters; to reach: at most 0.5 ms more than scipy",
            lambda: [tiny_row(method, rounds) for method in ("L-BFGS-B", "BFGS")],
        ),
    }
    rows: list[Row] = []
    for name, (title, measure) in sections.items():
        measured = measure()
        print(f"\n{title}\n{table(measured)}", flush=True)
        rows += [{"section": name, **row} for row in measured]
    write(arguments.json, rows)


if __name__ == "__main__":
    main()
