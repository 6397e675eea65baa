"""Hessian products of captured ``backward()`` calls, one or many at a time; what can go wrong."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Generic

import numpy as np
import torch
from torch import Tensor

from ..bridge.interface import Bridge, V
from ..bridge.layout import coarsest_eps
from ..closure.autograd_graph import nodes_below
from ..closure.backward_calls import Backward
from ..closure.explain import ONCE, OUT_OF_MEANS, explained, no_double_backward
from ..typing import Array
from .dense import RowSource, UpperRows, identity_rows
from .operator import HessianOperator, make_hessian_operator

__all__ = ["CapturedGradient", "DoubleBackward"]


class DoubleBackward(Generic[V]):
    """Builds Hessian operators over one bridge and takes products of them.

    Args:
        bridge: of the parameters.
        block_bytes: about how much memory the products of one block may allocate.
        waits: to read a scalar is to wait for a device; then nothing is read of a product.
    """

    def __init__(self, bridge: Bridge[V], block_bytes: int, *, waits: bool = False) -> None:
        self._bridge = bridge
        self._block_bytes = block_bytes
        self._waits = waits
        self._checked = False
        self._one_at_a_time = False

    def operator(self) -> HessianOperator[V]:
        """A new one, of the zero function."""
        return make_hessian_operator(self._bridge)

    def add(
        self, operator: HessianOperator[V], call: Backward, *, fill_grads: bool = False
    ) -> None:
        """Add what ``call`` would have differentiated."""
        if not self._checked:
            _check_twice_differentiable(call.roots)
        with explained():
            operator.add(call.roots, call.seeds, call.inputs, fill_grads)

    def product(self, operator: HessianOperator[V], v: V, *, last: bool = False) -> tuple[V, bool]:
        """H v, and whether it is finite; True where that is not read. The last one frees H."""
        self._checked = True
        with explained():
            if not self._waits:
                return operator.last_product(v) if last else operator.product(v)
            product = self._unread(operator, v)
            if last:
                operator.free()
            return product, True

    def zeros(self) -> V:
        """A product with the zero function's Hessian."""
        return self._bridge.flatten([None] * len(self._bridge.params))

    def _unread(self, operator: HessianOperator[V], v: Any) -> V:
        """H v as the operator computes it, but for the flag that it waits for."""
        if not operator.gradients:
            return self.zeros()
        products = torch.autograd.grad(
            operator.gradients,
            self._bridge.params,
            [stack[0] for stack in operator.unpack_rows(v[None])],
            retain_graph=True,
            allow_unused=True,
        )
        return self._bridge.flatten(products)

    def add_products(
        self: DoubleBackward[Array], operator: HessianOperator, rows: RowSource, out: Array
    ) -> bool:
        """``out[i] += H rows[i]``, in blocks of bounded memory; whether all is finite."""
        count, step = len(out), self._rows_at_once(operator)
        finite = True
        for begin in range(0, count, step):
            end = min(begin + step, count)
            products, block_is_finite = self._products(operator, rows(begin, end))
            out[begin:end] += products
            finite = finite and block_is_finite
        return finite

    def add_hessian(
        self: DoubleBackward[Array], operator: HessianOperator, out: Array, *, halves: bool = True
    ) -> bool:
        """``out += M``, whose symmetric part is H; whether all of M is finite.

        Half of H is enough: see :class:`UpperRows`. Rows that memory allows only one at a time are
        whole products, and so have the bits of a product.

        Args:
            halves: H is symmetric. False where it has the rows of some parameters alone, those of
                the others being another operator's, which may find that memory allows other rows.
        """
        step = self._rows_at_once(operator)
        if step == 1 or not halves:
            return self.add_products(operator, identity_rows(len(out)), out)
        finite = True
        for upper in UpperRows.blocks(self._bridge.params, step):
            products, block_is_finite = self._products(operator, upper.identity(), upper)
            upper.weigh(products)
            out[upper.begin : upper.end] += products
            finite = finite and block_is_finite
        return finite

    def _rows_at_once(self, operator: HessianOperator[V]) -> int:
        return max(1, self._block_bytes // operator.product_bytes)

    def _products(
        self: DoubleBackward[Array],
        operator: HessianOperator,
        v: Array,
        upper: UpperRows | None = None,
    ) -> tuple[Array, bool]:
        """Of ``upper`` rows only their part may be computed, and the rest be zero."""
        if not operator.gradients:
            return np.zeros_like(v), True
        if len(v) > 1 and not self._one_at_a_time:
            try:
                return self._batched(operator, v, upper)
            except OUT_OF_MEANS:
                raise
            except Exception as error:
                cause = str(error).split(". ")[0]
        results = [self.product(operator, row) for row in v]
        if len(v) > 1 and not self._one_at_a_time:
            # Said only now: had the products failed as well, the batch would not be to blame.
            self._one_at_a_time = True
            warnings.warn(
                f"the Hessian is computed one product at a time, because the closure has an "
                f"operator that torch cannot batch: {cause}",
                RuntimeWarning,
                stacklevel=2,
            )
        return np.stack([row for row, _ in results]), all(finite for _, finite in results)

    def _batched(
        self: DoubleBackward[Array], operator: HessianOperator, v: Array, upper: UpperRows | None
    ) -> tuple[Array, bool]:
        params, gradients = self._bridge.params, operator.gradients
        seeds = operator.unpack_rows(v)
        first = 0
        if upper is not None:
            first = upper.first
            used = [k for k, owner in enumerate(operator.owners) if first <= owner <= upper.last]
            gradients, seeds = [gradients[k] for k in used], [seeds[k] for k in used]
            if not used:
                return np.zeros_like(v), True

        # torch.func.vmap, since the older one behind is_grads_batched lacks more operators.
        def product(*seeds: Tensor) -> tuple[Tensor, ...]:
            return torch.autograd.grad(
                gradients, params[first:], seeds, retain_graph=True, materialize_grads=True
            )

        stacks = [*[None] * first, *torch.func.vmap(product)(*seeds)]
        out = np.empty_like(v)
        return out, self._bridge.flatten_rows(stacks, out)


class CapturedGradient:
    """The gradient that captured calls make up, to be held against what is in ``.grad``.

    The two differ where the closure throws a gradient away, adds to one, or calls a ``backward``
    that cannot be captured; the curvature would then be that of another function.
    """

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._sum = np.zeros(bridge.numel)

    def add(self, call: Backward) -> None:
        """Differentiate the call once, its graph kept."""
        params = self._bridge.params
        wanted = None if call.inputs is None else {id(leaf) for leaf in call.inputs}
        owners = [i for i, p in enumerate(params) if wanted is None or id(p) in wanted]
        if not owners:
            return
        with explained():
            found = torch.autograd.grad(
                call.roots,
                [params[i] for i in owners],
                call.seeds,
                retain_graph=True,
                allow_unused=True,
            )
        gradients: list[Tensor | None] = [None] * len(params)
        for i, gradient in zip(owners, found, strict=True):
            gradients[i] = gradient
        self._sum += self._bridge.flatten(gradients)

    def require(self, gradient: Array) -> None:
        """Refuse a ``gradient`` that is not the sum, but for rounding."""
        difference = float(np.abs(self._sum - gradient).max(initial=0.0))
        scale = float(np.abs(gradient).max(initial=0.0))
        if difference > coarsest_eps(self._bridge) ** 0.5 * max(scale, np.finfo(float).tiny):
            raise RuntimeError(
                f"the gradients that the closure leaves differ by up to {difference:.3g} from what "
                f"its backward() calls give, so that the curvature would be that of another "
                f"function. Does it clip, zero or add to a gradient after backward(), use a "
                f"backward imported by name, or checkpoint with use_reentrant=True? Return the "
                f"loss alone, checkpoint with use_reentrant=False, or use a first-order method."
            )


def _check_twice_differentiable(roots: Sequence[Tensor]) -> None:
    """Refuse functions that torch would take for linear.

    ``once_differentiable`` raises only where the incoming gradient carries a graph. Where it does
    not, as in a loss's last operator, the second derivative would silently lack a term.
    """
    for node in nodes_below(roots):
        function = getattr(type(node), "_forward_cls", None)
        if function is not None and _is_once_differentiable(function.backward):
            raise no_double_backward(f"{function.__name__} (marked with {ONCE})")


def _is_once_differentiable(backward: Any) -> bool:
    while hasattr(backward, "__wrapped__"):
        code = getattr(backward, "__code__", None)
        if code is not None and code.co_filename == torch.autograd.function.__file__:
            return True
        backward = backward.__wrapped__
    return False
