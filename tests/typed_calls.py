"""What type checkers know of the keywords of every optimizer: mypy reads this file, nobody runs it.

A wrong call that they took would be an ignore without an error, which is one of mypy's.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from typing_extensions import assert_type

from pytorch_minimize.optim import DirectWrapper, MinimizeWrapper, MultiStartWrapper
from pytorch_minimize.settings import RunKeywords, Settings


def right(params: list[torch.nn.Parameter], args: dict[str, Any]) -> None:
    MinimizeWrapper(params, args, timeout=60, curvature="replay", checkpoint=("run.pt", 30.0))
    MinimizeWrapper(params, recover=ValueError, lr=torch.tensor(1.0), captured_graph=True)
    DirectWrapper(params, args, max_evaluations=100, recover=(ValueError, OSError))
    MultiStartWrapper(params, args, starts=8, rng=0, hopeless_after=20, timeout=60)
    MultiStartWrapper(params, args, lambda rng: rng.normal(size=(8, 3)), nonfinite="raise")


def wrong(params: list[torch.nn.Parameter], args: dict[str, Any]) -> None:
    MinimizeWrapper(params, args, timeout="60")  # type: ignore[arg-type]
    MinimizeWrapper(params, args, time_out=60)  # type: ignore[call-arg]
    MinimizeWrapper(params, args, curvature="hess")  # type: ignore[arg-type]
    DirectWrapper(params, args, max_evaluations=1.5)  # type: ignore[arg-type]
    MultiStartWrapper(params, args, start=8)  # type: ignore[call-arg]
    MultiStartWrapper(params, args, hopeless_after="20")  # type: ignore[arg-type]
    DirectWrapper(params, args, checkpoint="run.pt")  # type: ignore[arg-type]


def what_a_run_came_to(optimizer: MinimizeWrapper) -> None:
    assert_type(optimizer.history.loss, NDArray[np.float64])
    print(optimizer.history.losses)  # type: ignore[attr-defined]
    optimizer.history.loss = np.zeros(3)  # type: ignore[misc]
    optimizer.history.plot(against="evaluations", minus=1.0, label="BFGS")
    optimizer.history.plot(against="iteration")  # type: ignore[arg-type]


def types_are_those_of_the_settings(keywords: RunKeywords) -> None:
    settings = Settings(**keywords)
    assert_type(settings.timeout, float | None)
