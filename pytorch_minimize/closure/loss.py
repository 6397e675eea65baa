"""What a closure returns: the loss, and the graph that a gradient comes from."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..typing import Loss

__all__ = [
    "SPENT",
    "NoGraphError",
    "foreign_graph",
    "no_graph",
    "read_loss",
    "require_captured",
    "spent_graph",
]


def read_loss(loss: Loss) -> float:
    """The loss as a number, once its device has computed it."""
    return float(loss.item()) if isinstance(loss, Tensor) else loss


class NoGraphError(RuntimeError):
    """A gradient is needed, but the loss does not depend on the parameters through a graph.

    Never raised where the loss is not finite: there no gradient is needed.
    """


SPENT = "backward through the graph a second time"
"""torch's own words where a loss is the fixed one of a captured graph."""


def no_graph(returned: Any, *, had_grads: bool) -> NoGraphError:
    """For what a closure returned without a graph.

    Args:
        had_grads: whether a captured graph may have been meant to fill gradients of before.
    """
    is_tensor = isinstance(returned, Tensor)
    what = "a tensor that requires no grad" if is_tensor else f"a {type(returned).__name__}"
    return _without(what, had_grads)


def spent_graph(*, had_grads: bool) -> NoGraphError:
    """For a loss of whose graph nothing is left; see :func:`no_graph`."""
    return _without("a loss whose graph was gone through already", had_grads)


def _without(what: str, had_grads: bool) -> NoGraphError:
    captured = (
        " If the closure replays a captured graph, which fills the tensors that were in .grad, "
        "make the optimizer with captured_graph=True and a method without Hessians."
    )
    return NoGraphError(
        f"the method needs a gradient, but the closure called no backward() that reached a "
        f"parameter and returned {what}. Return a loss that depends on the parameters "
        f"(no .item(), .detach() or no_grad on the way), or use a gradient-free method such as "
        f"Nelder-Mead. Where there is no loss, return inf or NaN, which need no graph."
        f"{captured if had_grads else ''}"
    )


def foreign_graph() -> NoGraphError:
    """For a loss whose graph does not lead to the parameters."""
    return NoGraphError(
        "the closure's loss has a graph, but it reaches none of the parameters that are optimised. "
        "Is it of a copy of the model, or was the model replaced, or its parameters, after the "
        "optimizer was made? Make the optimizer from the parameters of the model that the closure "
        "runs."
    )


def require_captured(heard: bool) -> None:
    """Refuse gradients of which no ``backward()`` was heard."""
    if not heard:
        raise RuntimeError(
            "the closure filled the gradients without a backward() call that could be captured, so "
            "there is no graph to take curvature from. Call loss.backward() or "
            "torch.autograd.backward(...), or return the loss without calling either. A captured "
            "graph has no curvature: use a method without Hessians."
        )
