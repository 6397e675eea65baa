"""Parameters of which this process has only a part."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

__all__ = ["refuse_sharded"]


def refuse_sharded(params: Iterable[Tensor]) -> None:
    """Refuse DTensors and parameters of FSDP, by their names.

    Raises:
        TypeError: there is one.
    """
    for number, param in enumerate(params):
        kind = _sharded_kind(param)
        if kind is not None:
            raise TypeError(
                f"parameter {number} is {kind}, of which each process holds a part; that is not "
                f"supported yet. Keep the whole model in each process, plain or under "
                f"DistributedDataParallel, and share out the data: distributed=True makes one fit "
                f"of it."
            )


def _sharded_kind(param: Tensor) -> str | None:
    # Marks that torch sets; to import its classes would cost every program that uses none.
    if type(param).__name__ == "DTensor":
        return "a DTensor, as fully_shard and tensor parallelism make them"
    if getattr(param, "_is_flat_param", False):
        return "a FlatParameter of FullyShardedDataParallel"
    if getattr(param, "_fsdp_flattened", False):
        return "managed by FullyShardedDataParallel"
    return None
