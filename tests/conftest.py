"""Both bridges as a fixture, and tensors of every dtype and layout."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import HealthCheck, settings

from pytorch_minimize import _C
from pytorch_minimize._bridge import PythonBridge

BRIDGES = [_C.ParameterBridge, PythonBridge]

settings.register_profile(
    "fixed",
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("fixed")


@pytest.fixture(params=BRIDGES, ids=["native", "python"])
def bridge_class(request: pytest.FixtureRequest) -> type:
    return request.param


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)
