"""Fixtures of the whole suite: repeatable draws, and every bridge."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

# Before the first import of torch. Where tests run side by side on few cores, a thread that spins
# until another has done its part keeps it from the core: five times as long under two threads.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import pytest
import scipy.linalg.blas  # noqa: F401  (loads the library that the header names)
import threadpoolctl
import torch
from emulated import EMULATED
from hypothesis import HealthCheck, settings

from pytorch_minimize.bridge.make import native_bridge
from pytorch_minimize.bridge.parameters import checked
from pytorch_minimize.bridge.python import PythonBridge

# roundings.py runs the tests of paths with more than one.
THREADS = int(os.environ.get("TESTS_TORCH_THREADS", "1"))

# bench/ is beside the package, not in it. Last on the path, so that the package which is tested
# may be another build than the one in this folder.
sys.path.append(str(Path(__file__).parents[1]))

BRIDGES = {
    "native": native_bridge,
    "python": lambda params: PythonBridge(checked(params)),
} | EMULATED

settings.register_profile(
    "fixed",
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("fixed")

# A shell starts background jobs with Ctrl-C ignored, and Python then leaves it so.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    """What orders the sums here; a failure on another CPU may hang on it."""
    kinds = {
        owner: library["architecture"]
        for library in threadpoolctl.threadpool_info()
        for owner in ("numpy", "scipy")
        if library["internal_api"] == "openblas" and f"{owner}.libs" in library["filepath"]
    }
    blas = ", ".join(f"{owner} {kind}" for owner, kind in sorted(kinds.items()))
    aten = torch.backends.cpu.get_cpu_capability().lower()
    return f"rounding: ATen {aten}, OpenBLAS {blas}, torch threads {THREADS}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `gpu` are skipped only where there is no card to run them on."""
    if torch.cuda.is_available():
        return
    no_card = pytest.mark.skip(reason="no CUDA card that this torch can use")
    for item in items:
        if item.get_closest_marker("gpu") is not None:
            item.add_marker(no_card)


@pytest.fixture(params=BRIDGES.values(), ids=BRIDGES)
def bridge_class(request: pytest.FixtureRequest) -> type:
    return request.param


@pytest.fixture(autouse=True)
def _reproducible() -> Iterator[None]:
    """Every test draws the same numbers whichever ran before it, and sums in one order.

    One thread also because the tensors are tiny: where cores are busy, two threads spend
    their time waiting for each other. A test of threads sets its own number.
    """
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 (what torch's and scipy's own code may draw from)
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)
