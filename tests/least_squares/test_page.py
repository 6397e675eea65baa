"""The examples of docs/least-squares.md run as they are printed, one after the other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "least-squares.md"


def test_the_examples_run(capsys: pytest.CaptureFixture[str]) -> None:
    if not PAGE.exists():
        pytest.skip("docs/least-squares.md is not beside these tests")
    examples = re.findall(
        r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    assert len(examples) >= 6
    names: dict[str, Any] = {}
    for example in examples:
        exec(example, names)
    printed = capsys.readouterr().out
    assert re.search(r"^height 2\.9\d\d \+- 0\.0\d\d$", printed, re.MULTILINE)


def test_every_picture_is_there() -> None:
    if not PAGE.exists():
        pytest.skip("docs/least-squares.md is not beside these tests")
    for picture in re.findall(r"!\[[^]]+\]\((.+?)\)", PAGE.read_text("utf-8")):
        assert (PAGE.parent / picture).read_bytes().startswith(b"\x89PNG")
