"""Whether a closure runs a DistributedDataParallel, whose backward() averages over processes."""

from __future__ import annotations

import contextlib
import gc
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from .start import Agreement

__all__ = ["NoticesDDP"]

_DDP = nn.parallel.DistributedDataParallel

_INSTEAD = "Call the module inside in the closure (model.module(...) instead of model(...))"


class NoticesDDP:
    """The user's closure; its first run is watched.

    DDP averages gradients itself, so that those of all processes are equal, and their mean with
    equal weights is right; the loss stays each process's own. What goes together with that no
    more is refused before it goes wrong.

    Args:
        closure: the user's.
        params: that are optimised.

        look: False where no model is known to be one that averages.

    Attributes:
        found: whether there is such a model of these parameters; None before the first run.

    Raises:
        ValueError: in the closure, of check_closure, curvature, or weights that are not equal.
    """

    def __init__(self, closure: Callable[[], Any], params: Iterable[Tensor], *, look: bool) -> None:
        self._closure = closure
        self._ours = {id(param) for param in params}
        self._looks = look
        self._checks = self._multiplies = False
        self._agreement: Agreement | None = None
        self.found: bool | None = None if look else False

    @contextlib.contextmanager
    def checking(self, checks: bool) -> Iterator[None]:
        """Inside the block the closure may be compared with differences of its loss."""
        self._checks = checks
        try:
            yield
        finally:
            self._checks = False

    def expect(self, agreement: Agreement, *, curvature: bool) -> None:
        """From here on the solver evaluates, and may ask for Hessian products or a Jacobian."""
        self._agreement, self._multiplies = agreement, curvature

    def __call__(self) -> Any:
        if not self._looks:
            return self._closure()
        models = [model for model in _all_ddp() if self._has_ours(model)]
        self.found, self._looks = bool(models), self._checks
        hooks = [model.register_forward_pre_hook(self._look) for model in models]
        try:
            return self._closure()
        finally:
            for hook in hooks:
                hook.remove()

    def _has_ours(self, model: nn.Module) -> bool:
        return any(id(param) in self._ours for param in model.parameters())

    def _look(self, model: nn.Module, args: Any) -> None:
        if not (torch.is_grad_enabled() and model.require_backward_grad_sync):
            return
        if self._checks:
            raise ValueError(
                "check_closure=True: DistributedDataParallel's backward() gives the gradient of "
                "all processes and the closure the loss of one, which do not go together. "
                f"{_INSTEAD}."
            )
        if self._multiplies:
            raise ValueError(
                "the method asks for curvature or a Jacobian, which cannot be taken through "
                f"DistributedDataParallel: it averages gradients, not products. {_INSTEAD}."
            )
        agreement = self._agreement
        if agreement is not None and not agreement.is_even:
            raise ValueError(
                "weight: the closure runs a DistributedDataParallel, whose backward() averages the "
                "gradients with equal weights before ours are looked at, so that the gradient is "
                f"not that of the weighted loss. {_INSTEAD}, or leave weight out."
            )
        if agreement is not None and not agreement.is_mean:
            warnings.warn(
                'reduction="sum": the closure runs a DistributedDataParallel, whose backward() '
                "averages the gradients. What is summed up here is right as long as it does that, "
                f"and is communicated twice. {_INSTEAD} for less.",
                RuntimeWarning,
                stacklevel=2,
            )


def _all_ddp() -> list[nn.Module]:
    objects = gc.get_objects()
    # By type(): isinstance asks proxies for their class, which may do anything, and takes 40 times
    # as long.
    kinds = {kind for kind in set(map(type, objects)) if issubclass(kind, _DDP)}
    return [each for each in objects if type(each) in kinds] if kinds else []
