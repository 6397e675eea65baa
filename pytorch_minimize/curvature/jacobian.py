"""The Jacobian of a tensor-valued function of the parameters, by autograd."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..bridge.interface import Bridge
from ..closure.explain import OUT_OF_MEANS
from ..typing import Array
from .dense import identity_rows

__all__ = ["JacobianTaker"]

# A batched product takes as long as two or three single ones, however small the graph.
_FEW_ROWS = 2
# Reals of the gradients of one batch: 32 MiB in float64.
_BATCH_REALS = 1 << 22


class JacobianTaker:
    r"""Takes Jacobians :math:`J_{ij} = \partial c_i / \partial x_j` in a bridge's parameters.

    By vector-Jacobian products, several at a time where there are more than a few rows and every
    operator of the graph allows it.

    Args:
        bridge: says how the parameters lie in x; n reals.
        name: of c, for messages.
    """

    def __init__(self, bridge: Bridge, name: str) -> None:
        self._bridge = bridge
        self._name = name
        self._one_at_a_time = False

    def __call__(self, output: Tensor, *, keep_graph: bool) -> Array:
        """The Jacobian of ``output``, flattened.

        Args:
            output: c, of any shape with m elements, with its graph.
            keep_graph: whether the graph is needed afterwards.

        Returns:
            A new (m, n) array; columns of parameters that c does not depend on are zero.
        """
        output = output.reshape(-1)
        jacobian = np.empty((output.numel(), self._bridge.numel))
        if output.numel() > _FEW_ROWS and not self._one_at_a_time:
            try:
                self._batched(output, jacobian)
                return jacobian
            except OUT_OF_MEANS:
                raise
            except Exception as error:
                cause = f"{type(error).__name__}: {error}"
        self._row_by_row(output, jacobian, keep_graph)
        if output.numel() > _FEW_ROWS and not self._one_at_a_time:
            # Said only now: had the rows failed as well, the batch would not be to blame.
            self._one_at_a_time = True
            warnings.warn(
                f"the Jacobian of {self._name} is computed one row at a time, because it has an "
                f"operator that torch cannot batch ({cause})",
                RuntimeWarning,
                stacklevel=2,
            )
        return jacobian

    def _row_by_row(self, output: Tensor, jacobian: Array, keep_graph: bool) -> None:
        last = len(jacobian) - 1
        for i, element in enumerate(output.unbind()):
            grads = self._gradients(element, None, keep_graph or i < last)
            jacobian[i] = self._bridge.flatten(grads)

    def _batched(self, output: Tensor, jacobian: Array) -> None:
        def products(seed: Tensor) -> Sequence[Tensor]:
            return self._gradients(output, seed, True)

        rows = len(jacobian)
        step = max(1, _BATCH_REALS // self._bridge.numel)
        for begin in range(0, rows, step):
            end = min(begin + step, rows)
            seeds = torch.from_numpy(identity_rows(rows)(begin, end)).to(output)
            # torch.func.vmap, since the older one behind is_grads_batched lacks more operators.
            stacks = torch.func.vmap(products)(seeds)
            self._bridge.flatten_rows(stacks, jacobian[begin:end])

    def _gradients(self, output: Tensor, seed: Tensor | None, keep_graph: bool) -> Sequence[Tensor]:
        return torch.autograd.grad(
            output, self._bridge.params, seed, retain_graph=keep_graph, materialize_grads=True
        )
