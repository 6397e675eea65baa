"""Every example in a docstring runs, and says what it prints."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import numpy as np
import pytest
import torch

import pytorch_minimize

MODULES = [module.name for module in pkgutil.iter_modules(pytorch_minimize.__path__)]


@pytest.mark.parametrize("name", sorted(set(MODULES) - {"_C"}))
def test_the_examples_run(name: str) -> None:
    module = importlib.import_module(f"pytorch_minimize.{name}")
    result = doctest.testmod(module, extraglobs={"torch": torch, "np": np})
    assert result.failed == 0
