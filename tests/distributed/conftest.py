"""Ranks that all files here share, where one process runs several of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ranks import Ranks


class _Pools:
    """One for each number of ranks, made anew where a test has spoilt it."""

    def __init__(self) -> None:
        self._pools: dict[int, Ranks] = {}

    def of(self, size: int) -> Ranks:
        if size in self._pools and self._pools[size].is_spoilt:
            self._pools.pop(size).close()
        if size not in self._pools:
            self._pools[size] = Ranks(size)
        return self._pools[size]

    def close(self) -> None:
        for ranks in self._pools.values():
            ranks.close()


@pytest.fixture(scope="session")
def pools() -> Iterator[_Pools]:
    made = _Pools()
    yield made
    made.close()


@pytest.fixture
def two(pools: _Pools) -> Ranks:
    return pools.of(2)


@pytest.fixture
def four(pools: _Pools) -> Ranks:
    return pools.of(4)
