"""Our own methods where users write into results, pickle, stop searches, and state odd options."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from instance import Instance
from problems import rosenbrock

from pytorch_minimize.optim import MinimizeWrapper
from pytorch_minimize.solvers.methods import ROWS

each = pytest.mark.parametrize("method", [row.name for row in ROWS.values()])


def stepped(method: str, instance: Instance, **more: Any) -> MinimizeWrapper:
    args = {"method": method, "options": more.pop("options", {})}
    optimizer = MinimizeWrapper(instance.params, args, **more)
    optimizer.step(instance.closure(1))
    return optimizer


@each
def test_a_result_that_is_written_into_leaves_the_best_point(method: str) -> None:
    instance = rosenbrock()
    optimizer = stepped(method, instance, options={"return_all": True})
    end = instance.x
    optimizer.res.x[:] = 7.0
    optimizer.res.allvecs[-1][:] = 7.0
    optimizer.load_best()
    assert np.array_equal(instance.x, end)
