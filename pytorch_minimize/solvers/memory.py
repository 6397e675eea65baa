"""Whether a dense matrix fits where it is to be."""

from __future__ import annotations

import os

import torch

__all__ = ["check_fits", "check_pairs_fit", "free_bytes"]

_REAL = 8


def free_bytes(device: torch.device | None = None) -> int | None:
    """Memory that can be had, of the host or of a CUDA device; None where that is unknown."""
    if device is not None and device.type == "cuda":
        # What torch's allocator keeps idle, H of the last step say, can be had as well.
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + idle
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def check_fits(method: str, n: int, device: torch.device | None = None) -> None:
    """Refuse n variables whose inverse Hessian does not fit.

    Raises:
        MemoryError: 8 n^2 bytes are more than there are; says both.
    """
    needed, free = _REAL * n * n, free_bytes(device)
    if free is not None and needed > free:
        raise MemoryError(
            f"{method} keeps a dense inverse Hessian, which for {n} variables takes "
            f"{needed / 1e9:.3g} GB; {free / 1e9:.3g} GB are free. method='SS-L-BFGS' keeps a few "
            "vectors instead"
        )


def check_pairs_fit(
    method: str, pairs: int, element: int, n: int, device: torch.device | None = None
) -> None:
    """Refuse pairs of limited memory that do not fit, with the six vectors beside them.

    Args:
        method: its name.
        pairs: how many.
        element: bytes of one of their elements.
        n: variables.
        device: where they are to be.

    Raises:
        MemoryError: they take more than there is; says both.
    """
    needed, free = (2 * pairs * element + 6 * _REAL) * n, free_bytes(device)
    if free is not None and needed > free:
        raise MemoryError(
            f"{method} keeps {pairs} pairs of vectors and works on six, which for {n} variables "
            f"take {needed / 1e9:.3g} GB; {free / 1e9:.3g} GB are free. A smaller maxcor, or "
            "history_dtype='float32', takes less"
        )
