"""The residuals of the closure in this process, and what is asked of their Jacobian."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic

import torch
from torch import Tensor

from ..bridge.interface import V
from .jacobian import ResidualJacobian
from .residuals import ResidualRunner

__all__ = ["OwnRows"]


class OwnRows(Generic[V]):
    """Residuals where the parameters are, as vectors, and the graph that they came with.

    Args:
        runner: of the closure.
        jacobian: takes Jacobians out of graphs.
        device: of the vectors; None where they are arrays.
        cost: of the residuals; None where nobody asks what :meth:`run` returns.
    """

    def __init__(
        self,
        runner: ResidualRunner,
        jacobian: ResidualJacobian[V],
        device: torch.device | None,
        cost: Callable[[V], Any] | None = None,
    ) -> None:
        assert runner.residuals is not None
        self._runner, self._closure = runner, runner.residuals
        self._jacobian, self._device, self._cost = jacobian, device, cost
        self._values: V | None = None

    @property
    def count(self) -> int | None:
        """How many there are; None before the first run that gave some."""
        return self._closure.count

    @property
    def values(self) -> V | None:
        """At the parameters' point, a fresh vector; None where they are not known."""
        if self._values is None and self._closure.flat is not None:
            self._values = self._as_vector(self._closure.flat)
        return self._values

    @property
    def has_graph(self) -> bool:
        """Whether products with the Jacobian can be taken where the parameters are."""
        return self._closure.flat is not None

    def run(self) -> float:
        """Run the closure: the cost, NaN where it gives no residuals."""
        self._values = None
        self._closure.measure = _unmeasured  # the cost is of the vector
        nothing = self._runner.value()
        values = self.values
        if values is None:
            return nothing
        return 0.0 if self._cost is None else float(self._cost(values))

    def empty(self, count: int) -> V:
        """Memory for so many rows of a Jacobian."""
        return self._jacobian.empty(count)

    def matrix(self, out: V | None = None) -> V:
        """J, into ``out`` if that is given; the graph has done its duty then."""
        found = self._jacobian.matrix(self._graph(), out)
        self._closure.flat = None
        return found

    def product(self, v: V) -> V:
        """J v, a fresh vector."""
        return self._as_vector(self._jacobian.product(self._graph(), v))

    def transposed_product(self, u: Any) -> V:
        """J'u, a fresh vector."""
        return self._jacobian.transposed_product(self._graph(), torch.as_tensor(u))

    def drop(self) -> None:
        """The parameters change, or the run is over: let go of what belongs to this point."""
        self._closure.flat = self._values = None
        self._jacobian.drop()

    def _graph(self) -> Tensor:
        assert self._closure.flat is not None
        return self._closure.flat

    def _as_vector(self, flat: Tensor) -> V:
        """A fresh vector of float64, where the solver's are."""
        if self._device is None:
            vector: Any = flat.detach().to("cpu", torch.float64, copy=True).numpy()
        else:
            vector = flat.detach().to(self._device, torch.float64, copy=True)
        found: V = vector
        return found


def _unmeasured(flat: Tensor) -> float:
    return 0.0
