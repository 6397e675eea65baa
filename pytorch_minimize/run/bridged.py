"""An optimizer's parameters, and the bridge that lies over them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from torch import Tensor

from ..bridge.interface import Bridge
from ..bridge.make import make_bridge
from ..bridge.sharded import refuse_sharded
from ..typing import Array
from .state import Resumable

__all__ = ["Bridged"]


class Bridged(Resumable):
    """An optimizer with a bridge between its parameters and one flat vector."""

    _bridge: Bridge | None = None
    _bridged: list[tuple[object, ...]] | None = None  # parameters as they were when it was made

    @property
    def bridge(self) -> Bridge:
        """Between the flat vector and the parameters that are optimised now."""
        return self._current_bridge()

    def ravel_pack(self, tensors: Iterable[Tensor | None]) -> Array:
        """One tensor per parameter -> one flat float64 vector; None counts as zeros."""
        return self._current_bridge().flatten(list(tensors))

    def np_unravel_unpack(self, x: Any) -> list[Tensor]:
        """One flat vector -> new tensors in each parameter's shape, dtype and device."""
        return self._current_bridge().unflatten(np.asarray(x, dtype=np.float64))

    def _optimised(self) -> list[Tensor]:
        params = list(dict.fromkeys(p for group in self.param_groups for p in group["params"]))
        return [p for p in params if p.requires_grad] or params

    def _current_bridge(self) -> Bridge:
        """The bridge, made anew where parameters were added, frozen, thawed or converted."""
        if self._bridge is not None and self._objective is not None:
            return self._bridge  # of the run, which no such change reaches
        params = self._optimised()
        if not params:
            raise ValueError("the param groups have no parameters: there is nothing to optimise")
        if self._bridge is None or self._bridged != [_memory(param) for param in params]:
            refuse_sharded(params)
            bridge = make_bridge(params)
            if bridge.numel == 0:
                raise ValueError("the parameters have no elements: there is nothing to optimise")
            self._bridge, self._bridged = bridge, [_memory(param) for param in params]
        return self._bridge


def _memory(param: Tensor) -> tuple[object, ...]:
    """Which parameter it is, and all of it that a bridge relies on."""
    where = id(param), param.device, param.data_ptr()
    return *where, param.dtype, param.shape, param.stride()
