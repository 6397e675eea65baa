"""Writing a run's state while it goes on, so that a kill loses nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

__all__ = ["Checkpoint"]


class Checkpoint:
    """Writes a state to ``path`` at most every ``seconds``.

    The file is written beside ``path``, flushed to the disk and then renamed over it, so that a
    kill at any moment leaves the old file or the new one, whole.

    Args:
        path: of the file; its folder must exist.
        seconds: between two writes; 0 writes before each evaluation.
        state: gives what is to be written.
    """

    def __init__(
        self, path: str | os.PathLike[str], seconds: float, state: Callable[[], dict[str, Any]]
    ) -> None:
        self._path = Path(path)
        self._seconds = seconds
        self._state = state
        self._due = perf_counter() + seconds
        if not self._path.parent.is_dir():
            raise FileNotFoundError(
                f"checkpoint: the folder {str(self._path.parent)!r} does not exist; create it"
            )

    def if_due(self) -> None:
        """Write if ``seconds`` have passed since the last write."""
        if perf_counter() >= self._due:
            self.write()

    def write(self) -> None:
        """Write now."""
        beside = self._path.with_name(f".{self._path.name}.partial")
        try:
            with open(beside, "wb") as file:
                torch.save(self._state(), file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, self._path)
        finally:
            beside.unlink(missing_ok=True)
        self._due = perf_counter() + self._seconds
