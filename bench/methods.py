"""Whole fits by one method after the other: ours and the peers', and with whose BLAS threads."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from pytorch_minimize.optim import MinimizeWrapper

from .peers import OURS, PEERS, Rule, why_not
from .problems import FITS, Problem, digits, of_module
from .straightforward import Array, minimize
from .timing import rounds_of, timed

__all__ = ["METHODS", "by_method", "pools"]

Row = Mapping[str, Any]

METHODS = (
    "L-BFGS-B",
    "CG",
    "BFGS",
    "TNC",
    "Newton-CG",
    "trust-ncg",
    "trust-krylov",
    "trust-constr",
)
_CURVED = ("Newton-CG", "trust-ncg", "trust-krylov", "trust-constr")
_NAMES = (OURS, "straightforward", "torchmin, scipy", "botorch")
_PATIENCE = 20
"""Seconds for one fit; what takes longer is a note in its row."""


class _Defaults(Rule):
    """Each method's own tolerances and limits."""

    @property
    def options(self) -> dict[str, Any]:
        return {}


def by_method(problem: str, methods: list[str], rounds: int) -> Iterator[Row]:
    """Seconds of a whole fit by each method with its defaults; a row for each method."""
    made = FITS[problem]()
    for method in methods:
        rule = _Defaults(method=method)
        runs: dict[str, Callable[[Problem, Rule], Any]] = {n: PEERS[n].run for n in _NAMES}
        if method in _CURVED:
            runs["straightforward"] = _straightforward_hessp
        row: dict[str, Any] = {"problem": problem, "n": made.numel, "method": method}
        cases: dict[str, Callable[[], float]] = {}
        for name, run in runs.items():
            case = partial(_seconds, made, partial(run, made, rule))
            refusal = why_not(PEERS[name], partial(_in_time, case))
            if refusal is None:
                cases[name] = case
                row |= {f"{name} evaluations": made.evaluations, f"{name} loss": made.end()[0]}
            else:
                row[f"{name} note"] = refusal
        for name, values in rounds_of(cases, rounds).items():
            row[f"{name} s"] = min(values)
        yield row


def _seconds(problem: Problem, run: Callable[[], object]) -> float:
    problem.reset()
    return timed(run)


def _in_time(case: Callable[[], object]) -> None:
    def too_late(signum: int, frame: object) -> None:
        raise TimeoutError(f"more than {_PATIENCE} s")

    before = signal.signal(signal.SIGALRM, too_late)
    signal.alarm(_PATIENCE)
    try:
        case()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _straightforward_hessp(problem: Problem, rule: Rule) -> None:
    """As one writes it: products by torch.autograd.functional.vhp."""
    sizes = [p.numel() for p in problem.params]
    shapes = [p.shape for p in problem.params]
    dtype = problem.params[0].dtype

    def split(v: Array) -> tuple[torch.Tensor, ...]:
        pieces = torch.from_numpy(v).to(dtype).split(sizes)
        return tuple(p.view(shape) for p, shape in zip(pieces, shapes, strict=True))

    def hessp(x: Array, v: Array) -> Array:
        _, product = torch.autograd.functional.vhp(problem.loss_of, split(x), split(v))
        flat: Array = torch.cat([p.reshape(-1) for p in product]).double().numpy()
        return flat

    minimize(problem.params, problem.closure, method=rule.method, hessp=hessp)


def pools(methods: list[str], sizes: list[int], rounds: int) -> Iterator[Row]:
    """Seconds of whole fits with the BLAS pools of scipy and numpy held to one thread, and not.

    A perceptron of n parameters on the digits, float64. Both runs walk the same path.
    """
    for method in methods:
        for n in sizes:
            if method in _DENSE and n > _DENSE_MOST:
                continue
            problem = _perceptron(n)
            cases = {
                name: partial(_seconds, problem, partial(_run, problem, method, threads))
                for name, threads in (("held", 1), ("left alone", None))
            }
            _run(problem, method, 1)  # whose first run looks for the libraries
            seconds = {name: min(v) for name, v in rounds_of(cases, rounds).items()}
            yield {
                "method": method,
                "n": problem.numel,
                "torch threads": torch.get_num_threads(),
                "evaluations": problem.evaluations,
                **{f"{name} s": value for name, value in seconds.items()},
                "left alone / held": seconds["left alone"] / seconds["held"],
            }


def _perceptron(n: int) -> Problem:
    """About n parameters."""
    torch.manual_seed(0)
    width = max(1, round((n - 10) / 75))
    inputs, targets = digits(torch.float64)
    net = nn.Sequential(nn.Linear(64, width), nn.Tanh(), nn.Linear(width, 10)).double()
    rows = inputs[: max(64, min(len(inputs), 20_000_000 // n))]

    def loss_with(function: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        return nn.functional.cross_entropy(function(rows), targets[: len(rows)])

    return of_module(net, loss_with)


def _run(problem: Problem, method: str, threads: int | None) -> None:
    arguments = {"method": method, "options": {"maxiter": _ITERATIONS.get(method, 30)}}
    if method == "TNC":  # which has no maxiter of its own
        arguments["options"] = {"maxfun": 60}
    MinimizeWrapper(problem.params, arguments, blas_threads=threads).step(problem.closure)


# Those that work on a matrix of n x n.
_DENSE, _DENSE_MOST = ("BFGS", "SLSQP", "trust-constr"), 2000
# Of those whose iterations are dear.
_ITERATIONS = {"Newton-CG": 5, "trust-ncg": 5, "trust-krylov": 5, "trust-constr": 10, "BFGS": 30}
