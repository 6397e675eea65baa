"""What the user's code does to parameters and gradients that it was lent, seen where they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, cast

import torch
from torch import Tensor

from ..bridge.interface import Bridge, V
from ..bridge.make import tensor_bridge
from ..bridge.space import Space, TensorSpace
from ..typing import Array

__all__ = ["Sight", "is_on_a_device"]


class Sight(Generic[V]):
    """Keeps values to compare with later, by value (Note [compare by value]).

    What is written through ``p.data`` leaves no trace in a version counter. Where the parameters
    are on one device other than the host the copies stay there, and nothing crosses but an answer.

    Args:
        bridge, space: of the run.
    """

    def __init__(self, bridge: Bridge[V], space: Space[V]) -> None:
        self._bridge: Any = bridge
        self._space: Space[Any] = space
        self._crosses = not space.waits and is_on_a_device(bridge.params)
        # What was loaded into them is what they hold.
        self._is_exact = not self._crosses and all(
            param.dtype.to_real() == torch.float64 for param in bridge.params
        )
        if self._crosses:
            # Of the host's space, which does wait for an answer.
            arrays = cast(Bridge[Array], bridge)
            self._bridge, self._space = tensor_bridge(arrays), TensorSpace()

    def look(self) -> None:
        """The closure may write into them, as one that projects does: look from now on."""
        self._is_exact = False

    def params(self, loaded: V) -> Any:
        """The parameters as they are, into which this was loaded."""
        return loaded if self._is_exact else self._bridge.flatten_params()

    def grads(self, known: V) -> Any:
        """The gradients as they are, which are known to be these."""
        return self._bridge.flatten_grads() if self._crosses else known

    def same_params(self, seen: Any) -> bool:
        """Whether they are what they were."""
        return self._space.same(seen, self._bridge.flatten_params())

    def same_grads(self, seen: Any) -> bool:
        return self._space.same(seen, self._bridge.flatten_grads())


def is_on_a_device(params: Sequence[Tensor]) -> bool:
    """Whether all are on one, other than the host."""
    return len({param.device for param in params}) == 1 and not params[0].is_cpu
