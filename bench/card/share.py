"""A plugin of pytest: of the tests that it found it runs every n-th, as ``CARD_SHARE=k/n`` says."""

from __future__ import annotations

import os
from typing import Any

__all__ = ["pytest_collection_modifyitems"]


def pytest_collection_modifyitems(config: Any, items: list[Any]) -> None:
    """One after the other, so that each share has some of every file."""
    which, count = map(int, os.environ["CARD_SHARE"].split("/"))
    others = [item for i, item in enumerate(items) if i % count != which]
    items[:] = items[which::count]
    config.hook.pytest_deselected(items=others)
