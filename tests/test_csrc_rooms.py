"""The rooms of the C++ sources: what each includes, and that only one of them knows Python."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

CSRC = Path(__file__).parent.parent / "csrc"
SOURCES = sorted(path for path in CSRC.rglob("*") if path.is_file())

pytestmark = pytest.mark.skipif(not SOURCES, reason="csrc is not there: an installed package")

# What each room may include besides itself.
ROOMS = {
    "tensor": set(),
    "host": set(),
    "device": {"tensor", "host"},
    "device/cuda": {"device"},
    "flat": {"tensor", "host", "device"},
    "autograd": {"flat"},
    "python": {"tensor", "host", "device", "flat", "autograd"},
    "testing": {"tensor", "host", "device"},
}
KNOW_PYTHON = {"python", "testing"}
# torch's own headers that include Python's are under torch/csrc, but for those of autograd.
PYTHON = re.compile(
    r"pybind11|numpy|\bPython\.h|torch/extension\.h|torch/csrc/(?!autograd/)|python_"
)


def room_of(path: str | Path) -> str:
    return Path(path).parent.as_posix()


def includes(path: Path, quotes: str) -> Iterator[str]:
    yield from re.findall(rf"#include [{quotes}](.+)[\">]", path.read_text())


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(CSRC).as_posix())
def test_a_room_includes_those_below_it(path: Path) -> None:
    room = room_of(path.relative_to(CSRC))
    for included in includes(path, '"'):
        assert (CSRC / included).is_file(), f"{included} is not a path from csrc down"
        assert room_of(included) in ROOMS[room] | {room}, included
    if room not in KNOW_PYTHON:
        known = [name for name in includes(path, '<"') if PYTHON.search(name)]
        assert not known


def test_every_room_has_its_place() -> None:
    assert {room_of(path.relative_to(CSRC)) for path in SOURCES} == set(ROOMS)
