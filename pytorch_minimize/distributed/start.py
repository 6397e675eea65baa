"""What processes make sure of before a run: that it is one and the same in all of them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeVar

import numpy as np
import torch

from ..bridge.interface import Bridge
from .checksum import checksums
from .errors import OtherProcessError
from .group import LEADER, Group
from .signals import HeldSignals

__all__ = ["Agreement", "agree"]

T = TypeVar("T")

_VERSION = 2.0  # of what processes say to each other
# Where things are in what each of them says at the start.
_FAILED, _OF_VERSION, _NUMEL, _LAYOUT, _HOW, _WEIGHT, _HIGH, _LOW = range(8)


@dataclass(frozen=True)
class Agreement:
    """What all processes know once they have agreed.

    Attributes:
        share: by which this process's loss and gradient are multiplied; their sum over all
            processes is that of the run.
        is_even: whether all shares are the same.
        is_mean: whether they add up to 1.
    """

    share: float
    is_even: bool
    is_mean: bool


def agree(
    group: Group,
    signals: HeldSignals,
    prepare: Callable[[], T],
    bridge: Callable[[T], Bridge],
    names: Callable[[int], str],
    *,
    weight: float,
    reduction: str,
    start: str,
    rule: object = None,
) -> tuple[T, Agreement]:
    """Prepare a run here, and find out whether all processes have, for the same run.

    Args:
        group: of the processes.
        signals: held from here on.
        prepare: prepares this process's part; what it raises ends the step in all.
        bridge: of what was prepared; the parameters are at the start.
        names: the number of a parameter -> what a message calls it.
        weight, reduction: this process's weight, and "mean" or "sum".
        start: "same" where parameters must be the same in all, or "leader".
        rule: by which each makes its part, where it is not the leader's alone; has a plain repr.

    Raises:
        OtherProcessError: another process could not prepare its part.
        ValueError: they are not of the same run.
    """
    signals.hold()
    sums = np.empty(0, np.int64)
    prepared, error = signals.caught(prepare)
    row = torch.zeros(8, dtype=torch.float64)
    row[_FAILED] = float(error is not None)
    if error is None:
        assert prepared is not None
        over = bridge(prepared)
        sizes = [p.numel() * (2 if p.is_complex() else 1) for p in over.params]
        sums = checksums(over.flatten_params(), sizes)
        whole = np.frombuffer(blake2b(sums.tobytes(), digest_size=8).digest(), np.uint32)
        layout = [(tuple(p.shape), str(p.dtype)) for p in over.params]
        row[1:] = torch.tensor(
            [_VERSION, over.numel, _crc(layout), _crc((reduction, start, rule)), weight, *whole],
            dtype=torch.float64,
        )
    rows = [said.tolist() for said in group.gather(row.to(group.device))]
    if any(said[_FAILED] for said in rows):
        texts = group.tell(error)
        raise error if error is not None else OtherProcessError.of(texts, group.size)
    assert prepared is not None
    _require_same_run(rows)
    if start == "same" and _differ(rows, _HIGH, _LOW):
        mine = torch.from_numpy(sums).to(group.device)
        all_sums = [said.tolist() for said in group.gather(mine)]
        raise ValueError(_first_difference(all_sums, names))
    weights = [said[_WEIGHT] for said in rows]
    whole_weight = sum(weights) if reduction == "mean" else 1.0
    even = len(set(weights)) == 1
    return prepared, Agreement(weight / whole_weight, even, reduction == "mean")


def _crc(what: object) -> int:
    return zlib.crc32(repr(what).encode())


def _differ(rows: Sequence[Sequence[float]], *columns: int) -> int | None:
    """The first process that says something else there than the leader; None where none does."""
    for rank, row in enumerate(rows):
        if any(row[column] != rows[LEADER][column] for column in columns):
            return rank
    return None


def _require_same_run(rows: Sequence[Sequence[float]]) -> None:
    for column, what in (
        (_OF_VERSION, "another version of pytorch_minimize"),
        (_NUMEL, "another number of variables"),
        (_LAYOUT, "parameters of other shapes or dtypes"),
        (_HOW, "another reduction or distributed_start, or another method or loss,"),
    ):
        rank = _differ(rows, column)
        if rank is not None:
            counts = f": {rows[rank][column]:.0f}, not {rows[LEADER][column]:.0f}"
            raise ValueError(
                f"distributed: process {rank} has {what} than process {LEADER}"
                f"{counts if column == _NUMEL else ''}. One run needs the same optimizer in every "
                f"process; only data and weight may be others"
            )


def _first_difference(sums: Sequence[Sequence[int]], names: Callable[[int], str]) -> str:
    rank = _differ(sums, *range(len(sums[LEADER])))
    assert rank is not None
    pairs = enumerate(zip(sums[rank], sums[LEADER], strict=True))
    number = next(i for i, (own, leaders) in pairs if own != leaders)
    return (
        f"distributed: {names(number)} is another in process {rank} than in process {LEADER}. "
        f"Start from the same values in all: by the same seed before the model is made, or by "
        f'loading the same state; or distributed_start="leader" takes those of process {LEADER}'
    )
