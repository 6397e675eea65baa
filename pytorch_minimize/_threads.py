"""Holding scipy's own BLAS threads still while scipy runs."""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable, Sequence
from pathlib import PurePath
from types import TracebackType
from typing import Any, cast

from threadpoolctl import LibController, ThreadpoolController

from ._bridge import native

__all__ = ["ScipyBlasThreads"]

# Where a scipy wheel keeps the libraries that only scipy uses: next to the package on Linux and
# Windows (auditwheel, delvewheel), inside it on macOS (delocate).
_PRIVATE_FOLDERS = (("scipy.libs",), ("scipy", ".dylibs"))
# How scipy's builds of OpenBLAS rename its functions, and OpenBLAS's own names.
_OPENBLAS_AFFIXES = (("scipy_", ""), ("scipy_", "64_"), ("", ""), ("", "64_"))


def _is_private_to_scipy(filepath: str) -> bool:
    parents = PurePath(filepath).parent.parts
    return any(parents[-len(folder) :] == folder for folder in _PRIVATE_FOLDERS)


# Sets a number of threads and returns the one before.
_Swap = Callable[[int], int]


def _swap_of(lib: LibController) -> _Swap:
    """The fastest that there is: through threadpoolctl a swap costs ten times as much."""
    get, set_ = (_openblas_function(lib, f"{verb}_num_threads") for verb in ("get", "set"))
    if get is not None and set_ is not None and native is not None:
        return cast(_Swap, native.ThreadNumber(_address(get), _address(set_)).swap)

    def swap(number: int) -> int:
        before = lib.get_num_threads()
        lib.set_num_threads(number)
        return int(before)

    return swap


def _openblas_function(lib: LibController, name: str) -> Any | None:
    names = [f"{prefix}openblas_{name}{suffix}" for prefix, suffix in _OPENBLAS_AFFIXES]
    found = (getattr(lib.dynlib, name, None) for name in names)
    return next((function for function in found if function is not None), None)


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


class _Limiter:
    """Libraries whose setting belongs to the process, shared by runs in several threads.

    The first run to hold them keeps the user's numbers, and the last to release gives them back.
    Holders are kept by name, not counted: an interrupt between a release and the hold that belongs
    to it would make a count wrong for the rest of the process.
    """

    def __init__(self, swaps: Sequence[_Swap]) -> None:
        self._swaps = swaps
        self._users: list[int] | None = None
        self._holders: set[object] = set()
        self._lock = threading.Lock()

    def hold(self, holder: object, threads: int) -> None:
        with self._lock:
            self._holders.add(holder)
            if self._users is None:
                self._users = [swap(threads) for swap in self._swaps]

    def release(self, holder: object) -> None:
        with self._lock:
            self._holders.discard(holder)
            if self._users is not None and not self._holders:
                for swap, number in zip(self._swaps, self._users, strict=True):
                    swap(number)
                self._users = None


@functools.cache
def _scipy_blas() -> _Limiter:
    """The BLAS libraries that scipy alone uses; looked up once per process (1 to 10 ms).

    A BLAS that scipy shares with torch or numpy (conda, a system package) is not among them:
    holding it would serialise the user's model.
    """
    import scipy.linalg.blas  # noqa: F401  (loads the library, else it would not be found)

    libraries = ThreadpoolController().select(user_api="blas").lib_controllers
    private = (lib for lib in libraries if _is_private_to_scipy(lib.filepath))
    return _Limiter([_swap_of(lib) for lib in private])


class ScipyBlasThreads:
    """Holds scipy's BLAS to ``threads`` inside a ``with`` block, except inside the closure.

    scipy's OpenBLAS threads spin after each call and take the cores from torch's: on two busy
    cores L-BFGS-B at n = 1e5 takes 91 to 124 ms per evaluation against 7 ms with one thread.
    The setting belongs to the process, so it is given back whenever the user's code runs.

    Args:
        threads: number of threads while scipy runs, or None to leave the library alone.
    """

    def __init__(self, threads: int | None) -> None:
        self._threads = threads
        self._limiter = None if threads is None else _scipy_blas()

    def __enter__(self) -> ScipyBlasThreads:
        self.hold()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def hold(self) -> None:
        """Before scipy goes on: its BLAS gets ``threads``, whatever the user's code set it to."""
        if self._limiter is not None:
            self._limiter.hold(self, self._threads or 1)

    def release(self) -> None:
        """Before the user's code runs: their own setting; nothing where it is released already."""
        if self._limiter is not None:
            self._limiter.release(self)
