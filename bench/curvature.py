"""Hessian products in units of one gradient of the same closure, dense Hessians, and memory.

Products by the kept graph, by replay, by the same double backward in plain Python, and by
torch.autograd.functional; all of a row in one run, in turn. The floor is `torch.autograd.grad` over
a graph that is kept, on the same tensors, nothing flattened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from pytorch_minimize.bridge.make import make_bridge
from pytorch_minimize.bridge.python import PythonBridge
from pytorch_minimize.closure.runner import ClosureRunner
from pytorch_minimize.curvature.dense import symmetrise
from pytorch_minimize.curvature.operator import PythonHessianOperator
from pytorch_minimize.curvature.strategies import Curvature, make_curvature
from pytorch_minimize.record.profile import Profile
from pytorch_minimize.settings import Settings, Strategy

from .problems import chain, digits
from .timing import interleaved

__all__ = ["dense", "memory", "products"]

MICRO_BATCHES = 16
WAYS = ("graph", "replay", "python", "vhp", "hvp")
FLOOR = "floor"
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
            summed: Tensor = (outputs - self.targets[rows]).square().sum()
            return summed / len(self.inputs)
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


def make_models(dtype: torch.dtype) -> list[Model]:
    torch.manual_seed(0)
    inputs, targets = digits(dtype)
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

    grads = torch.autograd.grad(model.loss(), params, create_graph=True)

    cases: dict[str, Callable[[], Any]] = {
        "gradient": gradient,
        FLOOR: lambda: torch.autograd.grad(grads, params, vs, retain_graph=True),
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
    row |= {way: seconds[way] / seconds["gradient"] for way in (FLOOR, *WAYS)}
    row["graph / floor"] = seconds["graph"] / seconds[FLOOR]
    return row | {"vhp / graph": seconds["vhp"] / seconds["graph"]}


def measure_dense(model: Model, repeats: int) -> dict[str, Any]:
    params, curvature = model.params, model.curvature("graph")
    n = sum(p.numel() for p in params)

    def functional(**how: Any) -> Callable[[], Any]:
        return lambda: torch.autograd.functional.hessian(model.loss, params, **how)

    cases: dict[str, Callable[[], Any]] = {
        "gradient": ClosureRunner(model.closure(), make_bridge(params)).value_and_gradient,
        "ours": lambda: symmetrise(curvature.hessian()[0]),
        "functional": functional(),
        "vectorized": functional(vectorize=True),
    }
    seconds = interleaved(cases, rounds=repeats)
    return {
        "model": model.name,
        "n": n,
        **{f"{way} s": seconds[way] for way in DENSE_WAYS},
        **{f"{way}, in gradients": seconds[way] / seconds["gradient"] for way in DENSE_WAYS},
        "functional / ours": seconds["functional"] / seconds["ours"],
    }


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
    vs = bridge.unflatten(v)
    one = ClosureRunner(model.closure(1, MICRO_BATCHES), bridge)
    kept = model.curvature("graph", count=MICRO_BATCHES, total=MICRO_BATCHES)

    def replay(batches: int) -> Callable[[], object]:
        # Made here: it compares the gradient that is left in .grad with the one it replays.
        curvature = model.curvature("replay", count=batches, total=MICRO_BATCHES)
        return lambda: curvature.product(v)

    def graph() -> None:
        kept.drop()
        kept.evaluate()
        kept.product(v)

    def alone() -> None:
        """By torch, of one micro-batch; v is there before."""
        loss = model.loss(rows=slice(0, -(-len(model.inputs) // MICRO_BATCHES)))
        grads = torch.autograd.grad(loss, model.params, create_graph=True)
        torch.autograd.grad(grads, model.params, vs)

    product, replayed = peak_megabytes(alone), peak_megabytes(replay(MICRO_BATCHES))
    return {
        "model": model.name,
        "parameters MB": sum(p.nbytes for p in model.params) / 1e6,
        "data MB": model.inputs.nbytes / 1e6,
        "gradient of one": peak_megabytes(one.value_and_gradient),
        "product of one": product,
        "replay of one": peak_megabytes(replay(1)),
        f"replay of {MICRO_BATCHES}": replayed,
        f"graph of {MICRO_BATCHES}": peak_megabytes(graph),
        "replay / product": replayed / product,
    }


def products(models: list[str], rounds: int) -> list[dict[str, Any]]:
    """One product in gradients, for each of the models named."""
    return [
        measure_products(model, rounds)
        for model in make_models(torch.float32)
        if model.name in models
    ]


def dense(rounds: int) -> list[dict[str, Any]]:
    """Seconds of the logistic model's Hessian."""
    return [measure_dense(make_models(torch.float32)[0], rounds)]


def memory(models: list[str]) -> list[dict[str, Any]]:
    """Megabytes at the peak of a product over micro-batches; of one by torch alone, first."""
    return [measure_memory(model) for model in make_models(torch.float32) if model.name in models]
