"""Capturing the ``backward()`` calls of a closure."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from .autograd_graph import leaves_below
from .explain import explained

__all__ = [
    "Backward",
    "backward_elsewhere",
    "capturing",
    "is_backward_watched",
    "plain_backward",
]


@dataclass(frozen=True)
class Backward:
    """One ``backward()`` call of a closure: what it was called on and with which seeds.

    ``inputs`` restricts it to some leaves, and ``retain_graph`` says that the closure will go
    through the graph again, as the arguments of those names do in torch.
    """

    roots: Sequence[Tensor]
    seeds: Sequence[Tensor | None]
    inputs: Sequence[Tensor] | None = None
    retain_graph: bool = False


class _Capture(threading.local):
    """Who listens to backward() calls in this thread."""

    listener: Callable[[Backward], None] | None = None


_capture = _Capture()
_patch_lock = threading.Lock()
_patch_users: set[object] = set()
_original_backward = torch.autograd.backward
_original_method = Tensor.backward


def _is_of(module: ModuleType, function: Any) -> bool:
    """Whether a module has it from its own file; others may have put theirs there before us."""
    code = getattr(function, "__code__", None)
    return code is not None and code.co_filename == module.__file__


_is_torchs = _is_of(torch.autograd, _original_backward) and _is_of(torch._tensor, _original_method)
_autograd_logger = logging.getLogger("torch.autograd.graph")


def is_backward_watched() -> bool:
    """Whether this thread captures them, others stand in for them, or torch logs their nodes."""
    is_known = torch.autograd.backward in (_original_backward, _listening_backward)
    is_plain = (
        _is_torchs
        and is_known
        and Tensor.backward is _original_method
        and _capture.listener is None
    )
    return not is_plain or _autograd_logger.isEnabledFor(logging.DEBUG)


def _as_sequence(value: Any) -> Sequence[Any]:
    return (value,) if isinstance(value, Tensor) or value is None else tuple(value)


def _listening_backward(
    tensors: Any,
    grad_tensors: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    grad_variables: Any = None,
    inputs: Any = None,
) -> None:
    """Stands in for ``torch.autograd.backward`` while some thread captures."""
    listener = _capture.listener
    if listener is None:
        _original_backward(
            tensors, grad_tensors, retain_graph, create_graph, grad_variables, inputs
        )
        return
    roots = _as_sequence(tensors)
    given = grad_tensors if grad_tensors is not None else grad_variables
    seeds = _as_sequence(given) if given is not None else (None,) * len(roots)
    if isinstance(inputs, dict):
        inputs = tuple(inputs.values())
    leaves = None if inputs is None else _as_sequence(inputs)
    if create_graph:
        raise RuntimeError(
            "the closure calls backward(create_graph=True), whose gradients cannot be captured for "
            "curvature. Take them with torch.autograd.grad(..., create_graph=True) instead."
        )
    # A backward() within this one is torch's own, such as that of a reentrant checkpoint.
    _capture.listener = None
    try:
        listener(Backward(roots, seeds, leaves, bool(retain_graph)))
    finally:
        _capture.listener = listener


@contextlib.contextmanager
def capturing(listener: Callable[[Backward], None]) -> Iterator[None]:
    """Inside this block ``backward()`` calls of this thread go to ``listener``.

    ``Tensor.backward`` looks ``torch.autograd.backward`` up at each call, so that one name covers
    both. It is replaced only while a block is open, and other threads see what they always saw. A
    ``TorchFunctionMode`` would need no replacement, but costs about 1.5 us per torch call of the
    closure and is a reason for ``torch.compile`` to compile the model anew.
    """
    before, user = _capture.listener, object()
    try:  # an interrupt may come at each of these
        with _patch_lock:
            _patch_users.add(user)
            torch.autograd.backward = _listening_backward
        _capture.listener = listener
        yield
    finally:
        _capture.listener = before
        with _patch_lock:
            _patch_users.discard(user)
            if not _patch_users:
                torch.autograd.backward = _original_backward


def plain_backward(call: Backward) -> None:
    """What the captured call would have done, the graph kept for curvature."""
    with explained():
        _original_backward(call.roots, call.seeds, retain_graph=True, inputs=call.inputs)


def backward_elsewhere(call: Backward, params: Sequence[Tensor]) -> None:
    """The captured call as far as it concerns other leaves than ``params``, the graph kept.

    A closure may fit a model of its own inside, or look at the gradient of its inputs.
    """
    ours = {id(param) for param in params}
    leaves = leaves_below(call.roots) if call.inputs is None else call.inputs
    others = [leaf for leaf in leaves if id(leaf) not in ours]
    if not others:
        return
    with explained():
        _original_backward(call.roots, call.seeds, retain_graph=True, inputs=others)
