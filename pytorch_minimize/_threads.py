"""Holding scipy's own BLAS threads still while scipy runs."""

from __future__ import annotations

import functools
from pathlib import PurePath
from types import TracebackType

from threadpoolctl import LibController, ThreadpoolController

__all__ = ["ScipyBlasThreads"]

# Where a scipy wheel keeps the libraries that only scipy uses: next to the package on Linux and
# Windows (auditwheel, delvewheel), inside it on macOS (delocate).
_PRIVATE_FOLDERS = (("scipy.libs",), ("scipy", ".dylibs"))


def _is_private_to_scipy(filepath: str) -> bool:
    parents = PurePath(filepath).parent.parts
    return any(parents[-len(folder) :] == folder for folder in _PRIVATE_FOLDERS)


@functools.cache
def _scipy_blas() -> tuple[LibController, ...]:
    """The BLAS libraries that scipy alone uses; looked up once per process (1 to 10 ms).

    A BLAS that scipy shares with torch or numpy (conda, a system package) is not among them:
    holding it would serialise the user's model.
    """
    import scipy.linalg.blas  # noqa: F401  (loads the library, else it would not be found)

    libraries = ThreadpoolController().select(user_api="blas").lib_controllers
    return tuple(lib for lib in libraries if _is_private_to_scipy(lib.filepath))


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
        self._libraries: tuple[LibController, ...] = ()
        self._users: list[int] = []

    def __enter__(self) -> ScipyBlasThreads:
        self._libraries = () if self._threads is None else _scipy_blas()
        self.hold()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()
        self._libraries = ()

    def hold(self) -> None:
        """Before scipy goes on: its BLAS gets ``threads``, whatever the user's code set it to."""
        self._users = [lib.get_num_threads() for lib in self._libraries]
        for lib in self._libraries:
            lib.set_num_threads(self._threads)

    def release(self) -> None:
        """Before the user's code runs: their own setting."""
        for lib, number in zip(self._libraries, self._users, strict=True):
            lib.set_num_threads(number)
