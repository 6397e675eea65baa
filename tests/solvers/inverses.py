"""Matrices and updates to try inverse Hessians with, and how close two of them must be."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from emulated import testing
from torch import Tensor

from pytorch_minimize import _C
from pytorch_minimize.solvers.inverse import DeviceInverse
from pytorch_minimize.solvers.updates import RankTwo

EPSILON = np.finfo(np.float64).eps
# Below and above the rows and the threads of a block of a kernel.
DEVICE_SIZES = (1, 2, 3, 4, 5, 31, 32, 33, 127, 128, 129, 257, 600)
HOST = torch.device("cpu")


def symmetric(n: int, seed: int = 0) -> np.ndarray:
    root = np.random.default_rng(seed).standard_normal((n, n))
    return root + root.T


def changes(n: int, count: int) -> list[tuple[RankTwo, np.ndarray, np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(1)
    found = []
    for _ in range(count):
        tau, ss, sw, ww = rng.uniform(0.5, 1.5), *rng.standard_normal(3)
        found.append((RankTwo(tau, ss, sw, ww), *rng.standard_normal((3, n))))
    return found


def tensors(*arrays: np.ndarray) -> list[Tensor]:
    return [torch.from_numpy(array) for array in arrays]


def emulated_inverse(n: int, start: np.ndarray | None = None) -> DeviceInverse:
    """On the host by a device's kernels."""
    initial = None if start is None else torch.from_numpy(start)
    return DeviceInverse(n, HOST, initial, _C, testing().emulated_kernels)


def assert_close(found: Any, expected: np.ndarray) -> None:
    scale = float(abs(expected).max())
    error = float(abs(np.asarray(found) - expected).max())
    assert error <= 40 * EPSILON * max(1, expected.shape[0]) ** 0.5 * scale
