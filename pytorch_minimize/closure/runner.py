"""How a user's closure is run, and how its backward is captured."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..bridge.interface import Bridge
from ..typing import Loss, UserClosure
from .backward_calls import Backward, capturing, plain_backward
from .captured_graphs import FixedGradients
from .loss import (
    SPENT,
    NoGraphError,
    foreign_graph,
    no_graph,
    read_loss,
    require_captured,
    spent_graph,
)

__all__ = ["ClosureRunner"]


def _is_on_host(loss: Tensor) -> bool:
    return loss.is_cpu


class _SeesAutograd(TorchFunctionMode):
    """Whether the code inside the block differentiates."""

    autograd = False

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in (Tensor.backward, torch.autograd.backward, torch.autograd.grad):
            self.autograd = True
        return func(*args, **(kwargs or {}))


def _recording() -> contextlib.AbstractContextManager[Any]:
    """Gradients enabled; free where they are, which is always so unless a closure forgot them."""
    return _NOTHING if torch.is_grad_enabled() else torch.enable_grad()


_NOTHING = contextlib.nullcontext()


@dataclass
class ClosureRunner:
    """Runs the user's closure at the parameters' current values.

    Closures of all three forms: those that call ``backward()``, once or several times; those that
    only return the loss; and objects with ``model`` and ``loss(model)`` besides ``__call__``,
    which are called like the others. And, with ``fixed``, those that replay a captured CUDA graph,
    which fills the gradient tensors that were in ``.grad`` when it was captured: these are set to
    zero where others are cleared.

    A loss that is not finite needs no graph. Where it has none it comes back as a float, and no
    parameter has a gradient then.

    Args:
        closure: the user's.
        bridge: of the parameters that are optimised; their ``.grad`` is cleared before each run,
            so that nothing of an earlier one leaks in.
        recover: exceptions of the closure that stand for a loss of NaN.
        fixed: the gradients that a captured graph fills; None for any other closure.
        records_graph: whether :meth:`value` lets a closure record a graph that it may not need.
            Solvers that sample a great many points set it to False.

    Attributes:
        recovered: whether the loss of the last run stands for an exception.
        recovered_why: the last of these, in words.
        reaches: whether the loss was seen to depend on the parameters.
    """

    closure: UserClosure
    bridge: Bridge
    recover: tuple[type[Exception], ...] = ()
    fixed: FixedGradients | None = None
    records_graph: bool = True
    recovered: bool = False
    recovered_why: str = ""
    reaches: bool = False
    loss_like: Tensor = torch.empty((), dtype=torch.float64)  # noqa: RUF009 (of whose kind it is)
    _listener: Callable[[], None] | None = None
    _differentiates: bool | None = None
    _had_grads: bool = field(init=False)  # before the first run

    def __post_init__(self) -> None:
        self._had_grads = self.bridge.has_grads()

    def when_gradient(self, listener: Callable[[], None]) -> None:
        """Have ``listener`` called once, at the first gradient."""
        self._listener = listener

    def replace_closure(self, closure: UserClosure) -> None:
        """Run ``closure`` from here on, which stands around the user's."""
        self.closure = closure

    def value(self) -> float:
        """The loss; for solvers that ask for no gradient."""
        self._start()
        if not self.records_graph:
            return self._value_without_graph()
        with _recording():
            return read_loss(self._checked(self._called()))

    def _value_without_graph(self) -> float:
        """The loss, without a graph unless the first run shows that the closure differentiates.

        It does so by ``backward()``, or by ``torch.autograd.grad`` as physics-informed losses do.
        """
        if self._differentiates is None:
            with torch.enable_grad(), _SeesAutograd() as seen:
                value = read_loss(self._checked(self._called()))
            if seen.autograd or self.bridge.has_grads():
                self._differentiates = True
            elif math.isfinite(value):  # else it may have ended before it came to that
                self._differentiates = False
            return value
        with torch.set_grad_enabled(self._differentiates):
            return read_loss(self._checked(self._called()))

    def value_and_gradient(self) -> Loss:
        """The loss, and the gradient in the parameters' ``.grad``."""
        self._start()
        with _recording():
            return self.settle(self._called())

    def settle(self, returned: Any) -> Loss:
        """The loss that the closure returned, with its gradient in ``.grad`` now if it was not."""
        value = self._checked(returned)
        if self.bridge.has_grads():
            self._reach()
            return value
        return self._differentiated(returned, value, lambda: returned.backward())

    def _differentiated(self, loss: Any, value: Loss, backward: Callable[[], None]) -> Loss:
        """The loss, of which ``backward`` fills the gradients; a float where it fills none.

        Raises:
            NoGraphError: it is finite, and has no graph, or one that reaches no parameter. Once it
                was seen to depend on them it may have no slope somewhere, as on a plateau.
        """
        if not isinstance(loss, Tensor) or not loss.requires_grad:
            return self._excused(value, no_graph(loss, had_grads=self._had_grads))
        try:
            backward()
        except Exception as error:
            number = self.excused(value, error)
            if number is None:
                raise
            return number
        if self.reaches:
            return value
        if self.bridge.has_grads():
            self._reach()
            return value
        return self._excused(value, foreign_graph())

    def excused(self, value: Loss, error: Exception) -> float | None:
        """The loss where its ``backward()`` raised ``error``; None where that is to be raised."""
        if isinstance(error, RuntimeError) and SPENT in str(error):
            return self._excused(value, spent_graph(had_grads=self._had_grads), error)
        return self.recover_from(error) if isinstance(error, self.recover) else None

    def _excused(self, value: Loss, refused: NoGraphError, cause: Exception | None = None) -> float:
        """The loss if it is not finite: it needs no graph then."""
        number = read_loss(value)
        if math.isfinite(number):
            raise refused from cause
        return number

    def value_and_backwards(self) -> tuple[Loss, list[Backward]]:
        """The loss, the gradient in ``.grad``, and the ``backward()`` calls with live graphs."""
        calls: list[Backward] = []

        def listener(call: Backward) -> None:
            calls.append(call)
            plain_backward(call)

        return self.replay(listener), calls

    def replay(self, listener: Callable[[Backward], None]) -> Loss:
        """Run once more; each ``backward()`` call goes to ``listener``, which fills ``.grad``."""
        heard = False

        def noting(call: Backward) -> None:
            nonlocal heard
            heard = True
            listener(call)

        self._start()
        with torch.enable_grad():
            with capturing(noting):
                loss = self._called()
            value = self._checked(loss)
            if not self.bridge.has_grads():
                # backward() was not called, or on something else than the loss.
                whole = Backward((loss,), (None,))
                return self._differentiated(loss, value, lambda: listener(whole))
            require_captured(heard)
            self._reach()
        return value

    def clear_grads(self) -> None:
        """No gradient, or zeros where the closure will look for it."""
        if self.fixed is None:
            self.bridge.clear_grads()
        else:
            self.fixed.attach()

    def _called(self) -> Any:
        """What the closure returns; NaN where it raises what stands for that."""
        try:
            return self.closure()
        except self.recover as error:
            return self.recover_from(error)

    def recover_from(self, error: Exception) -> float:
        """NaN, in the place of an exception that stands for that."""
        self.recovered = True
        self.recovered_why = f"{type(error).__name__}: {error}"  # no more, since it holds frames
        self.clear_grads()  # what there is belongs to a part of the loss
        return math.nan

    def _reach(self) -> None:
        """The loss depends on the parameters."""
        if self.reaches or self.recovered:
            return
        self.reaches = True
        if self._listener is not None:
            self._listener()

    def _start(self) -> None:
        """Nothing of an earlier run leaks into this one."""
        self.recovered = False
        self.clear_grads()
        # Under autocast torch keeps casts of the parameters, which were written to meanwhile.
        torch.clear_autocast_cache()

    def _checked(self, loss: Any) -> Loss:
        """The loss as it is read; remembers its dtype and device for what ``step`` returns."""
        if isinstance(loss, Tensor):
            if loss.numel() != 1:
                raise ValueError(
                    f"the closure must return a scalar loss, got a tensor of shape "
                    f"{tuple(loss.shape)}. Reduce it, for example with loss.sum() or loss.mean()."
                )
            if loss.dtype != self.loss_like.dtype or loss.device != self.loss_like.device:
                self._remember_kind(loss)
            return float(loss.item()) if _is_on_host(loss) else loss.detach()
        if isinstance(loss, Real):
            return float(loss)
        if isinstance(loss, np.ndarray) and loss.size == 1 and loss.dtype.kind in "fiub":
            return float(loss.item())
        raise TypeError(
            f"the closure must return the loss as a scalar tensor or a number, got "
            f"{type(loss).__name__}. Does it end with 'return loss'?"
        )

    def _remember_kind(self, loss: Tensor) -> None:
        if loss.is_complex():
            raise TypeError(
                f"the closure must return a real loss, got a tensor of {loss.dtype}. Return for "
                f"example loss.abs() or loss.real."
            )
        self.loss_like = torch.empty((), dtype=loss.dtype, device=loss.device)
