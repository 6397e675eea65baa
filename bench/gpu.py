"""The round trip between scipy and the model on a CUDA card, and where a fit's time goes there.

The floor is what the float64 vector needs to cross twice through pinned memory, one copy each
way; "staged" adds the copy on the host from scipy's own memory, which no program is spared.
"floor float32" is what float32 would need: as far as it is below "floor", sending the model's own
type and casting on the host could save at most; that cast is not in it.
"foreach" is torch's own way: torch._foreach_copy_ between the tensors and a flat vector on the
card, and one transfer. All columns of a row are measured in one run, in turn.

    python -m bench.gpu [--json bench/results/gpu.json] [--rounds 15]
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pytorch_minimize import _C
from pytorch_minimize.bridge.interface import Bridge
from pytorch_minimize.bridge.python import PythonBridge
from pytorch_minimize.optim import MinimizeWrapper

from .environment import environment, headline
from .rows import table
from .timing import interleaved

NUMELS = (1_000_000, 10_000_000, 100_000_000)
TENSORS = (10, 1000, 10_000)
# An MLP of 1e7 parameters.
WIDTHS = (64, 2210, 2210, 2210, 10)
BATCH = 4096


def parameters(numel: int, tensors: int) -> list[Tensor]:
    made = []
    for _ in range(tensors):
        made.append(torch.randn(numel // tensors, device="cuda", requires_grad=True))
        made[-1].grad = torch.randn_like(made[-1])
    return made


def ours(bridge: Bridge) -> Callable[[], object]:
    x, loss = bridge.flatten_params() + 0.0, torch.zeros((), device="cuda")

    def run() -> object:
        bridge.load_params(x)
        return bridge.evaluation(loss)

    return run


def pinned(numel: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.zeros(numel, dtype=dtype, pin_memory=True)


def transfers(
    numel: int, *, staged: bool = False, dtype: torch.dtype = torch.float64
) -> Callable[[], None]:
    x, up, down = np.ones(numel), pinned(numel, dtype), pinned(numel, dtype)
    flat = torch.zeros(numel, dtype=dtype, device="cuda")
    staging = up.numpy()

    def run() -> None:
        if staged:
            np.copyto(staging, x)
        flat.copy_(up, non_blocking=True)
        down.copy_(flat, non_blocking=True)
        torch.cuda.synchronize()

    return run


@torch.no_grad()
def foreach(params: list[Tensor], numel: int) -> Callable[[], None]:
    x, up, down = np.ones(numel), pinned(numel), pinned(numel)
    staging = up.numpy()
    flat = torch.zeros(numel, dtype=torch.float64, device="cuda")
    views = list(flat.split([param.numel() for param in params]))
    grads = [param.grad for param in params if param.grad is not None]

    @torch.no_grad()
    def run() -> None:
        np.copyto(staging, x)
        flat.copy_(up, non_blocking=True)
        torch._foreach_copy_(params, views)
        torch._foreach_copy_(views, grads)
        down.copy_(flat, non_blocking=True)
        torch.cuda.synchronize()

    return run


def round_trip(numel: int, tensors: int, rounds: int) -> dict[str, Any]:
    params = parameters(numel, tensors)
    seconds = interleaved(
        {
            "ours": ours(_C.ParameterBridge(params)),
            "floor": transfers(numel),
            "floor float32": transfers(numel, dtype=torch.float32),
            "staged": transfers(numel, staged=True),
            "foreach": foreach(params, numel),
            "python": ours(PythonBridge(params)),
        },
        rounds=rounds,
    )
    return {
        "numel": numel,
        "tensors": tensors,
        **{name: value * 1e3 for name, value in seconds.items()},
        "ours / floor": seconds["ours"] / seconds["floor"],
        "ours / staged": seconds["ours"] / seconds["staged"],
        "python / ours": seconds["python"] / seconds["ours"],
    }


def fit(method: str) -> dict[str, Any]:
    """Milliseconds per evaluation; the closure waits for its kernels, so that they are its own."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(WIDTHS):
        layers += [nn.Linear(inputs, outputs), nn.Tanh()]
    model = nn.Sequential(*layers[:-1]).cuda()
    data = torch.randn(BATCH, WIDTHS[0], device="cuda")
    labels = torch.randint(WIDTHS[-1], (BATCH,), device="cuda")
    optimizer = MinimizeWrapper(
        model.parameters(), {"method": method, "options": {"maxiter": 20}, "tol": 0.0}
    )

    def closure() -> Tensor:
        loss = nn.functional.cross_entropy(model(data), labels)
        loss.backward()
        torch.cuda.synchronize()
        return loss

    optimizer.step(closure)  # the first fit allocates
    optimizer.step(closure)
    profile = optimizer.profile
    evaluations = profile.counts["closure"]
    parts = {
        f"{part} ms": getattr(profile, part) * 1e3 / evaluations
        for part in ("closure", "bridge", "solver")
    }
    return {"method": method, "n": optimizer.bridge.numel, "evaluations": evaluations, **parts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, default=Path("bench/results/gpu.json"))
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("bench/gpu.py measures a CUDA card, and this torch finds none")
    report: dict[str, Any] = {"environment": environment()}
    report["environment"]["machine"]["card"] = torch.cuda.get_device_name()
    print(headline(report))
    trips = [
        round_trip(numel, tensors, arguments.rounds)
        for numel, tensors in itertools.product(NUMELS, TENSORS)
    ]
    print(table(trips), "milliseconds", sep="\n")
    fits = [fit(method) for method in ("L-BFGS-B", "CG")]
    print(table(fits))
    report |= {"trips": trips, "fits": fits}
    arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
