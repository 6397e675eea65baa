"""The best point of a run, kept until the next one or until it is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..bridge.variables import Variables
from ..typing import Array

__all__ = ["BestPoint"]


@dataclass(frozen=True, eq=False)
class BestPoint:
    """Where the loss was lowest, in a run or in a state that was loaded.

    It is kept flat and on the host: to keep it takes no memory of a device, and cannot fail where
    a device does not work any more.

    Attributes:
        variables: that x is of.
        x: never written again (Note [points stay]).
        loss: there; None where a state of version 0.1.0 does not say.
    """

    variables: Variables
    x: Array
    loss: float | None

    @classmethod
    def of_tensors(
        cls, params: Iterable[Tensor], values: Iterable[Tensor], loss: float | None
    ) -> BestPoint:
        """From one tensor for each parameter."""
        values = list(values)
        dtypes = tuple(value.dtype for value in values)
        as_now = Variables.of(params)
        variables = Variables(as_now.params, as_now.shapes, dtypes)
        return cls(variables, Variables.join(values), loss)

    def values(self) -> list[Tensor]:
        """One new tensor for each parameter, in the dtype in which the loss was computed."""
        return self.variables.split(self.x)

    @torch.no_grad()
    def load(self) -> None:
        """Set the parameters to it, in place.

        Raises:
            RuntimeError: a parameter was resized since.
        """
        if not self.variables.are(Variables.of(self.variables.params)):
            raise RuntimeError(
                "load_best: a parameter has another shape than it had at the best point, or was "
                "made real or complex since; nothing was changed"
            )
        for param, value in zip(self.variables.params, self.values(), strict=True):
            param.copy_(value)
