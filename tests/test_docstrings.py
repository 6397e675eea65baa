"""Every example in a docstring runs, and says what it prints."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import numpy as np
import pytest
import torch

import pytorch_minimize

MODULES = [
    module.name for module in pkgutil.walk_packages(pytorch_minimize.__path__, "pytorch_minimize.")
]


@pytest.mark.parametrize("name", sorted(name for name in MODULES if "._C" not in name))
def test_the_examples_run(name: str) -> None:
    module = importlib.import_module(name)
    result = doctest.testmod(module, extraglobs={"torch": torch, "np": np})
    assert result.failed == 0
