"""How a user's closure is run, and how its backward is captured."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ._bridge import Bridge, same_values
from ._capture import Backward, capturing, plain_backward
from ._fixed_gradients import MARKS, FixedGradients

__all__ = ["ClosureRunner", "Loss", "NoGraphError", "UserClosure", "read_loss"]

UserClosure = Callable[[], Any]

Loss = float | Tensor
"""A loss; a tensor, without a graph, where to read it would be to wait for its device."""


def read_loss(loss: Loss) -> float:
    """The loss as a number, once its device has computed it."""
    return float(loss.item()) if isinstance(loss, Tensor) else loss


def _is_on_host(loss: Tensor) -> bool:
    return loss.is_cpu


class NoGraphError(RuntimeError):
    """A gradient is needed, but the loss does not depend on the parameters through a graph."""


# torch's own words where a loss is the fixed one of a captured graph.
_SPENT = "backward through the graph a second time"


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
    which are called like the others. And those that replay a captured CUDA graph, which fills the
    gradient tensors that were in ``.grad`` when it was captured: these are set to zero where others
    are cleared.

    Args:
        closure: the user's.
        bridge: of the parameters that are optimised; their ``.grad`` is cleared before each run,
            so that nothing of an earlier one leaks in.
        records_graph: whether :meth:`value` lets a closure record a graph that it may not need.
            Solvers that sample a great many points set it to False.
    """

    closure: UserClosure
    bridge: Bridge
    records_graph: bool = True
    loss_like: Tensor = field(default_factory=lambda: torch.empty((), dtype=torch.float64))
    _differentiates: bool | None = None
    _fixed: FixedGradients | None = None
    _has_run: bool = False

    def value(self) -> float:
        """The loss; for solvers that ask for no gradient."""
        self._start()
        if not self.records_graph:
            return self._value_without_graph()
        with _recording():
            return read_loss(self._checked(self.closure()))

    def _value_without_graph(self) -> float:
        """The loss, without a graph unless the first run shows that the closure differentiates.

        It does so by ``backward()``, or by ``torch.autograd.grad`` as physics-informed losses do.
        """
        if self._differentiates is None:
            with torch.enable_grad(), _SeesAutograd() as seen:
                value = read_loss(self._checked(self.closure()))
            self._differentiates = seen.autograd or self.bridge.has_grads()
            return value
        with torch.set_grad_enabled(self._differentiates):
            return read_loss(self._checked(self.closure()))

    def value_and_gradient(self) -> Loss:
        """The loss, and the gradient in the parameters' ``.grad``."""
        # Only until the first run has shown that it makes gradients of its own.
        before = None if self._has_run else FixedGradients.of(self.bridge)
        self._start()
        with _recording():
            loss = self.closure()
            value = self._checked(loss)
            if not self.bridge.has_grads():
                value = self._differentiated(loss, value, before)
        self._has_run = True
        return value

    def _differentiated(self, loss: Any, value: Loss, before: FixedGradients | None) -> Loss:
        try:
            self._go_through(loss, lambda: loss.backward())
        except NoGraphError:
            filled = None if before is None else self._value_if_filled(before)
            if filled is None:
                raise
            return filled
        return value

    def _value_if_filled(self, before: FixedGradients) -> Loss | None:
        """Run the closure again: the loss if it fills the gradients of before where they are.

        A replayed graph leaves no trace of that but the values themselves.
        """
        for mark in MARKS:
            before.attach(mark)
            attached = self.bridge.flatten_grads()
            value = self._checked(self.closure())
            if not same_values(attached, self.bridge.flatten_grads()):
                self._fixed = before
                return value
        self.bridge.clear_grads()
        return None

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
                loss = self.closure()
            value = self._checked(loss)
            if self.bridge.has_grads():
                self._require_captured(heard)
            else:
                # backward() was not called, or on something else than the loss.
                self._go_through(loss, lambda: listener(Backward((loss,), (None,))))
        return value

    def clear_grads(self) -> None:
        """No gradient, or zeros where the closure will look for it."""
        if self._fixed is None:
            self.bridge.clear_grads()
        else:
            self._fixed.attach()

    def _start(self) -> None:
        """Nothing of an earlier run leaks into this one."""
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

    @staticmethod
    def _require_captured(heard: bool) -> None:
        if not heard:
            raise RuntimeError(
                "the closure filled the gradients without a backward() call that could be "
                "captured, so there is no graph to take curvature from. Call loss.backward() or "
                "torch.autograd.backward(...), or return the loss without calling either."
            )

    @staticmethod
    def _go_through(loss: Any, backward: Callable[[], None]) -> None:
        """Call ``backward``; NoGraphError where the loss has no graph, or none that is left."""
        if not isinstance(loss, Tensor):
            raise _no_graph(f"a {type(loss).__name__}")
        if not loss.requires_grad:
            raise _no_graph("a tensor that requires no grad")
        try:
            backward()
        except RuntimeError as error:
            if _SPENT not in str(error):
                raise
            raise _no_graph("a loss whose graph was gone through already") from error


def _no_graph(returned: str) -> NoGraphError:
    return NoGraphError(
        f"the method needs a gradient, but the closure called no backward() that reached a "
        f"parameter and returned {returned}. Return a loss that depends on the parameters "
        f"(no .item(), .detach() or no_grad on the way), or use a gradient-free method such as "
        f"Nelder-Mead. If the closure replays a captured graph, use a method without Hessians, and "
        f"let .grad be the tensors that the graph fills when step() begins."
    )
