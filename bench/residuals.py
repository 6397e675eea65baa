"""Least squares: certified digits of NIST's regressions, and what a Jacobian costs.

    python -m bench.residuals [--residuals 20000] [--width 42] [--out bench/results]

Digits are those of the parameter, and of the standard deviation, that is furthest from NIST's, in
fits with tolerances near the machine epsilon; scipy alone takes its own differences ("2-point").

A Jacobian of 20000 residuals by 1975 parameters, a network's on as many points, is taken in ways
that take turns, and its time stated in evaluations of the closure, forward and backward. Those that
go row by row would take minutes: they take 1 row in 100, and their time is that times 100. Peak
memory is that of a process which takes it once, less what that had before, in units of the
Jacobian itself.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import scipy.optimize
import torch
from torch import Tensor, nn

from pytorch_minimize.optim import LeastSquaresWrapper

from .environment import environment, headline
from .memory import peak_bytes
from .nist import PROBLEMS, Problem, correct_digits
from .rows import Row, table

__all__ = ["digits", "jacobians", "main"]

TIGHT = {"ftol": 3e-16, "xtol": 3e-16, "gtol": 3e-16, "max_nfev": 20000, "x_scale": "jac"}
OURS = ("trf", "lm", "torch-lm")
PART = 100  # of the rows, one in so many is taken where each takes long


def digits() -> list[Row]:
    """For each regression and start: digits of parameters and deviations, and evaluations."""
    return [
        {
            "problem": name,
            "start": start,
            **{method: _ours(problem, start, method) for method in OURS},
            **{f"scipy alone, {method}": _scipys(problem, start, method) for method in OURS[:2]},
        }
        for name, problem in PROBLEMS.items()
        for start in (1, 2)
    ]


def _ours(problem: Problem, start: int, method: str) -> dict[str, float]:
    b = problem.start(start)
    optimizer = LeastSquaresWrapper([b], {"method": method, **TIGHT})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # models overflow far away
        optimizer.step(lambda: problem.residuals(b))
        deviations = optimizer.covariance().errors
    return _row(problem, optimizer.res.x, deviations, optimizer.res.nfev)


def _scipys(problem: Problem, start: int, method: str) -> dict[str, float]:
    def residuals(x: Any) -> Any:
        return problem.residuals(torch.from_numpy(x)).numpy()

    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            res = scipy.optimize.least_squares(
                residuals, np.array(problem.starts[start - 1]), method=method, **TIGHT
            )
        except ValueError:  # of differences that are not finite
            return {"parameters": -np.inf, "deviations": -np.inf, "nfev": 0}
        _, singular, vt = np.linalg.svd(res.jac, full_matrices=False)
        variance = 2 * res.cost / (res.fun.size - res.x.size)
        deviations = np.sqrt(np.diag((vt.T / singular**2) @ vt) * variance)
    return _row(problem, res.x, deviations, res.nfev)


def _row(problem: Problem, x: Any, deviations: Any, nfev: int) -> dict[str, float]:
    return {
        "parameters": correct_digits(x.tolist(), problem.certified),
        "deviations": correct_digits(deviations.tolist(), problem.deviations),
        "nfev": nfev,
    }


class Case:
    """A network of some width, and its residuals at random points."""

    def __init__(self, residuals: int, width: int) -> None:
        torch.manual_seed(0)
        self.net = nn.Sequential(
            nn.Linear(2, width),
            nn.Tanh(),
            nn.Linear(width, width),
            nn.Tanh(),
            nn.Linear(width, 1),
        ).double()
        self.inputs = torch.randn(residuals, 2, dtype=torch.float64)
        self.targets = self.inputs.prod(1)
        self.n = sum(p.numel() for p in self.net.parameters())

    def closure(self) -> Tensor:
        residuals: Tensor = self.net(self.inputs)[:, 0] - self.targets
        return residuals

    def evaluation(self) -> None:
        self.net.zero_grad()
        (0.5 * self.closure().square().sum()).backward()

    def ours(self, way: str, rows: int | None = None) -> None:
        optimizer = LeastSquaresWrapper(self.net.parameters(), {"jac": way})
        optimizer.jacobian(self.closure if rows is None else lambda: self.closure()[:rows])

    def loop(self, rows: int) -> None:
        """A vector-Jacobian product for each row, as one would write it."""
        residuals, params = self.closure(), list(self.net.parameters())
        matrix = torch.empty(rows, self.n, dtype=torch.float64)
        for i in range(rows):
            grads = torch.autograd.grad(residuals[i], params, retain_graph=True)
            torch.cat([grad.reshape(-1) for grad in grads], out=matrix[i])

    def functional(self, take: Callable[..., Any], rows: int | None = None) -> None:
        """By torch.func, in chunks of 16."""
        params = dict(self.net.named_parameters())

        def residuals(given: dict[str, Tensor]) -> Tensor:
            found: Tensor = torch.func.functional_call(self.net, given, (self.inputs,))[:, 0]
            return (found - self.targets)[:rows]

        parts = take(residuals, {name: p.detach() for name, p in params.items()})
        torch.cat([part.reshape(part.shape[0], -1) for part in parts.values()], 1)


def _jacrev(residuals: Any, given: Any) -> Any:
    return torch.func.jacrev(residuals, chunk_size=16)(given)


WHOLE = "columns (what auto takes)"
IN_PART: Mapping[str, Callable[[Case, int], None]] = {
    "rows": lambda case, rows: case.ours("rows", rows),
    "a loop of vjps": lambda case, rows: case.loop(rows),
    "torch.func.jacrev": lambda case, rows: case.functional(_jacrev, rows),
}
"""What takes a Jacobian row by row."""


def jacobians(residuals: int, width: int, rounds: int) -> list[Row]:
    """Time of each way in evaluations of the closure, and peak memory of that which takes all."""
    case = Case(residuals, width)
    rows = max(1, residuals // PART)
    ratios: dict[str, list[float]] = {name: [] for name in IN_PART}
    for _ in range(rounds):
        for name, take in IN_PART.items():
            taken = in_closures(case, lambda take=take: take(case, rows))  # type: ignore[misc]
            ratios[name].append(taken * residuals / rows)
    closures, peak = _whole(residuals, width)
    size = {"residuals": residuals, "parameters": case.n}
    return [
        {"way": WHOLE, **size, "closures": closures, "peak": peak},
        *(
            {"way": name, **size, "closures": statistics.median(found), "peak": None}
            for name, found in ratios.items()
        ),
    ]


def in_closures(case: Case, take: Callable[[], None]) -> float:
    """How long that takes, in evaluations of the closure before and after it."""
    case.evaluation()
    before = _seconds(case.evaluation, 10)
    spent = _seconds(take, 1)
    return spent / (0.5 * (before + _seconds(case.evaluation, 10)))


def _seconds(run: Callable[[], None], times: int) -> float:
    begun = perf_counter()
    for _ in range(times):
        run()
    return (perf_counter() - begun) / times


def _whole(residuals: int, width: int) -> tuple[float, float]:
    """Of a process of its own: evaluations, and peak memory in Jacobians, itself included."""
    command = [sys.executable, "-m", "bench.residuals", "--whole", str(residuals), str(width)]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    closures, peak = found.split()[-2:]
    return float(closures), float(peak)


def _print_whole(residuals: int, width: int) -> None:
    case = Case(residuals, width)
    small = LeastSquaresWrapper(case.net.parameters())
    small.jacobian(lambda: case.closure()[:2])  # what is loaded at the first use
    case.evaluation()
    before = peak_bytes()
    closures = in_closures(case, lambda: case.ours("auto"))
    print(closures, (peak_bytes() - before) / (8 * residuals * case.n))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Certified digits, and the cost of a Jacobian.")
    parser.add_argument("--residuals", type=int, default=20000)
    parser.add_argument("--width", type=int, default=42)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="where residuals.json goes")
    parser.add_argument("--whole", type=int, nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.whole:
        _print_whole(*args.whole)
        return
    certified = digits()
    print(table([_flat(row) for row in certified]))
    taken = jacobians(args.residuals, args.width, args.rounds)
    print(table(taken))
    report = {"environment": environment(), "digits": certified, "rows": taken}
    print(headline(report))
    if args.out:
        text = json.dumps(report, indent=1) + "\n"
        (args.out / "residuals.json").write_text(text, encoding="utf-8")


def _flat(row: Row) -> dict[str, Any]:
    return {
        name: "{parameters:g} / {deviations:g} / {nfev}".format_map(value)
        if isinstance(value, dict)
        else value
        for name, value in row.items()
    }


if __name__ == "__main__":
    main()
