"""What torch's threads hold when a step ends."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist

from pytorch_minimize.distributed.group import Group
from pytorch_minimize.record.profile import Profile


@pytest.fixture
def group() -> Iterator[Group]:
    """Of this process alone."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        yield Group(True, [torch.zeros(1)], Profile())
    finally:
        dist.destroy_process_group()


def test_nothing_is_held_in_cpp_after_it(group: Group) -> None:
    for _ in range(20):
        vector = torch.zeros(100_000)
        group.broadcast(vector)
        rows = group.gather(vector)
        group.let_go()
        counts = [each._use_count() for each in (vector, *rows)]  # type: ignore[attr-defined]
        assert counts == [1, 1]
        assert not group._handed


def test_what_stays_held_is_waited_for_only_so_long(group: Group) -> None:
    vector = torch.ones(3, requires_grad=True)
    kept = vector.square().sum()  # whose graph holds it
    with torch.no_grad():
        group.broadcast(vector)
    start = time.perf_counter()
    group.let_go()
    assert 0.1 < time.perf_counter() - start < 5.0
    kept.backward()
