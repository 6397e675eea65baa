"""Loads the scripts of examples/ as modules."""

from __future__ import annotations

import importlib.util
import pathlib
import sys
from types import ModuleType

FOLDER = pathlib.Path(__file__).parent.parent / "examples"


def load_example(name: str) -> ModuleType:
    """The script examples/<name>.py, run anew under its own name."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look annotations up
    spec.loader.exec_module(module)
    return module
