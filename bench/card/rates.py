"""What a machine can do, and what crossings on it come to: one table, written as JSON.

python -m bench.card.rates [--tiny] [--place card] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pytorch_minimize import _C

from ..gpu import ours, ways
from ..place import PLACES, Place, place
from ..rows import table

__all__ = ["RATES", "main"]

Rows = Iterator[dict[str, Any]]
LARGE, TINY = (10**6, 10**7, 10**8), (10**4, 10**5)


def _seconds(here: Place, run: Callable[[], object], rounds: int = 7) -> float:
    run()
    here.synchronize()
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        here.synchronize()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def link(here: Place, sizes: Sequence[int]) -> Rows:
    """GB/s of float64 between pinned memory and the device, and on the device."""
    host = here.host(max(sizes))
    device = torch.zeros(max(sizes), dtype=torch.float64, device=here.device)
    other = torch.zeros_like(device)
    for n in sizes:
        copies = {
            "up GB/s": partial(device[:n].copy_, host[:n], non_blocking=True),
            "down GB/s": partial(host[:n].copy_, device[:n], non_blocking=True),
            "on the device GB/s, read and written": partial(other[:n].copy_, device[:n]),
        }
        row: dict[str, Any] = {"n": n}
        for name, copy in copies.items():
            read_and_written = 2 if "read" in name else 1
            row[name] = read_and_written * 8e-9 * n / _seconds(here, copy)
        yield row


def pinning(here: Place, sizes: Sequence[int]) -> Rows:
    """Milliseconds in which fresh memory is pinned; torch keeps what was."""
    for n in sizes:
        start = time.perf_counter()
        made = torch.empty(n + 17, dtype=torch.float64, pin_memory=here.pinned)
        taken = time.perf_counter() - start
        yield {"n": n, "ms": 1e3 * taken, "s a GiB": taken * 2**30 / (8 * made.numel())}


def staging(here: Place, sizes: Sequence[int]) -> Rows:
    """GB/s of the copy on the host into pinned memory, by threads: torch's, and the bridge's."""
    before = torch.get_num_threads()
    host, x = here.host(max(sizes)), torch.ones(max(sizes), dtype=torch.float64)
    for n in sizes:
        bridge, vector = _C.ParameterBridge([host[:n]]), x[:n].numpy()
        for threads in (1, 2, 4, 8, 16):
            if threads > (os.cpu_count() or 1):
                continue
            torch.set_num_threads(threads)
            yield {
                "n": n,
                "threads": threads,
                "torch GB/s": 8e-9 * n / _seconds(here, partial(host[:n].copy_, x[:n])),
                "bridge GB/s": 8e-9 * n / _seconds(here, partial(bridge.load_params, vector)),
            }
    torch.set_num_threads(before)


def slabs(here: Place, sizes: Sequence[int]) -> Rows:
    """Milliseconds of x into the parameters, by the size of a slab in reals."""
    for n in sizes:
        params = here.parameters(n, 10)
        for reals in (2**17, 2**18, 2**19, 2**20, 2**21, 2**22, 2**24, n):
            if reals <= n:
                with ways(slab=reals):
                    bridge = here.bridge(params)
                x = bridge.flatten_params() + 0.0
                taken = _seconds(here, partial(bridge.load_params, x))
                yield {"n": n, "slab": reals, "ms": 1e3 * taken, "GB/s": 8e-9 * n / taken}


def small_trips(here: Place, sizes: Sequence[int]) -> Rows:
    """Microseconds both ways, by copies and by kernels that read the host's memory."""
    for n in (100, 1000, 10_000, 100_000):
        for tensors in (1, 10, 100):
            params = here.parameters(n, tensors)
            row: dict[str, Any] = {"n": n, "tensors": tensors}
            for name, direct in (("copies", 0), ("direct", n)):
                with ways(direct=direct):
                    run = ours(here.bridge(params), here)
                row[f"{name} us"] = 1e6 * _seconds(here, run, 200 if max(sizes) > 10**6 else 5)
            yield row


def many_tensors(here: Place, sizes: Sequence[int]) -> Rows:
    """Microseconds of 10,000 reals both ways, by how many tensors they are in."""
    for tensors in (1, 100, 10_000):
        run = ours(here.bridge(here.parameters(10_000, tensors)), here)
        yield {"tensors": tensors, "us": 1e6 * _seconds(here, run, 30)}


def rows(here: Place, sizes: Sequence[int]) -> Rows:
    """Milliseconds of a dense matrix, by its rows."""
    for n in (100, 1000) if max(sizes) < 10**6 else (100, 1000, 5000):
        bridge = here.bridge(here.parameters(n, 10))
        v = np.zeros((n, n))
        stacks = bridge.unflatten_rows(v)
        yield {
            "n": n,
            "up ms": 1e3 * _seconds(here, partial(bridge.unflatten_rows, v), 3),
            "down ms": 1e3 * _seconds(here, partial(bridge.flatten_rows, stacks, v), 3),
        }


def kernels(here: Place, sizes: Sequence[int]) -> Rows:
    """Microseconds of each kernel and transfer, as the driver tells them."""
    if not here.pinned:
        return
    dtypes = (torch.float32, torch.bfloat16, torch.float64)
    for n in sizes:
        for dtype in dtypes:
            param = torch.ones(n, dtype=dtype, device=here.device, requires_grad=True)
            param.grad = torch.ones_like(param)
            run = ours(here.bridge([param]), here)
            run()
            activity = torch.profiler.ProfilerActivity.CUDA
            with torch.profiler.profile(activities=[activity], acc_events=True) as profile:
                for _ in range(3):
                    run()
            found: dict[str, list[float]] = {}
            for event in profile.events():
                for kind in ("gather_kernel", "scatter_kernel", "Memcpy HtoD", "Memcpy DtoH"):
                    if kind in event.name:
                        found.setdefault(f"{kind} us", []).append(event.device_time_total)
            medians = {name: statistics.median(times) for name, times in found.items()}
            yield {"n": n, "dtype": str(dtype).removeprefix("torch."), **medians}


RATES: dict[str, Callable[[Place, Sequence[int]], Rows]] = {
    rate.__name__: rate
    for rate in (link, pinning, staging, slabs, small_trips, many_tensors, rows, kernels)
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="What a machine can do.")
    parser.add_argument("--tiny", action="store_true", help="shows that all works, no figures")
    parser.add_argument("--place", choices=PLACES)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(argv)
    here = place(arguments.place)
    sizes = TINY if arguments.tiny else LARGE
    report: dict[str, Any] = {"machine": here.describe(), "failed": {}}
    for name, rate in RATES.items():
        found: list[dict[str, Any]] = []
        report[name] = found
        print(f"\n{name}: {rate.__doc__}", flush=True)
        try:
            found.extend(rate(here, sizes))
        except Exception as error:
            report["failed"][name] = f"{type(error).__name__}: {error}".splitlines()[0]
            print(report["failed"][name])
        if found:
            print(table(found), flush=True)
        if arguments.json is not None:  # what there is, should the next one hang
            arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 1 if report["failed"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
