"""Losses whose Hessians are known from `torch.func`, and the closures that compute them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from instance import Instance, join
from problems import signal
from torch import Tensor, nn

from pytorch_minimize.typing import UserClosure

Make = Callable[[], Instance]
Call = Callable[[Tensor], Tensor]


@dataclasses.dataclass(frozen=True)
class Case:
    """A loss, and how its closure is written.

    `tolerance` is relative to the largest element of the Hessian.
    """

    name: str
    make: Make
    closure: Callable[[Instance], UserClosure] = lambda instance: instance.closure(1)
    tolerance: float = 1e-12

    def __str__(self) -> str:
        return self.name


def of_module(module: nn.Module, loss: Callable[[Call], Tensor]) -> Instance:
    """A module's parameters; `loss` is told how to call it."""
    module = module.double()
    names = [name for name, _ in module.named_parameters()]

    def of_tensors(tensors: Sequence[Tensor]) -> Tensor:
        values = dict(zip(names, tensors, strict=True))

        def call(inputs: Tensor) -> Tensor:
            return torch.func.functional_call(module, values, (inputs,))

        return loss(call)

    return Instance([p.detach().clone() for p in module.parameters()], of_tensors)


def seeded(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def mlp() -> Instance:
    torch.manual_seed(1)
    inputs, targets = seeded(12, 4), torch.arange(12) % 3
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 4), nn.GELU(), nn.Linear(4, 3))
    return of_module(net, lambda f: nn.functional.cross_entropy(f(inputs), targets))


def convolution() -> Instance:
    torch.manual_seed(1)
    images = seeded(3, 2, 6, 6)
    net = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.GroupNorm(1, 3), nn.Softplus(), nn.MaxPool2d(2), nn.Flatten()
    )
    return of_module(net, lambda f: f(images).square().sum())


class Autoencoder(nn.Module):
    """Encoder and decoder share one parameter under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(4, 4), nn.Linear(4, 4)
        self.decoder.weight = self.encoder.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(torch.tanh(self.encoder(x)))


def tied() -> Instance:
    torch.manual_seed(1)
    inputs = seeded(7, 4)
    return of_module(Autoencoder(), lambda f: (f(inputs) - inputs).square().mean())


def complex_and_real() -> Instance:
    z, w = torch.complex(seeded(2, 2), seeded(2, 2).flip(0)), seeded(3)

    def loss(tensors: Sequence[Tensor]) -> Tensor:
        z, w = tensors
        return (z @ z.exp()).abs().square().sum() * w.square().sum() + (z * z).imag.sum()

    return Instance([z, w], loss)


def mixed_dtypes() -> Instance:
    """Small integers throughout, so that every dtype computes exactly."""
    start = [
        torch.tensor([1.0, -2.0], dtype=torch.float32),
        torch.tensor([[3.0, 1.0]], dtype=torch.float64),
        torch.tensor([2.0 - 1.0j], dtype=torch.complex64),
        torch.tensor(2.0, dtype=torch.bfloat16),
    ]

    def loss(tensors: Sequence[Tensor]) -> Tensor:
        a, b, z, c = tensors
        z = torch.view_as_real(z).double()
        a, c = a.double(), c.double()
        return (a**3).sum() * (b**2).sum() + (z**2).sum() * c**2 * b.sum() + (a * z[0]).sum() ** 2

    return Instance(start, loss)


def linear_and_unused() -> Instance:
    def loss(tensors: Sequence[Tensor]) -> Tensor:
        used, linear, _ = tensors
        return (used**4).sum() + (3 * linear).sum()

    return Instance([seeded(3), seeded(2), seeded(4)], loss)


def all_linear() -> Instance:
    return Instance([seeded(3)], lambda tensors: (2 * join(tensors)).sum())


def batches_of(instance: Instance) -> list[Callable[[], Tensor]]:
    """The loss of `mlp` in four parts."""
    inputs, targets = seeded(12, 4), torch.arange(12) % 3

    def part(rows: slice) -> Tensor:
        w, b, v, c, u, d = instance.params
        hidden = nn.functional.gelu(torch.tanh(inputs[rows] @ w.T + b) @ v.T + c)
        scores = hidden @ u.T + d
        return nn.functional.cross_entropy(scores, targets[rows], reduction="sum") / 12

    return [lambda k=k: part(slice(3 * k, 3 * k + 3)) for k in range(4)]


def in_micro_batches(instance: Instance) -> UserClosure:
    def closure() -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for batch in batches_of(instance):
            loss = batch()
            loss.backward()
            total += loss.detach()
        return total

    return closure


def all_at_once(instance: Instance) -> UserClosure:
    """One call of torch.autograd.backward over several roots."""

    def closure() -> float:
        losses = [batch() for batch in batches_of(instance)]
        torch.autograd.backward(losses)
        return sum(loss.item() for loss in losses)

    return closure


def with_seeds(instance: Instance) -> UserClosure:
    """backward() of a vector with a seed, twice through one graph."""

    def closure() -> Tensor:
        losses = torch.stack([batch() for batch in batches_of(instance)])
        half = torch.full((4,), 0.5, dtype=torch.float64)
        losses.backward(half, retain_graph=True)
        losses.backward(gradient=half)
        return losses.sum()

    return closure


def leaf_by_leaf(instance: Instance) -> UserClosure:
    def closure() -> Tensor:
        loss = instance.model()
        for leaf in instance.params:
            loss.backward(inputs=leaf, retain_graph=True)
        return loss

    return closure


CASES = (
    Case("mlp", mlp),
    Case("mlp, no backward", mlp, lambda instance: instance.closure(2)),
    Case("mlp, object", mlp, lambda instance: instance.closure(3)),
    Case("mlp, micro-batches", mlp, in_micro_batches),
    Case("mlp, several roots", mlp, all_at_once),
    Case("mlp, seeds", mlp, with_seeds),
    Case("mlp, leaf by leaf", mlp, leaf_by_leaf),
    Case("convolution", convolution),
    Case("tied weights", tied),
    Case("complex", complex_and_real),
    Case("signal", signal),
    Case("mixed dtypes", mixed_dtypes, tolerance=0.0),
    Case("linear and unused", linear_and_unused),
    Case("all linear", all_linear, tolerance=0.0),
)
