"""What torch says where it cannot differentiate twice, or batch, and what can be done about it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import torch

__all__ = ["ONCE", "OUT_OF_MEANS", "explained", "no_double_backward"]

OUT_OF_MEANS = (MemoryError, torch.OutOfMemoryError, torch.AcceleratorError)
"""No operator is to blame for these: memory is at its end, or a device is lost."""

_MESSAGES = (
    re.compile(r"derivative for '?([\w:]+)'? is not implemented"),
    re.compile(r"(torch\.compile) with aot_autograd does not currently support double backward"),
    re.compile(r"(torch\.utils\.checkpoint) is incompatible with \.grad\(\)"),
)
# torch.compile's own words where a graph must be kept.
_DONATED = "donated buffers"
ONCE = "@once_differentiable"
_ADVICE = (
    "which cannot be differentiated twice. Use a first-order method such as L-BFGS-B, or "
    "differences of gradients: hess='2-point' with Newton-CG, trust-ncg, trust-krylov or "
    "trust-constr"
)
_HINTS = {
    "scaled_dot_product": "; or choose the attention that can be, "
    "torch.nn.attention.sdpa_kernel(SDPBackend.MATH)",
    "torch.compile": "; or leave the model uncompiled",
    "torch.utils.checkpoint": "; or checkpoint with use_reentrant=False",
    "cudnn_rnn": "; or run under torch.backends.cudnn.flags(enabled=False)",
}


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn torch's refusals to differentiate twice into ours, which say what to do."""
    try:
        yield
    except RuntimeError as error:
        matches = (message.search(str(error)) for message in _MESSAGES)
        name = next((match[1] for match in matches if match), None)
        if name is None and _DONATED in str(error):
            name = "torch.compile"
        if name is None and ONCE in str(error):
            name = "a torch.autograd.Function marked with @once_differentiable"
        if name is None:
            raise
        raise no_double_backward(name) from error


def no_double_backward(name: str) -> RuntimeError:
    """For an operator of that name."""
    hint = next((hint for part, hint in _HINTS.items() if part in name), "")
    return RuntimeError(
        f"the method needs second derivatives, but the closure uses {name}, {_ADVICE}{hint}."
    )
