"""Fits of models that torch's own ways to many processes have wrapped."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from together_cases import Ended, Shared, ended
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from pytorch_minimize import optim


def wrapped(rank: int, size: int, method: str, keywords: dict[str, Any], inside: bool) -> Ended:
    """A fit under DDP, with the loss of all rows in equal shares.

    Args:
        rank, size: which share, of how many.
        method, keywords: of the optimizer.
        inside: the closure calls the module inside.
    """
    shared = Shared(rank, size)
    # Equal shares, so that equal weights are right.
    inputs, targets = (each[:20] for each in (shared.inputs, shared.targets))
    model = DistributedDataParallel(shared.model)
    called: Callable[[Tensor], Tensor] = model.module if inside else model

    def closure() -> Tensor:
        return (called(inputs).squeeze(-1) - targets).square().mean()

    args = {"method": method, "options": {"maxiter": 5}}
    optimizer = optim.MinimizeWrapper(model.parameters(), args, distributed=True, **keywords)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        loss = optimizer.step(closure)
        again = ended(optimizer, optimizer.step(closure))  # also where nobody looks any more
    assert again.loss <= loss.item()
    return again._replace(history=[str(warning.message) for warning in seen])


def accumulated(rank: int, size: int) -> Ended:
    """Micro-batches under DDP, the last of which averages."""
    shared = Shared(rank, size)
    model = DistributedDataParallel(shared.model)

    def closure() -> Tensor:
        halves = list(zip(shared.inputs[:20].split(10), shared.targets[:20].split(10), strict=True))
        total = torch.zeros((), dtype=torch.float64)
        for number, (inputs, targets) in enumerate(halves):
            model.require_backward_grad_sync = number == len(halves) - 1
            part = (model(inputs).squeeze(-1) - targets).square().sum() / 20
            part.backward()
            total += part.detach()
        return total

    args = {"method": "L-BFGS-B", "options": {"maxiter": 5}}
    optimizer = optim.MinimizeWrapper(model.parameters(), args, distributed=True)
    optimizer.step(closure)
    return ended(optimizer, optimizer.step(closure))


def sharded(rank: int, size: int, how: str) -> None:
    """An optimizer of parameters of which each rank has a part."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard

    shared = Shared(rank, size)
    if how == "fully_shard":
        fully_shard(shared.model, mesh=init_device_mesh("cpu", (size,)))
        params = list(shared.model.parameters())
    else:
        original = how == "original parameters"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = FullyShardedDataParallel(
                shared.model, use_orig_params=original, device_id=torch.device("cpu")
            )
        params = list(model.parameters())
    optim.MinimizeWrapper(params, {"method": "BFGS"}, distributed=True)


def weighted(rank: int, size: int, method: str, keywords: dict[str, Any], inside: bool) -> Ended:
    """The same, where a weight of None stands for one that is not that of the others."""
    keywords = {name: rank + 1.0 if value is None else value for name, value in keywords.items()}
    return wrapped(rank, size, method, keywords, inside)
