"""What a model on a CUDA card costs: crossings, whole fits, memory over many steps.

    python -m bench.gpu [--short] [--json bench/results/gpu.json]

trips: x into the parameters and loss and gradient back, for scipy. "floor" is what the float64
vector needs to cross twice through pinned memory, one copy each way, with nothing on the host;
"floor float32" is the same of the model's own type, and so what a narrow wire could save at most.
"foreach" is torch's own way: torch._foreach_copy_ between the tensors and a flat vector on the
card, and one transfer; "python" is the bridge in Python. "whole" and "direct" are ours by other
ways (docs/gpu.md): sent at once and not in slabs, and by kernels that read and write the host's
memory. All columns of a row are measured in one run, in turn.

fits: milliseconds an iteration of an MLP, by part, and what that is of the time in which the card
copies the bytes of one iteration of limited memory (:func:`limited_bytes`).

iterations: the same of limited memory alone, on a quadratic in float32.

growth: what is allocated after 100 and after 200 steps.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from pytorch_minimize.bridge.interface import Bridge
from pytorch_minimize.bridge.python import PythonBridge
from pytorch_minimize.optim import MinimizeWrapper
from pytorch_minimize.solvers.methods import ROWS

from .environment import environment, headline, threads
from .place import PLACES, Place, place
from .rows import table
from .timing import interleaved, timed

__all__ = ["Sizes", "limited_bytes", "main", "measure"]

PAIRS = 10
SCIPYS = ("L-BFGS-B", "CG")


class Sizes(NamedTuple):
    """How much is measured.

    Attributes:
        numels, tensors: of the trips, each with each that it suffices for.
        widths, batch: of the MLP that is fitted.
        iterations: of each fit; of scipy's, whose iteration is long, fewer.
        quadratic: variables of the iterations.
        steps: of which the growth is told.
        seconds: for one column of a trip, and for one fit.
    """

    numels: Sequence[int] = (10**2, 10**4, 10**6, 10**7, 10**8)
    tensors: Sequence[int] = (10, 1000, 10_000)
    widths: Sequence[int] = (64, 2210, 2210, 2210, 10)
    batch: int = 4096
    iterations: int = 40
    scipys: int = 20
    quadratic: Sequence[int] = (10**6, 10**7, 10**8)
    steps: int = 200
    seconds: tuple[float, float] = (2.0, 60.0)


FULL = Sizes()
SHORT = FULL._replace(iterations=20, scipys=8, quadratic=(10**7, 10**8), seconds=(0.15, 6.0))
TINY = Sizes(
    numels=(100, 10_000),
    tensors=(10, 1000),
    widths=(4, 8, 3),
    batch=16,
    iterations=4,
    scipys=4,
    quadratic=(1000,),
    steps=10,
    seconds=(0.001, 5.0),
)


@contextmanager
def ways(**reals: int) -> Iterator[None]:
    """Bridges made inside the block cross so; see docs/gpu.md."""
    names = {f"PYTORCH_MINIMIZE_{name.upper()}": str(value) for name, value in reals.items()}
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def ours(bridge: Bridge, here: Place) -> Callable[[], object]:
    x, loss = bridge.flatten_params() + 0.0, torch.zeros((), device=here.device)

    def run() -> object:
        bridge.load_params(x)
        return bridge.evaluation(loss)

    return run


def transfers(here: Place, numel: int, dtype: torch.dtype = torch.float64) -> Callable[[], None]:
    up, down = here.host(numel, dtype), here.host(numel, dtype)
    flat = torch.zeros(numel, dtype=dtype, device=here.device)

    def run() -> None:
        flat.copy_(up, non_blocking=True)
        down.copy_(flat, non_blocking=True)
        here.synchronize()

    return run


def foreach(here: Place, params: list[Tensor], numel: int) -> Callable[[], None]:
    x, up, down = np.ones(numel), here.host(numel), here.host(numel)
    staging = up.numpy()
    flat = torch.zeros(numel, dtype=torch.float64, device=here.device)
    views = list(flat.split([param.numel() for param in params]))
    grads = [param.grad for param in params if param.grad is not None]

    @torch.no_grad()
    def run() -> None:
        np.copyto(staging, x)
        flat.copy_(up, non_blocking=True)
        torch._foreach_copy_(params, views)
        torch._foreach_copy_(views, grads)
        down.copy_(flat, non_blocking=True)
        here.synchronize()

    return run


def trip(here: Place, numel: int, tensors: int, seconds: float) -> dict[str, Any]:
    """Milliseconds of one crossing each way."""
    params = here.parameters(numel, tensors)
    cases = {"ours": ours(here.bridge(params), here)}
    if numel >= 10**6:
        with ways(slab=numel):
            cases["whole"] = ours(here.bridge(params), here)
    if numel <= 10**6:
        with ways(direct=numel):
            cases["direct"] = ours(here.bridge(params), here)
    cases |= {
        "floor": transfers(here, numel),
        "floor float32": transfers(here, numel, torch.float32),
        "foreach": foreach(here, params, numel),
        "python": ours(PythonBridge(params), here),
    }
    cases["ours"]()
    number = max(1, min(100, int(1e-3 / timed(cases["ours"]))))
    rounds = max(3, min(30, int(seconds / (number * timed(cases["ours"])))))
    found = interleaved(cases, rounds=rounds, number=number)
    return {
        "n": numel,
        "tensors": tensors,
        **{name: value * 1e3 for name, value in found.items()},
        "ours / floor": found["ours"] / found["floor"],
        "python / ours": found["python"] / found["ours"],
    }


def trips(here: Place, sizes: Sizes) -> Iterator[dict[str, Any]]:
    for numel, tensors in itertools.product(sizes.numels, sizes.tensors):
        if tensors <= numel:
            yield trip(here, numel, tensors, sizes.seconds[0])
            _forget(here)


def limited_bytes(n: int, real: int) -> float:
    """What one iteration of limited memory, and one crossing, read and write on the device.

    Twice all pairs, in 8 bytes a real, and once a new one; in the sums the gradient, the one before
    and the direction, in the turn the same and the direction written; x + t d; x into the
    parameters and the gradient out of them, in ``real`` bytes a real.
    """
    vectors = 2 * 2 * PAIRS + 2 + 3 + 4 + 3 + 2
    return n * (8.0 * vectors + 2.0 * real)


def copy_seconds(here: Place, numel: int) -> float:
    """A byte's share of a copy on the device, in which each is read once and written once."""
    source = torch.ones(numel, dtype=torch.float64, device=here.device)
    target = torch.empty_like(source)

    def copy() -> None:
        target.copy_(source)
        here.synchronize()

    copy()
    return min(timed(copy) for _ in range(5)) / (16.0 * numel)


class Mlp:
    """Cross entropy of random labels, and how long its closure took."""

    def __init__(self, here: Place, sizes: Sizes) -> None:
        torch.manual_seed(0)
        layers: list[nn.Module] = []
        for inputs, outputs in itertools.pairwise(sizes.widths):
            layers += [nn.Linear(inputs, outputs), nn.Tanh()]
        self.model = nn.Sequential(*layers[:-1]).to(here.device)
        self.data = torch.randn(sizes.batch, sizes.widths[0], device=here.device)
        self.labels = torch.randint(sizes.widths[-1], (sizes.batch,), device=here.device)
        self.seconds, self.calls, self._here = 0.0, 0, here

    def closure(self) -> Tensor:
        """It waits for its kernels, so that they are its own."""
        start = time.perf_counter()
        self.model.zero_grad()
        loss = nn.functional.cross_entropy(self.model(self.data), self.labels)
        loss.backward()
        self._here.synchronize()
        self.seconds += time.perf_counter() - start
        self.calls += 1
        return loss


def fit(here: Place, sizes: Sizes, method: str) -> dict[str, Any]:
    """By one method of this package; what refuses a model of this size says so."""
    mlp = Mlp(here, sizes)
    n = sum(param.numel() for param in mlp.model.parameters())
    optimizer = MinimizeWrapper(
        mlp.model.parameters(),
        {
            "method": method,
            "tol": 0.0,
            "options": {"maxiter": sizes.scipys if method in SCIPYS else sizes.iterations},
        },
        timeout=sizes.seconds[1],
    )
    try:
        optimizer.step(mlp.closure)
    except (MemoryError, ValueError, RuntimeError) as error:
        return {"method": method, "n": n, "note": str(error).split(".")[0][:90]}
    profile, nit = optimizer.profile, max(1, int(optimizer.res.nit))
    parts = {
        f"{part} ms": getattr(profile, part) * 1e3 / nit
        for part in ("closure", "bridge", "curvature", "solver")
    }
    return {
        "method": method,
        "n": n,
        "iterations": nit,
        "evaluations": profile.counts["closure"],
        **parts,
        "outside ms": (profile.total - profile.closure) * 1e3 / nit,
        "loss": float(optimizer.res.fun),
    }


def torchs(here: Place, sizes: Sizes) -> dict[str, Any]:
    """By torch.optim.LBFGS."""
    mlp = Mlp(here, sizes)
    optimizer = torch.optim.LBFGS(
        mlp.model.parameters(),
        max_iter=sizes.iterations,
        history_size=PAIRS,
        tolerance_grad=0.0,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )
    start = time.perf_counter()
    loss = float(optimizer.step(mlp.closure).detach())
    here.synchronize()
    total = time.perf_counter() - start
    nit = max(1, int(next(iter(optimizer.state.values()))["n_iter"]))
    return {
        "method": "torch.optim.LBFGS",
        "n": sum(param.numel() for param in mlp.model.parameters()),
        "iterations": nit,
        "evaluations": mlp.calls,
        "closure ms": mlp.seconds * 1e3 / nit,
        "outside ms": (total - mlp.seconds) * 1e3 / nit,
        "loss": loss,
    }


def fits(here: Place, sizes: Sizes) -> Iterator[dict[str, Any]]:
    """The first fit of a process allocates, and is no figure."""
    fit(here, sizes._replace(iterations=2, scipys=2), SCIPYS[0])
    natives = [row.name for row in ROWS.values() if row.native is not None]
    rows = [fit(here, sizes, method) for method in (*SCIPYS, *natives)] + [torchs(here, sizes)]
    byte = copy_seconds(here, max(sizes.quadratic))
    for row in rows:
        if "outside ms" in row:
            row["of its bytes"] = row["outside ms"] / (1e3 * byte * limited_bytes(row["n"], 4))
        yield row
    _forget(here)


def iterations(here: Place, sizes: Sizes) -> Iterator[dict[str, Any]]:
    """Limited memory of our own, once all pairs are there."""
    byte = copy_seconds(here, max(sizes.quadratic))
    for n in sizes.quadratic:
        x = nn.Parameter(torch.ones(n, device=here.device))
        d = torch.logspace(-3, 3, n, device=here.device)
        marks: list[float] = []

        @torch.no_grad()
        def closure(x: nn.Parameter = x, d: Tensor = d) -> Tensor:
            x.grad = d * x
            return 0.5 * (x.grad * x).sum()

        def iterated(*_: object, marks: list[float] = marks) -> None:
            here.synchronize()
            marks.append(time.perf_counter())

        options = {"maxcor": PAIRS, "maxiter": PAIRS + 12, "gtol": 0.0, "ftol": 0.0}
        optimizer = MinimizeWrapper(
            [x], {"method": "torch-L-BFGS", "options": options, "callback": iterated}
        )
        optimizer.step(closure)
        taken = np.diff(marks[PAIRS:])
        if taken.size:
            seconds = float(np.median(taken))
            yield {
                "n": n,
                "ms with closure": 1e3 * seconds,
                "of its bytes": seconds / (byte * limited_bytes(n, 4)),
            }
        del x, d, optimizer, closure
        _forget(here)


def held(here: Place) -> dict[str, int]:
    """Bytes that are allocated now."""
    gc.collect()
    if not here.pinned:
        return {}
    return {
        "device": torch.cuda.memory_allocated(),
        "reserved": torch.cuda.memory_reserved(),
        "pinned": int(torch.cuda.host_memory_stats()["allocated_bytes.current"]),
    }


def growth(here: Place, sizes: Sizes) -> list[dict[str, Any]]:
    """Of steps of one optimizer, by method."""
    rows = []
    for method in ("L-BFGS-B", "torch-L-BFGS"):
        mlp = Mlp(here, sizes._replace(widths=(4, 64, 3), batch=16))
        options = {"method": method, "options": {"maxiter": 2}}
        optimizer = MinimizeWrapper(mlp.model.parameters(), options)
        seen = []
        for step in range(sizes.steps):
            with torch.no_grad():
                for param in mlp.model.parameters():
                    param.add_(0.1)
            optimizer.step(mlp.closure)
            if step + 1 in (sizes.steps // 2, sizes.steps):
                seen.append(held(here))
        grown = {f"{kind} grown": seen[1][kind] - size for kind, size in seen[0].items()}
        rows.append({"method": method, "steps": sizes.steps, **grown})
    return rows


def _forget(here: Place) -> None:
    gc.collect()
    if here.pinned:
        torch.cuda.empty_cache()


PARTS: dict[str, Callable[[Place, Sizes], Any]] = {
    "trips": trips,
    "fits": fits,
    "iterations": iterations,
    "growth": growth,
}


def measure(here: Place, sizes: Sizes, parts: Sequence[str] = tuple(PARTS)) -> dict[str, Any]:
    """A report; what fails of it is told there and stops nothing."""
    report: dict[str, Any] = {"environment": environment(), "threads": threads(), "failed": {}}
    report["environment"]["machine"] |= here.describe()
    print(headline(report), here.describe()["card"], sep="\n", flush=True)
    for part in parts:
        rows: list[dict[str, Any]] = []
        start = time.perf_counter()
        try:
            for row in PARTS[part](here, sizes):
                rows.append(row)
        except Exception as error:
            report["failed"][part] = f"{type(error).__name__}: {error}".splitlines()[0]
            print(f"{part} failed after {len(rows)} rows: {report['failed'][part]}")
        report[part] = rows
        print(f"\n{part}, {time.perf_counter() - start:.1f} s", flush=True)
        if rows:
            print(table(rows), flush=True)
    return report


def main(argv: Sequence[str] | None = None) -> int:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--short", action="store_true", help="under two minutes on a large card")
    parser.add_argument("--tiny", action="store_true", help="shows that all works, no figures")
    parser.add_argument("--place", choices=PLACES, help="by default the card, if there is one")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    arguments = parser.parse_args(argv)
    sizes = TINY if arguments.tiny else SHORT if arguments.short else FULL
    report = measure(place(arguments.place), sizes, arguments.parts)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 1 if report["failed"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
