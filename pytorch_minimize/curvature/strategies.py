"""Two ways to get Hessian products from a closure: keep its graph, or run it again for each."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol

import numpy as np
from torch import Tensor

from ..bridge.interface import Bridge, V
from ..closure.backward_calls import Backward, backward_elsewhere
from ..closure.runner import ClosureRunner
from ..record.profile import Profile
from ..settings import Strategy
from ..typing import Array, Loss
from .dense import RowSource
from .double_backward import CapturedGradient, DoubleBackward
from .operator import HessianOperator

__all__ = ["ClosureCurvature", "Curvature", "GraphCurvature", "ReplayCurvature", "make_curvature"]


class Curvature(Protocol[V]):
    """Hessian products of a closure's loss at the parameters' current values.

    Attributes:
        value: the loss, where a product has run the closure without an evaluation before it;
            the gradient is in ``.grad`` then.
    """

    value: Loss | None

    def evaluate(self) -> Loss:
        """Run the closure: the loss, and the gradient in ``.grad``."""

    def product(self, v: V) -> tuple[V, bool]:
        """H v, shape (n,), a fresh vector; and whether all of it is finite, True where to read
        that would be to wait for a device."""

    def hessian(self) -> tuple[Array, bool]:
        """A matrix of shape (n, n) whose symmetric part is H; and whether all of it is finite. Of
        arrays only."""

    def drop(self) -> None:
        """The parameters change, or the run is over: let go of what belongs to this point."""


class ClosureCurvature(ABC, Generic[V]):
    """What both strategies share.

    Args:
        runner: runs the closure.
        profile: runs of the closure are charged to ``closure``, the rest to ``curvature``.
        double_backward: of vectors of the kind that products are to be.
    """

    def __init__(
        self, runner: ClosureRunner, profile: Profile, double_backward: DoubleBackward[V]
    ) -> None:
        self._runner = runner
        self._profile = profile
        self._double_backward: Any = double_backward
        self.value: Loss | None = None
        self._is_verified = False  # that captured calls make up the gradient; once a run

    @abstractmethod
    def evaluate(self) -> Loss:
        """See :class:`Curvature`, here and in what has no docstring."""

    @abstractmethod
    def product(self, v: V) -> tuple[V, bool]: ...

    @abstractmethod
    def products(self, rows: RowSource, count: int) -> tuple[Array, bool]:
        """The products with ``count`` rows, shape (count, n); and whether all are finite. Of
        arrays only."""

    @abstractmethod
    def hessian(self) -> tuple[Array, bool]: ...

    @abstractmethod
    def drop(self) -> None: ...

    def _zeros(self, rows: int) -> Array:
        return np.zeros((rows, self._runner.bridge.numel))

    def _replay(self, listener: Callable[[Backward], None]) -> Loss:
        """Run the closure with its ``backward()`` calls going to ``listener``, on the clock."""
        profile = self._profile

        def timed(call: Backward) -> None:
            profile.begin("curvature")
            listener(call)
            profile.begin("closure")

        profile.begin("closure", "closure")
        value = self._runner.replay(timed)
        profile.begin("curvature")
        return value


class GraphCurvature(ClosureCurvature[V]):
    """Keeps the graph of the gradient; a product is one pass through it.

    The graph is built when the first product at a point is asked for, from the ``backward()``
    calls of the evaluation there. Where there was none, the closure runs once more.
    """

    _calls: list[Backward] | None = None
    _operator: HessianOperator[V] | None = None

    def evaluate(self) -> Loss:
        value, self._calls = self._runner.value_and_backwards()
        return value

    def product(self, v: V) -> tuple[V, bool]:
        found: tuple[V, bool] = self._double_backward.product(self._built(), v)
        return found

    def products(self, rows: RowSource, count: int) -> tuple[Array, bool]:
        out = self._zeros(count)
        return out, self._double_backward.add_products(self._built(), rows, out)

    def hessian(self) -> tuple[Array, bool]:
        out = self._zeros(self._runner.bridge.numel)
        return out, self._double_backward.add_hessian(self._built(), out)

    def drop(self) -> None:
        self._calls = self._operator = self.value = None

    def _built(self) -> HessianOperator[V]:
        if self._operator is None:
            self._profile.count("graph")
            operator = self._double_backward.operator()
            if self._calls is None:
                self.value = self._replay(lambda call: self._rebuild(operator, call))
            else:
                self._verify(self._calls)
                for call in self._calls:
                    self._double_backward.add(operator, call)
            self._calls, self._operator = None, operator
        return self._operator

    def _rebuild(self, operator: HessianOperator[V], call: Backward) -> None:
        backward_elsewhere(call, self._runner.bridge.params)
        self._double_backward.add(operator, call, fill_grads=True)

    def _verify(self, calls: Sequence[Backward]) -> None:
        if self._is_verified:
            return
        captured = CapturedGradient(self._runner.bridge)
        for call in calls:
            captured.add(call)
        captured.require(self._runner.bridge.flatten_grads())
        self._is_verified = True


class ReplayCurvature(ClosureCurvature[V]):
    """Runs the closure for each product, and keeps no graph.

    Each ``backward()`` call is differentiated twice when it is made and its graph freed, so that
    a loss summed over micro-batches needs the memory of one of them.
    """

    _has_gradient = False

    def evaluate(self) -> Loss:
        value = self._runner.value_and_gradient()
        self._has_gradient = True
        return value

    def product(self, v: V) -> tuple[V, bool]:
        total, finite = self._double_backward.zeros(), True

        def take(operator: HessianOperator[V], call: Backward) -> None:
            nonlocal total, finite
            last = _is_last(call)
            part, part_is_finite = self._double_backward.product(operator, v, last=last)
            total += part  # in place
            finite = finite and part_is_finite

        return total, self._for_each_backward(take) and finite

    def products(self, rows: RowSource, count: int) -> tuple[Array, bool]:
        out = self._zeros(count)
        add = self._double_backward.add_products
        return out, self._add_each(lambda operator, _: add(operator, rows, out))

    def hessian(self) -> tuple[Array, bool]:
        out = self._zeros(self._runner.bridge.numel)
        add = self._double_backward.add_hessian
        return out, self._add_each(lambda operator, whole: add(operator, out, halves=whole))

    def _add_each(self, add: Callable[[HessianOperator[V], bool], bool]) -> bool:
        """Add something of each ``backward()`` call; whether all of it is finite."""
        finite = True

        def take(operator: HessianOperator[V], call: Backward) -> None:
            nonlocal finite
            finite = add(operator, call.inputs is None) and finite
            if _is_last(call):
                operator.free()

        return self._for_each_backward(take) and finite

    def drop(self) -> None:
        self._has_gradient, self.value = False, None

    def _for_each_backward(self, take: Callable[[HessianOperator[V], Backward], None]) -> bool:
        """Run the closure; whether it came to its end, with a loss that has a gradient.

        Args:
            take: called with each operator, and the call that it is of.
        """
        bridge = self._runner.bridge
        verify = self._has_gradient and not self._is_verified
        captured = CapturedGradient(bridge)

        def differentiate(call: Backward) -> None:
            operator = self._double_backward.operator()
            backward_elsewhere(call, bridge.params)
            if verify:
                captured.add(call)
            self._double_backward.add(operator, call, fill_grads=True)
            take(operator, call)

        if not self._has_gradient:
            self.value = self._replay(differentiate)
            self._has_gradient = True
            return _may_have_gradient(self.value)
        # While the closure runs ``.grad`` is what backward() would have left, since closures may
        # look at it; afterwards it is again what the evaluation left.
        params = bridge.params
        grads = [param.grad for param in params]
        if verify:
            evaluated = bridge.flatten_grads()
        try:
            value = self._replay(differentiate)
        finally:
            for param, grad in zip(params, grads, strict=True):
                param.grad = grad
        if not _may_have_gradient(value):
            return False
        if verify:
            captured.require(evaluated)
            self._is_verified = True
        return True


def _is_last(call: Backward) -> bool:
    """Whether nobody needs its graph afterwards: with inputs only a part was gone through."""
    return not call.retain_graph and call.inputs is None


def _may_have_gradient(loss: Loss) -> bool:
    """Whether a loss is not one that came back as a float because it has no gradient."""
    return isinstance(loss, Tensor) or math.isfinite(loss)


def make_curvature(
    strategy: Strategy,
    runner: ClosureRunner,
    profile: Profile,
    block_bytes: int,
    bridge: Bridge[Any] | None = None,
    *,
    waits: bool = False,
) -> ClosureCurvature[Any]:
    """The strategy of that name.

    Args:
        runner, profile: see :class:`GraphCurvature`.
        block_bytes: about how much memory several products at once may allocate.
        bridge: of the vectors; None for arrays, by the runner's.
        waits: to read a scalar of them is to wait for a device.
    """
    kinds: dict[Strategy, type[GraphCurvature[Any] | ReplayCurvature[Any]]] = {
        "graph": GraphCurvature,
        "replay": ReplayCurvature,
    }
    bridge = runner.bridge if bridge is None else bridge
    return kinds[strategy](runner, profile, DoubleBackward(bridge, block_bytes, waits=waits))
