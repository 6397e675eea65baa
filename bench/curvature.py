"""Hessian products in units of one gradient of the same closure, dense Hessians, and memory.

Products by the kept graph, by replay, by the same double backward in plain Python, and by
torch.autograd.functional; all of a row in one run, in turn.

    python bench/curvature.py [--json bench/results/curvature.json] [--repeats 30]
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _report import headline, interleaved, table, write
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from pytorch_minimize._bridge import PythonBridge, make_bridge
from pytorch_minimize._closure import ClosureRunner
from pytorch_minimize._curvature import Curvature, make_curvature
from pytorch_minimize._double_backward import identity_rows, symmetrise
from pytorch_minimize._hessian_operator import PythonHessianOperator
from pytorch_minimize._profile import Profile
from pytorch_minimize._settings import Settings, Strategy

MICRO_BATCHES = 16
WAYS = ("graph", "replay", "python", "vhp", "hvp")
DENSE_WAYS = ("ours", "functional", "vectorized")


@dataclass(frozen=True)
class Model:
    """A network and its data; the loss is the mean cross-entropy or square, over all of them."""

    name: str
    net: nn.Module
    inputs: Tensor
    targets: Tensor

    @property
    def params(self) -> tuple[Tensor, ...]:
        return tuple(self.net.parameters())

    def loss(self, *params: Tensor, rows: slice = slice(None)) -> Tensor:
        if params:
            names = (name for name, _ in self.net.named_parameters())
            values = dict(zip(names, params, strict=True))
            outputs = torch.func.functional_call(self.net, values, (self.inputs[rows],))
        else:
            outputs = self.net(self.inputs[rows])
        if self.targets.is_floating_point():
            return (outputs - self.targets[rows]).square().sum() / len(self.inputs)
        summed = nn.functional.cross_entropy(outputs, self.targets[rows], reduction="sum")
        return summed / len(self.inputs)

    def closure(self, count: int = 1, total: int = 1) -> Callable[[], float]:
        """The first `count` of `total` micro-batches, each with its own backward()."""
        size = -(-len(self.inputs) // total)

        def run() -> float:
            value = 0.0
            for k in range(count):
                loss = self.loss(rows=slice(k * size, (k + 1) * size))
                loss.backward()
                value += float(loss.detach())
            return value

        return run

    def curvature(self, strategy: Strategy, **batches: int) -> Curvature:
        runner = ClosureRunner(self.closure(**batches), make_bridge(self.params))
        curvature = make_curvature(strategy, runner, Profile(), Settings.hessian_block_bytes)
        curvature.evaluate()
        return curvature


def chain(widths: Iterable[int]) -> nn.Module:
    """Linear and tanh layers in turn, linear at the end."""
    widths = list(widths)
    layers: list[nn.Module] = []
    for narrow, wide in itertools.pairwise(widths):
        layers += [nn.Linear(narrow, wide), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def make_models(dtype: torch.dtype) -> list[Model]:
    torch.manual_seed(0)
    pixels, labels = load_digits(return_X_y=True)
    inputs, targets = torch.tensor(pixels / 16, dtype=dtype), torch.tensor(labels)
    noise = torch.randn(200, 32, dtype=dtype)
    return [
        Model("logistic", nn.Linear(64, 10).to(dtype), inputs, targets),
        Model("MLP", chain((64, 400, 400, 10)).to(dtype), inputs, targets),
        Model("deep", chain([32] * 21).to(dtype), noise, noise.roll(1, 0)),
    ]


def measure_products(model: Model, repeats: int) -> dict[str, Any]:
    params, bridge = model.params, make_bridge(model.params)
    v = np.random.default_rng(0).standard_normal(bridge.numel)
    vs = tuple(bridge.unflatten(v))
    kept, replayed = model.curvature("graph"), model.curvature("replay")
    python = PythonHessianOperator(PythonBridge(params))
    python.add([model.loss()], [None])
    runner = ClosureRunner(model.closure(), bridge)
    expected = kept.product(v)[0]

    def gradient() -> None:
        runner.value_and_gradient()
        bridge.flatten_grads()

    def by_functional(function: Any) -> Callable[[], Any]:
        return lambda: bridge.flatten(function(model.loss, params, vs)[1])

    cases: dict[str, Callable[[], Any]] = {
        "gradient": gradient,
        "graph": lambda: kept.product(v)[0],
        "replay": lambda: replayed.product(v)[0],
        "python": lambda: python.product(v)[0],
        "vhp": by_functional(torch.autograd.functional.vhp),
        "hvp": by_functional(torch.autograd.functional.hvp),
    }
    tolerance = 1e3 * torch.finfo(params[0].dtype).eps * float(np.linalg.norm(expected))
    for way in WAYS:
        assert np.linalg.norm(cases[way]() - expected) <= tolerance, way
    seconds = interleaved(cases, rounds=repeats)
    row = {"model": model.name, "n": bridge.numel, "gradient ms": seconds["gradient"] * 1e3}
    row |= {way: seconds[way] / seconds["gradient"] for way in WAYS}
    return row | {"vhp / graph": seconds["vhp"] / seconds["graph"]}


def measure_dense(model: Model, repeats: int) -> dict[str, Any]:
    params, curvature = model.params, model.curvature("graph")
    n = sum(p.numel() for p in params)

    def ours() -> Any:
        return symmetrise(curvature.products(identity_rows(n), n)[0])

    def functional(**how: Any) -> Callable[[], Any]:
        return lambda: torch.autograd.functional.hessian(model.loss, params, **how)

    cases = {
        "ours": ours,
        "functional": functional(),
        "vectorized": functional(vectorize=True),
    }
    seconds = interleaved(cases, rounds=repeats)
    row = {"model": model.name, "n": n} | {f"{way} s": seconds[way] for way in DENSE_WAYS}
    return row | {"functional / ours": seconds["functional"] / seconds["ours"]}


def peak_megabytes(run: Callable[[], object]) -> float:
    """The most that tensors took at a time during a run, beyond what there was before it."""
    run()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run()
    events = [e for e in profiled.profiler.kineto_results.events() if e.name() == "[memory]"]
    changes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return float(np.cumsum(changes).max()) / 1e6


def measure_memory(model: Model) -> dict[str, Any]:
    bridge = make_bridge(model.params)
    v = np.random.default_rng(0).standard_normal(bridge.numel)
    one = ClosureRunner(model.closure(1, MICRO_BATCHES), bridge)
    product_of_one = model.curvature("replay", count=1, total=MICRO_BATCHES)
    replayed = model.curvature("replay", count=MICRO_BATCHES, total=MICRO_BATCHES)
    kept = model.curvature("graph", count=MICRO_BATCHES, total=MICRO_BATCHES)

    def graph() -> None:
        kept.drop()
        kept.evaluate()
        kept.product(v)

    return {
        "model": model.name,
        "parameters MB": sum(p.nbytes for p in model.params) / 1e6,
        "data MB": model.inputs.nbytes / 1e6,
        "gradient of one": peak_megabytes(one.value_and_gradient),
        "replay of one": peak_megabytes(lambda: product_of_one.product(v)),
        f"replay of {MICRO_BATCHES}": peak_megabytes(lambda: replayed.product(v)),
        f"graph of {MICRO_BATCHES}": peak_megabytes(graph),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=Path("bench/results/curvature.json"))
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--dtype", default="float32", choices=("float32", "float64"))
    arguments = parser.parse_args()
    models = make_models(getattr(torch, arguments.dtype))

    print(headline())
    products = [measure_products(model, arguments.repeats) for model in models]
    print(f"One product, in gradients ({arguments.dtype})\n{table(products)}\n")
    dense = [measure_dense(models[0], max(3, arguments.repeats // 10))]
    print(f"Dense Hessian\n{table(dense)}\n")
    memory = [measure_memory(model) for model in models]
    print(f"Peak of tensors in {MICRO_BATCHES} micro-batches, MB\n{table(memory)}")
    write(arguments.json, [*products, *dense, *memory])


if __name__ == "__main__":
    main()
