"""What it costs to make one fit of several processes: an evaluation, part by part.

    python -m bench.together [--rows 256 1024] [--processes 2] [--out bench/results]

A network of a million float64 parameters is fitted by L-BFGS-B, first by one process with all of
the rows, then by several of one thread each that share them, in turns. Of all evaluations that one
is shown which took least outside the solver: the others waited for whoever else had the cores. What
broadcast and reduce take by themselves, all processes being ready, is measured beside it; the rest
of the communication is waiting for the slowest process.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from pytorch_minimize.optim import MinimizeWrapper

from .environment import environment, headline
from .rows import Row, table

__all__ = ["PARTS", "main", "overhead"]

WIDTHS = 600, 1000, 400  # 1 001 400 parameters
PARTS = "closure", "bridge", "communication", "solver"
Parts = dict[str, float]


def _fit(share: tuple[int, int], rows: int, iterations: int, **keywords: Any) -> list[Parts]:
    """Milliseconds of each evaluation, by part, from one run of the closure to the next."""
    rank, size = share
    torch.manual_seed(0)
    ends, middle, outs = WIDTHS
    model = nn.Sequential(nn.Linear(ends, middle), nn.Tanh(), nn.Linear(middle, outs)).double()
    inputs = torch.randn(rows, ends, dtype=torch.float64)[rank::size]
    targets = torch.randn(rows, outs, dtype=torch.float64)[rank::size]

    seen: list[Parts] = []

    def closure() -> Tensor:
        seen.append(dict(optimizer.profile.clock.seconds))
        return nn.functional.mse_loss(model(inputs), targets)

    args = {"method": "L-BFGS-B", "options": {"maxiter": iterations, "ftol": 0, "gtol": 0}}
    optimizer = MinimizeWrapper(model.parameters(), args, weight=len(inputs), **keywords)
    optimizer.step(closure)
    pairs = itertools.pairwise(seen[1:])  # the first is slow
    return [{part: 1e3 * (b[part] - a[part]) for part in PARTS} for a, b in pairs]


def _outside_solver(parts: Parts) -> float:
    return sum(parts.values()) - parts["solver"]


def _floor(n: int, collective: Callable[[Tensor], Any]) -> float:
    """Milliseconds of a collective for which all are ready, the least."""
    vector = torch.zeros(n, dtype=torch.float64)
    seconds = []
    for _ in range(30):
        dist.barrier()
        begun = perf_counter()
        collective(vector)
        seconds.append(perf_counter() - begun)
    return 1e3 * min(seconds)


def _work(rank: int, args: argparse.Namespace, folder: str) -> None:
    torch.set_num_threads(1)
    where = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=where, rank=rank, world_size=args.processes)
    n = WIDTHS[0] * WIDTHS[1] + WIDTHS[1] + WIDTHS[1] * WIDTHS[2] + WIDTHS[2]
    found: list[Row] = []
    for rows in args.rows:
        alone: list[Parts] = []
        together: list[Parts] = []
        for _ in range(args.repeats):
            if rank == 0:
                alone += _fit((0, 1), rows, args.iterations)
            dist.barrier()
            share = rank, args.processes
            together += _fit(share, rows, args.iterations, distributed=True)
        floor = _floor(n, lambda x: dist.broadcast(x, 0)) + _floor(n, lambda x: dist.reduce(x, 0))
        if rank == 0:
            best = [min(each, key=_outside_solver) for each in (alone, together)]
            found += [
                {"rows": rows, "processes": processes, "n": n, **parts, "collectives": least}
                for processes, parts, least in zip(
                    (1, args.processes), best, (0.0, floor), strict=True
                )
            ]
    if rank == 0:
        Path(folder, "found.json").write_text(json.dumps(found), encoding="utf-8")
    dist.destroy_process_group()


def measured(args: argparse.Namespace) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        spawn(_work, (args, folder), nprocs=args.processes)
        rows: list[Row] = json.loads(Path(folder, "found.json").read_text(encoding="utf-8"))
    return rows


def overhead(alone: Row, together: Row) -> float:
    """What an evaluation takes beyond its share of the closure, as a part of the whole closure."""
    extra = sum(together[part] for part in ("closure", "bridge", "communication"))
    extra -= alone["bridge"] + alone["closure"] / together["processes"]
    return float(extra / alone["closure"])


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="An evaluation in several processes, by part.")
    parser.add_argument("--rows", type=int, nargs="+", default=[256, 1024])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, help="where together.json goes")
    args = parser.parse_args(argv)
    rows = measured(args)
    print(table(rows))
    for alone, together in zip(rows[::2], rows[1::2], strict=True):
        share = overhead(alone, together)
        print(f"{alone['rows']} rows: overhead {share:.1%} of one process's closure")
    report = {"environment": environment(), "rows": rows, "repeats": args.repeats}
    print(headline(report))
    if args.out:
        (args.out / "together.json").write_text(json.dumps(report) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
