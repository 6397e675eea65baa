"""The processes of one run, and the few things that they do together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import perf_counter, sleep
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ..record.profile import Profile
from ..typing import ProcessGroup
from .errors import OtherProcessError

__all__ = ["LEADER", "Group"]

LEADER = 0
"""The rank, in the group, of the process that runs the solver."""

_ON_HOST = (None, "gloo", "mpi")
_PATIENCE = 0.2  # seconds
_SAID = 480  # bytes that a process may say of what it raised


class Group:
    """A process group of torch's, with its collectives on the clock and counted.

    Where a collective fails, a process is gone: none is started after that.

    Args:
        given: what the user gave as ``distributed``: True for the default group, or one.
        params: that are optimised; buffers are on their device if the group reaches it.
        profile: gets time and counts: ``broadcast``, ``reduce``, ``gather``, and ``bytes`` that
            this process hands to them or is handed.

    Raises:
        RuntimeError: there is no default group.
        ValueError: this process is not of the group.
    """

    def __init__(
        self, given: bool | ProcessGroup, params: Iterable[Tensor], profile: Profile
    ) -> None:
        if not dist.is_available() or not dist.is_initialized():
            raise RuntimeError(
                "distributed=True: there is no process group. Call "
                "torch.distributed.init_process_group() before step, in a program that torchrun "
                "has started"
            )
        self._group = None if isinstance(given, bool) else given
        self.rank, self.size = dist.get_rank(self._group), dist.get_world_size(self._group)
        if self.rank < 0:
            raise ValueError(
                "distributed: this process is not of the group that it was given; step is to be "
                "called in those that are"
            )
        self.device = _device(dist.get_backend_config(self._group), params)
        self.is_lost = False
        self._handed: tuple[Tensor, ...] = ()
        self._profile = profile

    @property
    def leads(self) -> bool:
        """Whether this is the process that runs the solver."""
        return self.rank == LEADER

    def empty(self, size: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """A vector that can be sent."""
        return torch.empty(size, dtype=dtype, device=self.device)

    def counted(self, number: int) -> Tensor:
        """A number that can be sent."""
        return torch.tensor([float(number)], dtype=torch.float64).to(self.device)

    def broadcast(self, vector: Tensor) -> None:
        """The leader's vector in every process, in place."""
        self._together(
            "broadcast", vector, lambda: dist.broadcast(vector, group=self._group, group_src=LEADER)
        )

    def reduce(self, vector: Tensor) -> None:
        """The sum of all vectors in the leader's, in place; the others' are spoilt.

        With the same number of processes the sum is the same from run to run, bit for bit.
        """
        self._together(
            "reduce", vector, lambda: dist.reduce(vector, group=self._group, group_dst=LEADER)
        )

    def gather(self, vector: Tensor) -> list[Tensor]:
        """The vectors of all processes, in each of them."""
        rows = [torch.empty_like(vector) for _ in range(self.size)]
        self._together(
            "gather", vector, lambda: dist.all_gather(rows, vector, group=self._group), *rows
        )
        return rows

    def hand(self, rows: Tensor) -> None:
        """These rows to the leader, who takes them."""
        sent = rows.to(self.device)
        self._together("gather", sent, lambda: dist.send(sent, group=self._group, group_dst=LEADER))

    def take(self, rank: int, rows: Tensor) -> None:
        """Those of another process, in place."""
        is_there = rows.device == self.device
        received = rows if is_there else torch.empty_like(rows, device=self.device)
        self._together(
            "gather", received, lambda: dist.recv(received, group=self._group, group_src=rank)
        )
        if not is_there:
            rows.copy_(received)

    def tell(self, error: BaseException | None) -> dict[int, str]:
        """What each process has raised, by rank; for all to call at once.

        Args:
            error: what this one has.
        """
        text = b"" if error is None else _in_words(error).encode()
        mine = torch.zeros(_SAID, dtype=torch.uint8)
        said = text[:_SAID].decode(errors="ignore").encode()
        mine[: len(said)] = torch.frombuffer(bytearray(said), dtype=torch.uint8) if said else 0
        rows = self.gather(mine.to(self.device))
        texts = [bytes(row.tolist()).rstrip(b"\0").decode() for row in rows]
        return {rank: text for rank, text in enumerate(texts) if text}

    def let_go(self) -> None:
        """Wait until torch's own threads have dropped what was handed to them last.

        gloo's do a moment after a collective has returned, and need the GIL for that. In a process
        that ends at once they would be stopped in the middle of it, which aborts the process.
        """
        patience = perf_counter() + _PATIENCE
        while any(_is_held(each) for each in self._handed) and perf_counter() < patience:
            sleep(1e-4)
        self._handed = ()

    def _together(
        self, name: str, vector: Tensor, collective: Callable[[], Any], *received: Tensor
    ) -> None:
        if self.is_lost:
            raise OtherProcessError("a process of the group is gone: the run has ended")
        before = self._profile.clock.part
        self._profile.begin("communication", name)
        self._handed = vector, *received
        try:
            collective()
        except Exception as error:
            self.is_lost = True
            raise OtherProcessError.of_lost(error) from error
        finally:
            self._profile.begin(before)
        self._profile.count("bytes", vector.nbytes)


def _is_held(tensor: Tensor) -> bool:
    """Whether anybody holds it in C++."""
    count: int = tensor._use_count()  # type: ignore[attr-defined]
    return tensor.device.type == "cpu" and count > 1


def _in_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def _device(backends: str, params: Iterable[Tensor]) -> torch.device:
    """Where vectors are sent from, for a group with backends such as "cpu:gloo,cuda:nccl"."""
    backend_of = dict(pair.split(":") for pair in backends.split(","))
    devices = {param.device for param in params}
    device = devices.pop()
    # Not all that claim to reach a card can reduce there.
    if not devices and device.type != "cpu" and backend_of.get(device.type) not in _ON_HOST:
        return device
    if "cpu" in backend_of:
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())
