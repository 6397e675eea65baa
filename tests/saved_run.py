"""A run whose state the tests of loading save."""

from __future__ import annotations

from typing import Any

from instance import Instance
from problems import rosenbrock

from pytorch_minimize.optim import MinimizeWrapper


def fitted(**more: Any) -> tuple[Instance, MinimizeWrapper]:
    """A problem and an optimizer after a few iterations of BFGS."""
    instance = rosenbrock()
    given = {"method": "BFGS", "options": {"maxiter": 5}}
    optimizer = MinimizeWrapper(instance.params, given, warm_start=True, **more)
    optimizer.step(instance.closure(1))
    return instance, optimizer
