"""The Hessian at one point as an operator on flat vectors, in C++ or in plain Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, Protocol

import torch
from torch import Tensor

from ..bridge.interface import Bridge, V
from ..bridge.python import PythonFlat

__all__ = ["HessianOperator", "PythonHessianOperator", "make_hessian_operator"]


class HessianOperator(Protocol[V]):
    r"""H = d\ :sup:`2`\ f / dx\ :sup:`2` at the parameters' values, by double backward.

    f comes as the ``backward()`` calls that make up its gradient, one :meth:`add` each. A product
    is the derivative of <gradient, v>. The graphs live as long as the operator does.
    """

    def add(
        self,
        roots: Sequence[Tensor],
        seeds: Sequence[Tensor | None],
        inputs: Sequence[Tensor] | None = None,
        fill_grads: bool = False,
    ) -> None:
        """Add the gradient of sum_k <seeds_k, roots_k>, and to ``.grad`` if asked.

        ``inputs`` restricts it to some leaves, as in ``torch.autograd.backward``.
        """

    def product(self, v: V) -> tuple[V, bool]:
        """H v, shape (n,), a fresh array; and whether all of it is finite.

        Raises:
            RuntimeError: a parameter was written to since :meth:`add`, or torch cannot
                differentiate twice.
        """

    def last_product(self, v: V) -> tuple[V, bool]:
        """The same and :meth:`free`: gradients and graph go as early as the product lets them."""

    @property
    def gradients(self) -> Sequence[Tensor]:
        """Those gradients that depend on the parameters, with their graph."""

    @property
    def owners(self) -> Sequence[int]:
        """The position of the parameter of each of the gradients."""

    @property
    def product_bytes(self) -> int:
        """Bytes that one product allocates, about."""

    def unpack_rows(self, v: V) -> Sequence[Tensor]:
        """Vectors of shape (rows, n) -> one stack (rows, *shape) for each of the gradients."""

    def free(self) -> None:
        """Free the graphs now; no product can be taken afterwards."""


class PythonHessianOperator(Generic[V]):
    """Note [oracle]: the same products from ``torch.autograd.grad`` and the Python bridge."""

    def __init__(self, bridge: PythonFlat[V]) -> None:
        self._bridge = bridge
        self._params = bridge.params
        self._owners: list[int] = []
        self._gradients: list[Tensor] = []
        self._versions = [param._version for param in self._params]

    def add(
        self,
        roots: Sequence[Tensor],
        seeds: Sequence[Tensor | None],
        inputs: Sequence[Tensor] | None = None,
        fill_grads: bool = False,
    ) -> None:
        wanted = {id(leaf) for leaf in (self._params if inputs is None else inputs)}
        owners = [i for i, param in enumerate(self._params) if id(param) in wanted]
        if not owners:
            return
        gradients = torch.autograd.grad(
            roots, [self._params[i] for i in owners], seeds, create_graph=True, allow_unused=True
        )
        for i, gradient in zip(owners, gradients, strict=True):
            if gradient is not None and fill_grads:
                _add_to_grad(self._params[i], gradient)
            if gradient is not None and gradient.requires_grad:
                self._owners.append(i)
                self._gradients.append(gradient)

    def product(self, v: V) -> tuple[V, bool]:
        return self._multiply(v, keep_graph=True)

    def last_product(self, v: V) -> tuple[V, bool]:
        result = self._multiply(v, keep_graph=False)
        self.free()
        return result

    def _multiply(self, v: V, *, keep_graph: bool) -> tuple[V, bool]:
        self._check_unchanged()
        if not self._gradients:
            return self._bridge.flatten([None] * len(self._params)), True
        vectors = self._bridge.unflatten(v)
        products = torch.autograd.grad(
            self._gradients,
            self._params,
            [vectors[i] for i in self._owners],
            retain_graph=keep_graph,
            allow_unused=True,
        )
        flat = self._bridge.flatten(products)
        return flat, self._bridge.is_finite(flat)

    @property
    def gradients(self) -> Sequence[Tensor]:
        return self._gradients

    @property
    def owners(self) -> Sequence[int]:
        return self._owners

    @property
    def product_bytes(self) -> int:
        return 2 * 8 * self._bridge.numel

    def unpack_rows(self, v: V) -> Sequence[Tensor]:
        self._check_unchanged()
        stacks = self._bridge.unflatten_rows(v)
        return [stacks[i] for i in self._owners]

    def free(self) -> None:
        self._owners, self._gradients = [], []

    def _check_unchanged(self) -> None:
        for i, (param, version) in enumerate(zip(self._params, self._versions, strict=True)):
            if param._version != version:
                raise RuntimeError(
                    f"parameter {i} was written to since its Hessian was taken, and the graph "
                    f"with its old values is gone; take the Hessian again."
                )


def make_hessian_operator(bridge: Bridge[V]) -> HessianOperator[V]:
    """In C++ over a native bridge, in Python over the Python one; of the bridge's vectors."""
    if isinstance(bridge, PythonFlat):
        return PythonHessianOperator(bridge)
    from .. import _C

    kinds: dict[type, Any] = {
        _C.ParameterBridge: _C.HessianOperator,
        _C.TensorBridge: _C.TensorHessianOperator,
    }
    made: HessianOperator[V] = kinds[type(bridge)](bridge)
    return made


@torch.no_grad()
def _add_to_grad(param: Tensor, gradient: Tensor) -> None:
    param.grad = gradient.detach().clone() if param.grad is None else param.grad + gradient
