"""The kernels against the host's own bridge and loops, in half a minute.

    python -m bench.card.smoke [--few] [--place card]

It needs no pytest, and imports what the tests draw their tensors from (tests/tensors.py). --few is
for a sanitizer, under which all is slow.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pytorch_minimize import _C
from pytorch_minimize.bridge.interface import Bridge

from ..gpu import ways
from ..place import PLACES, Place, place

__all__ = ["CHECKS", "main"]

# Beside this package, and on the path where bench.card starts it.
_drawn: Any = import_module("tensors")
DTYPES, PARAM_LAYOUTS, random_tensor = _drawn.DTYPES, _drawn.PARAM_LAYOUTS, _drawn.random_tensor

Differences = Iterator[tuple[str, bool]]


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.array_equal(a, b, equal_nan=True))


def _pair(here: Place, tensors: Callable[[], list[Tensor]]) -> tuple[Bridge, Bridge]:
    """The host's bridge and the place's, over equal tensors."""
    hosts = tensors()
    return _C.ParameterBridge(hosts), here.bridge([t.detach().to(here.device) for t in tensors()])


def _cross(host: Bridge, there: Bridge) -> bool:
    """Whether what crosses, both ways, has the same bits."""
    x = random_tensor((host.numel,), torch.float64, 3).numpy()
    same = _same(host.flatten_params(), there.flatten_params())
    host.load_params(x)
    there.load_params(x)
    return same and _same(host.flatten_params(), there.flatten_params())


def alignments(here: Place, few: bool) -> Differences:
    """Every place that a tensor and its vector may begin at, and nothing written beside it."""
    for before, offset in itertools.product(range(3), range(0, 9, 4 if few else 1)):
        for n, dtype in itertools.product((1, 7, 31, 4095, 4105), DTYPES[:4]):
            memories = [
                random_tensor((offset + n + 9,), dtype, n).to(device)
                for device in (torch.device("cpu"), here.device)
            ]
            host, there = (
                make([m.new_ones(before, dtype=torch.float64), m[offset : offset + n]])
                for make, m in zip((_C.ParameterBridge, here.bridge), memories, strict=True)
            )
            same = _cross(host, there)
            beside = [m.cpu().double().numpy() for m in memories]
            yield f"{dtype} at {before}, {offset}, n = {n}", same and _same(*beside)


def layouts(here: Place, few: bool) -> Differences:
    """Every dtype and stride."""
    shape = (5, 7, 3) if few else (61, 67, 3)
    for dtype, layout in itertools.product(DTYPES, PARAM_LAYOUTS):
        value = random_tensor(shape, dtype, 1)

        def tensors(value: Tensor = value, layout: str = layout) -> list[Tensor]:
            return [PARAM_LAYOUTS[layout](value.clone())]

        made = PARAM_LAYOUTS[layout](value.to(here.device))
        yield f"{dtype}, {layout}", _cross(_C.ParameterBridge(tensors()), here.bridge([made]))


def other_ways(here: Place, few: bool) -> Differences:
    """In slabs of every kind, and by kernels that read the host's memory."""
    n = 5000 if few else 3_000_000
    for name, reals in (("slab", 1000), ("slab", n // 3), ("slab", n), ("direct", n)):
        if name == "slab" and reals < n // 1000:
            continue
        with ways(**{name: reals}):
            host, there = _pair(here, lambda: [random_tensor((n,), torch.float32, 1)])
            yield f"{name} {reals}", _cross(host, there)


def rows(here: Place, few: bool) -> Differences:
    """Several vectors at once."""
    shapes, count = ((3, 5), (), (40,)), 7 if few else 300
    host, there = _pair(here, lambda: [random_tensor(s, torch.float32, 1) for s in shapes])
    v = np.random.default_rng(0).standard_normal((count, host.numel))
    stacks = there.unflatten_rows(v)
    out, expected = np.empty_like(v), np.empty_like(v)
    finite = there.flatten_rows(stacks, out)
    host.flatten_rows(host.unflatten_rows(v), expected)
    yield f"{count} rows", finite and _same(out, expected)


def inverse(here: Place, few: bool) -> Differences:
    """H v, and an update of H on the way, against plain products."""
    n = 65 if few else 1025
    rng = np.random.default_rng(0)
    h, (s, w, v) = rng.standard_normal((n, n)), rng.standard_normal((3, n))
    h = h + h.T
    there = torch.from_numpy(h.copy()).to(here.device)
    s_, w_, v_ = (torch.from_numpy(a).to(here.device) for a in (s, w, v))
    found = _C.device_product(there, v_, here.kernels)
    yield "H v", np.allclose(found.cpu(), h @ v, rtol=1e-11, atol=1e-9)
    changed = h / 2.0 + 0.1 * np.outer(s, s) + 0.2 * (np.outer(s, w) + np.outer(w, s))
    changed += 0.3 * np.outer(w, w)
    found = _C.device_rank_two_product(there, 2.0, 0.1, 0.2, 0.3, s_, w_, v_, here.kernels)
    yield "H updated, times v", np.allclose(found.cpu(), changed @ v, rtol=1e-11, atol=1e-8)
    yield "H updated", np.allclose(there.cpu(), changed, rtol=1e-12, atol=1e-12)


def pairs(here: Place, few: bool) -> Differences:
    """The pairs of limited memory, against plain products."""
    n, used = 4097 if few else 100_003, 6
    rng = np.random.default_rng(0)
    for dtype in (np.float64, np.float32):
        w = rng.standard_normal((used + 2, n)).astype(dtype)
        g, before, d = rng.standard_normal((3, n))
        there = torch.from_numpy(w.copy()).to(here.device)
        g_, before_, d_ = (torch.from_numpy(a.copy()).to(here.device) for a in (g, before, d))
        found = _C.device_pair_sums(there, used, g_, before_, d_, here.kernels).cpu().numpy()
        expected = np.concatenate([w[:used] @ g, w[:used] @ (g - before)])
        close = np.allclose(found[: 2 * used], expected, rtol=1e-6, atol=1e-6)
        yield f"sums of pairs, {dtype.__name__}", close and found[-1] == np.abs(g).max()


CHECKS = (alignments, layouts, other_ways, rows, inverse, pairs)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="The kernels against the host's own loops.")
    parser.add_argument("--few", action="store_true")
    parser.add_argument("--place", choices=PLACES)
    arguments = parser.parse_args(argv)
    here, bad = place(arguments.place), 0
    for check in CHECKS:
        found = list(check(here, arguments.few))
        wrong = [name for name, same in found if not same]
        bad += len(wrong)
        print(
            f"{check.__name__}: {len(found)} compared, {len(wrong)} differ", *wrong[:9], sep="\n  "
        )
    here.synchronize()
    print(f"differences: {bad}")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
