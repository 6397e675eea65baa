"""A loss with a wall: beyond it there is none, and the closure says so in one of many ways."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

# What a closure may return where it has no loss, by the value.
WITHOUT_GRAPH: dict[str, Callable[[Tensor], Any]] = {
    "inf": lambda x: math.inf,
    "NaN": lambda x: math.nan,
    "tensor": lambda x: torch.tensor(math.nan),
    "numpy": lambda x: np.float64(math.inf),
    "of another parameter": lambda x: math.nan * torch.ones((), requires_grad=True),
}
WITH_GRAPH: dict[str, Callable[[Tensor], Any]] = {
    "inf": lambda x: math.inf * x.abs().sum(),
    "NaN": lambda x: math.nan * x.sum(),
    "tensor": lambda x: math.nan * x.sum(),
    "numpy": lambda x: math.inf * x.abs().sum(),
    "of another parameter": lambda x: math.nan * x.sum(),
}


class Walled:
    """The loss ``30 x - log x``, summed, of x > 0, whose minimum is at 1 / 30.

    Args:
        beyond: what is returned, or raised, where some x is not.
        form: 1 (it runs backward) or 2 (it does not).
        bad: runs that find themselves beyond the wall wherever they are, from 1.
    """

    def __init__(
        self, beyond: Callable[[Tensor], Any], form: int = 2, bad: tuple[int, ...] = ()
    ) -> None:
        self.x = nn.Parameter(torch.tensor([2.0, 0.5], dtype=torch.float64))
        self.beyond, self.form, self.bad = beyond, form, bad
        self.runs = self.met = 0

    @property
    def model(self) -> Walled:
        return self

    def loss(self, model: Walled) -> Tensor:
        return 30 * model.x.sum() - model.x.log().sum()

    def __call__(self) -> Any:
        self.runs += 1
        if (self.x <= 0).any() or self.runs in self.bad:
            self.met += 1
            if self.form == 1:  # a part of the loss has been gone through
                (self.x**2).sum().backward()
            loss = self.beyond(self.x)
            if self.form == 1 and isinstance(loss, Tensor) and loss.requires_grad:
                loss.backward()
            return loss
        loss = self.loss(self.model)
        if self.form == 1:
            loss.backward()
        return loss
