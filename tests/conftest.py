"""Fixtures of the whole suite."""

from __future__ import annotations

import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Every test draws the same numbers, whichever ran before it."""
    torch.manual_seed(0)
    np.random.seed(0)
