"""Fixtures of the whole suite."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True)
def _reproducible() -> Iterator[None]:
    """Every test draws the same numbers whichever ran before it, and sums in one order.

    One thread also because the tensors are tiny: where cores are busy, two threads spend
    their time waiting for each other. A test of threads sets its own number.
    """
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 (what torch's and scipy's own code may draw from)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
