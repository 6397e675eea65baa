"""Processes of one group, started once and given many cases."""

from __future__ import annotations

import contextlib
import multiprocessing
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist

__all__ = ["Raised", "Ranks", "answered"]

_START = 120.0  # seconds for the processes to import torch, on a machine that is busy


class Raised(NamedTuple):
    """What a rank raised in a case."""

    kind: str
    message: str
    where: str


class Ranks:
    """Ranks of a gloo group, each a process of one thread.

    Args:
        size: how many.
        timeout: of the group, in seconds.
    """

    def __init__(self, size: int, timeout: float = 30.0) -> None:
        self.size = size
        self.is_spoilt = False
        # Forked from a process that has imported what takes long, and done nothing else.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["torch._dynamo", "pytorch_minimize.optim"])
        self._folder = tempfile.TemporaryDirectory()
        self._ends: list[Connection] = []
        self.processes = []
        for rank in range(size):
            ours, theirs = context.Pipe()
            given = theirs, rank, size, Path(self._folder.name, "store"), timeout
            process = context.Process(target=_serve, args=given, daemon=True)
            process.start()
            theirs.close()
            self._ends.append(ours)
            self.processes.append(process)
        self._collect(_START)

    def run(self, case: Callable[..., Any], *args: Any, within: float = 30.0) -> list[Any]:
        """What ``case(rank, *args)`` gives in each rank, a :class:`Raised` where it raised.

        None stands for a rank that was killed.

        Raises:
            TimeoutError: not all have answered within so many seconds.
        """
        for end in self._ends:
            with contextlib.suppress(BrokenPipeError):
                end.send((case, args))
        return self._collect(within)

    def close(self) -> None:
        """End the processes, whatever they do."""
        for process in self.processes:
            process.kill()
        for end, process in zip(self._ends, self.processes, strict=True):
            process.join()
            end.close()
        self._folder.cleanup()

    def __enter__(self) -> Ranks:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _collect(self, within: float) -> list[Any]:
        end_of_time = time.monotonic() + within
        found: dict[int, Any] = {}
        while len(found) < self.size:
            waiting = [end for rank, end in enumerate(self._ends) if rank not in found]
            ready = wait(waiting, max(0.0, end_of_time - time.monotonic()))
            if not ready:
                self.is_spoilt = True
                missing = sorted(set(range(self.size)) - set(found))
                raise TimeoutError(f"ranks {missing} did not answer in {within} s")
            for end in ready:
                rank = self._ends.index(end)
                try:
                    found[rank] = end.recv()
                except (EOFError, ConnectionResetError):
                    found[rank], self.is_spoilt = None, True
        return [found[rank] for rank in range(self.size)]


def answered(answers: list[Any]) -> list[Any]:
    """The answers, if no rank has raised."""
    for answer in answers:
        assert not isinstance(answer, Raised), answer.where
    return answers


def _serve(end: Connection, rank: int, size: int, store: Path, timeout: float) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{store}",
        rank=rank,
        world_size=size,
        timeout=timedelta(seconds=timeout),
    )
    end.send("ready")
    while True:
        case, args = end.recv()
        try:
            answer = case(rank, *args)
        except BaseException as error:
            answer = Raised(type(error).__name__, str(error), traceback.format_exc())
        end.send(answer)
