"""The C++ extension, and the environment variable that asks for it or not.

``PYTORCH_MINIMIZE_BRIDGE`` (``native``, the default, or ``python``) is read when this module is
imported and again for each bridge that is made.
"""

from __future__ import annotations

import os
from types import ModuleType

import torch

from .rebuild import how_to_rebuild
from .wording import did_you_mean, shown

__all__ = ["chosen_bridge", "load_extension", "native"]

_VARIABLE = "PYTORCH_MINIMIZE_BRIDGE"


def chosen_bridge() -> str:
    choice = os.environ.get(_VARIABLE, "native")
    if choice not in ("native", "python"):
        hint = did_you_mean(choice, ("native", "python"))
        raise ValueError(f"{_VARIABLE} must be 'native' or 'python', got {shown(choice)}{hint}")
    return choice


def load_extension() -> ModuleType:
    """The C++ extension, once it is known to fit the torch that is running."""
    try:
        from pytorch_minimize import _C
    except ImportError as error:
        raise ImportError(
            "the C++ extension of pytorch_minimize is missing, or was built for another torch than "
            f"{torch.__version__} ({error}). Build it {how_to_rebuild()}"
        ) from error
    built_for = _C.build_info()["torch"]
    if built_for != torch.__version__:
        raise ImportError(
            f"the C++ extension of pytorch_minimize was built for torch {built_for}, but torch "
            f"{torch.__version__} is running. Rebuild it {how_to_rebuild()}"
        )
    return _C


native: ModuleType | None = None if chosen_bridge() == "python" else load_extension()
"""The extension, unless the Python bridge was chosen."""
