"""Writing a run's state while it goes on, so that a kill loses nothing."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

__all__ = ["Checkpoint", "check_path"]

_LONG = 80  # characters of a path that messages show


def check_path(path: str | os.PathLike[str]) -> None:
    """Refuse what can be no path of a file, whatever is there now.

    Raises:
        ValueError: it is empty, or its file system takes no such name.
    """
    shown = repr(path) if len(repr(path)) < _LONG else f"{repr(path)[:_LONG]}..."
    if not os.fspath(path):
        raise ValueError(f"checkpoint: expected the path of a file, got {shown}")
    try:
        whole = Path(path).resolve()
        folder = next(p for p in (whole.parent, *whole.parents) if p.is_dir())
        for file in (whole, folder / _beside(whole).name):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                file.lstat()
    except (OSError, ValueError) as error:  # too long; or a null character in it
        reason = getattr(error, "strerror", None) or error
        raise ValueError(
            f"checkpoint: {shown} can be no path of a file ({reason}); choose another"
        ) from None


class Checkpoint:
    """Writes a state to ``path`` at most every ``seconds``.

    The file is written beside ``path``, flushed to the disk and then renamed over it, so that a
    kill at any moment leaves the old file or the new one, whole. A write that fails (a disk that
    is full) is told by a warning and leaves the old file: it must not cost the run.

    Args:
        path: of the file; its folder must exist.
        seconds: between two writes; 0 writes before each evaluation.
        state: gives what is to be written.

    Raises:
        OSError: there is no such folder, nothing can be written in it, or ``path`` is a folder or
            a device, which must not be replaced.
    """

    def __init__(
        self, path: str | os.PathLike[str], seconds: float, state: Callable[[], dict[str, Any]]
    ) -> None:
        # Neither a link at the path nor a change of the working directory redirects later writes.
        self._path = Path(path).resolve()
        self._seconds = seconds
        self._state = state
        self._due = perf_counter() + seconds
        if not self._path.parent.is_dir():
            raise FileNotFoundError(
                f"checkpoint: the folder {str(self._path.parent)!r} does not exist; create it"
            )
        if self._path.exists() and not self._path.is_file():
            raise FileExistsError(
                f"checkpoint: expected the path of a file, but there is something else at "
                f"{str(self._path)!r}; choose another"
            )
        self._beside = _beside(self._path)
        self._beside.touch()
        self._beside.unlink()

    def rest(self) -> float:
        """For how many seconds no write is due."""
        return self._due - perf_counter()

    def if_due(self) -> None:
        """Write if ``seconds`` have passed since the last write."""
        if perf_counter() >= self._due:
            self.write()

    def write(self) -> None:
        """Write now."""
        # Not into the file at once: where a write fails, or is interrupted, torch writes more to
        # the file when it is closed already, and that ends the process.
        content, beside = io.BytesIO(), self._beside
        torch.save(self._state(), content)
        try:
            try:
                with open(beside, "wb") as file:
                    file.write(content.getbuffer())
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(beside, self._path)
            finally:
                beside.unlink(missing_ok=True)
        except OSError as error:
            warnings.warn(
                f"checkpoint: writing {str(self._path)!r} failed ({error}); the run goes on, and "
                f"what was written before is still there",
                RuntimeWarning,
                stacklevel=2,
            )
        self._due = perf_counter() + self._seconds


def _beside(path: Path) -> Path:
    """Where a file is written before it is renamed.

    One name for all writes to a path: what a process left there that was killed while it wrote is
    taken away by the next write.
    """
    return path.with_name(f".{path.name}.partial")
