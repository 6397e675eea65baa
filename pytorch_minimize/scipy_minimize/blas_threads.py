"""Holding the BLAS threads of scipy and numpy still while a solver of scipy's runs."""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, Protocol

from threadpoolctl import LibController, ThreadpoolController

from ..extension import native
from ..problem.guard import SolverThreads

__all__ = ["blas_threads"]

# Where a wheel keeps the libraries that only it uses: next to the package on Linux and Windows
# (auditwheel, delvewheel), inside it on macOS (delocate).
_PRIVATE_FOLDERS = tuple(
    folder for name in ("scipy", "numpy") for folder in ((f"{name}.libs",), (name, ".dylibs"))
)
# How scipy's builds of OpenBLAS rename its functions, and OpenBLAS's own names.
_OPENBLAS_AFFIXES = (("scipy_", ""), ("scipy_", "64_"), ("", ""), ("", "64_"))


def _is_private(filepath: str) -> bool:
    parents = PurePath(filepath).parent.parts
    return any(parents[-len(folder) :] == folder for folder in _PRIVATE_FOLDERS)


class _Limit(Protocol):
    """Libraries whose setting belongs to the process, shared by runs in several threads.

    The first run to hold them keeps the user's numbers, and the last to release gives them back.
    Holders are told apart, not counted: an interrupt between a release and the hold that belongs
    to it would make a count wrong for the rest of the process.
    """

    def hold(self, holder: int, number: int) -> None: ...

    def release(self, holder: int) -> None: ...


class _SlowLimit:
    """:class:`_Limit` of any libraries; ten times as slow as the extension's, of OpenBLAS alone."""

    def __init__(self, libraries: Sequence[LibController]) -> None:
        self._libraries = libraries
        self._users: list[int] | None = None
        self._holders: set[int] = set()
        self._lock = threading.Lock()

    def hold(self, holder: int, number: int) -> None:
        with self._lock:
            self._holders.add(holder)
            if self._users is None:
                self._users = [lib.get_num_threads() for lib in self._libraries]
                for lib in self._libraries:
                    lib.set_num_threads(number)

    def release(self, holder: int) -> None:
        with self._lock:
            self._holders.discard(holder)
            if self._users is not None and not self._holders:
                for lib, number in zip(self._libraries, self._users, strict=True):
                    lib.set_num_threads(number)
                self._users = None


def _limit(libraries: Sequence[LibController]) -> _Limit:
    functions = [_openblas_functions(lib) for lib in libraries]
    if native is None or None in functions:
        return _SlowLimit(libraries)
    limit: _Limit = native.ThreadLimit(functions)
    return limit


def _openblas_functions(lib: LibController) -> tuple[int, int] | None:
    """The addresses of its functions that get and set the number of threads."""
    for prefix, suffix in _OPENBLAS_AFFIXES:
        get, set_ = (f"{prefix}openblas_{verb}_num_threads{suffix}" for verb in ("get", "set"))
        if hasattr(lib.dynlib, get) and hasattr(lib.dynlib, set_):
            return _address(getattr(lib.dynlib, get)), _address(getattr(lib.dynlib, set_))
    return None


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0


_looks = threading.Lock()


def _private_blas() -> _Limit:
    """The one of this process: two would each take the other's number for the user's."""
    with _looks:
        return _found_blas()


@functools.cache
def _found_blas() -> _Limit:
    """The BLAS libraries of scipy's and numpy's own; looked up once per process (1 to 10 ms).

    scipy's L-BFGS-B and SLSQP call the one, its CG, BFGS, Newton-CG and trust-region methods the
    other. A BLAS that they share with torch (conda, a system package) is not among them: holding
    it would serialise the user's model.
    """
    import scipy.linalg.blas  # noqa: F401  (loads the library, else it would not be found)

    libraries = ThreadpoolController().select(user_api="blas").lib_controllers
    return _limit([lib for lib in libraries if _is_private(lib.filepath)])


class _Hold:
    """One of those who hold a limit."""

    def __init__(self, limit: _Limit, number: int) -> None:
        self._limit, self._number = limit, number

    def hold(self) -> None:
        self._limit.hold(id(self), self._number)

    def release(self) -> None:
        self._limit.release(id(self))

    def __del__(self) -> None:  # another may get its id
        self.release()


def blas_threads(number: int | None) -> SolverThreads | None:
    """Holds scipy's and numpy's BLAS to so many threads, but in the closure; None: it does not.

    OpenBLAS's threads spin after each call and take the cores from torch's: on two busy cores
    L-BFGS-B at n = 1e5 takes 91 to 124 ms per evaluation against 7 ms with one thread, and a whole
    fit by CG at n = 3e5 2.9 times as long.
    The setting belongs to the process, so it is given back whenever the user's code runs.
    """
    if number is None:
        return None
    limit = _private_blas()
    if native is not None and isinstance(limit, native.ThreadLimit):
        held: SolverThreads = native.ThreadHold(limit, number)
        return held
    return _Hold(limit, number)
