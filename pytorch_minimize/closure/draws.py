"""Whether a closure draws random numbers, so that it is no function of the parameters."""

from __future__ import annotations

import random
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..typing import UserClosure
from .runner import ClosureRunner

__all__ = ["notice_draws"]


def notice_draws(runner: ClosureRunner) -> None:
    """Warn where each of the first two runs of the runner's closure draws random numbers.

    Two, since a closure may draw its data in the first run alone, or seed the generators itself:
    what comes after is a function. A generator of the closure's own is not seen.
    """
    runner.replace_closure(_Noticing(runner, runner.closure))


class _Noticing:
    """The closure, until it is known; then it is in its own place again."""

    def __init__(self, runner: ClosureRunner, closure: UserClosure) -> None:
        self._runner, self._closure = runner, closure
        self._drew_before = False

    def __call__(self) -> Any:
        before = _states()
        loss = self._closure()
        drew = _has_drawn(before, _states())
        if drew and not self._drew_before:
            self._drew_before = True
            return loss
        self._runner.replace_closure(self._closure)
        if drew:
            warnings.warn(
                "the closure draws random numbers. If its loss depends on them, as it does with a "
                "random mini-batch or dropout, the solver is misled by a function that changes, "
                "and may call any point a solution: put the model in eval mode, and draw data "
                "outside the closure. A shuffled pass over all of the data is harmless; "
                "check_closure=True looks whether it is one, and is not warned of this.",
                RuntimeWarning,
                stacklevel=2,
            )
        return loss


def _states() -> dict[str, Any]:
    """Of the generators that are drawn from where none is named."""
    states: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": np.random.get_state(legacy=False),  # noqa: NPY002 (it is the closure that may)
        "torch": torch.default_generator.get_state(),
    }
    if torch.cuda.is_initialized():
        for index, generator in enumerate(torch.cuda.default_generators):
            states[f"cuda:{index}"] = generator.get_state()
    return states


def _has_drawn(before: dict[str, Any], after: dict[str, Any]) -> bool:
    changed = [name for name, state in after.items() if not _same(before.get(name, state), state)]
    return bool(changed) and not (
        changed == ["torch"] and _is_one_seed(before["torch"], after["torch"])
    )


def _is_one_seed(before: Tensor, after: Tensor) -> bool:
    """Whether one whole int64 was drawn, as by a DataLoader for its workers, shuffling or not."""
    generator = torch.Generator()
    generator.set_state(before)
    torch.empty((), dtype=torch.int64).random_(generator=generator)
    return torch.equal(generator.get_state(), after)


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return all(_same(value, second[name]) for name, value in first.items())
    return bool(np.array_equal(first, second) if isinstance(first, np.ndarray) else first == second)
