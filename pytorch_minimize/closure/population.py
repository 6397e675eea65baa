"""Many points in one forward pass: stacked parameters, one setting a row."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from ..bridge.layout import reals
from ..typing import Array
from ..wording import listed, shown
from .explain import OUT_OF_MEANS

__all__ = ["VectorizedLoss", "stack_parameters", "vectorize"]

_SAID = 300  # of torch's own message, which brings advice for its developers

VectorizedLoss = Callable[[list[Tensor]], Tensor]


def vectorize(
    model: nn.Module,
    loss: Callable[[nn.Module], Tensor],
    *,
    params: Iterable[Tensor] | None = None,
    chunk_size: int | None = None,
    randomness: str = "error",
) -> VectorizedLoss:
    """The losses of many parameter settings at once, for ``step(closure, vectorized=...)``.

    The model is run by :func:`torch.func.functional_call` under :func:`torch.func.vmap`, so that a
    whole population is one batched forward pass. The model itself is not changed.

    Args:
        model: whose parameters are optimised.
        loss: model -> loss, a scalar tensor; it calls the model as usual.
        params: the parameters, in the order in which the optimizer was given them. By default
            those of ``model.parameters()`` that require grad, or all if none does.
        chunk_size: settings per forward pass; bounds the memory. None takes all at once.
        randomness: what :func:`torch.func.vmap` makes of random operations in the model: "error",
            "different" or "same".

    Returns:
        Tensors of shape ``(S, *p.shape)``, one for each parameter p -> losses of shape (S,).

    Raises:
        TypeError: no module, or no callable.
        ValueError: ``params`` has a tensor that is no parameter of the model; or, when called,
            values of other shapes than the parameters'.
        RuntimeError: when called, the model or the loss does something that torch cannot batch;
            names it.

    Example:
        >>> model = torch.nn.Linear(2, 1)
        >>> x, y = torch.ones(5, 2), torch.zeros(5, 1)
        >>> losses = vectorize(model, lambda model: ((model(x) - y) ** 2).mean())
        >>> losses([torch.zeros(3, 1, 2), torch.tensor([[0.0], [1.0], [2.0]])])
        tensor([0., 1., 4.])
    """
    if not isinstance(model, nn.Module) or not callable(loss):
        raise TypeError(
            f"vectorize: expected a module and a function of it, got {shown(model)} and "
            f"{shown(loss)}"
        )
    whole = _LossOf(model, loss)
    chosen = _chosen(whole, params)

    def at_one(*tensors: Tensor) -> Tensor:
        value = torch.func.functional_call(whole, dict(zip(chosen, tensors, strict=True)), ())
        assert isinstance(value, Tensor)
        return value

    at_many = torch.func.vmap(at_one, randomness=randomness, chunk_size=chunk_size)

    def vectorized(tensors: list[Tensor]) -> Tensor:
        _check_shapes(tensors, [p.shape for p in chosen.values()])
        try:
            losses = at_many(*tensors)
        except OUT_OF_MEANS:
            raise
        except RuntimeError as error:
            if not tensors[0].shape[0] or not _works(at_one, [t[0] for t in tensors]):
                raise
            raise _unbatched(error) from error
        assert isinstance(losses, Tensor)
        return losses

    return vectorized


def _works(at_one: Callable[..., Tensor], tensors: list[Tensor]) -> bool:
    """Whether one point alone can be evaluated, so that it was the batch that could not."""
    try:
        at_one(*tensors)
    except OUT_OF_MEANS:
        raise
    except Exception:
        return False
    return True


# What torch's messages call the operation; it says it in several ways.
_OPERATION = re.compile(r"aten::(\w+)|calling (\.\w+\(\))|(data-dependent control flow)")
_TORCH = os.path.dirname(torch.__file__)


def _unbatched(error: RuntimeError) -> RuntimeError:
    found = _OPERATION.search(str(error))
    what = f"has {next(filter(None, found.groups()))}, which" if found else "does something that"
    said = " ".join(str(error).split())[:_SAID]
    if "randomness" in said:
        advice = 'Say randomness="different" or "same"'
    else:
        advice = "Write it with other operations, or give a vectorized= of your own"
    return RuntimeError(
        f"vectorize: the model or the loss {what} torch cannot batch{_place(error)}. {advice}; "
        f"without vectorized, points are evaluated one by one. torch says: {said}"
    )


def _place(error: BaseException) -> str:
    """Where in the user's code it was raised."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(_TORCH):
            ours = frame.filename == __file__
            return "" if ours else f" ({frame.filename}:{frame.lineno}: {shown(frame.line)})"
    return ""


class _LossOf(nn.Module):
    """The loss as a module around the model, which is what ``functional_call`` takes."""

    def __init__(self, model: nn.Module, loss: Callable[[nn.Module], Tensor]) -> None:
        super().__init__()
        self.model = model
        self._loss = loss

    def forward(self) -> Tensor:
        return self._loss(self.model)


def _chosen(module: nn.Module, params: Iterable[Tensor] | None) -> dict[str, Tensor]:
    """The parameters by their names, in the order in which their values will come."""
    names = {id(p): name for name, p in module.named_parameters()}
    if params is None:
        every = list(module.parameters())
        params = [p for p in every if p.requires_grad] or every
    params = list(params)
    strangers = [i for i, p in enumerate(params) if id(p) not in names]
    if strangers:
        raise ValueError(
            f"vectorize: expected parameters of the model; those at positions "
            f"[{listed(strangers)}] are not"
        )
    return {names[id(p)]: p for p in params}


def _check_shapes(stacked: Sequence[Tensor], shapes: Sequence[torch.Size]) -> None:
    got = [tensor.shape[1:] for tensor in stacked]
    if got != list(shapes):
        raise ValueError(
            f"vectorize: expected values for parameters of shapes {shown(_plain(shapes))}, got "
            f"{shown(_plain(got))}. Give params=, in the order in which the optimizer has them."
        )


def _plain(shapes: Iterable[torch.Size]) -> list[tuple[int, ...]]:
    return [tuple(shape) for shape in shapes]


def stack_parameters(points: Array, params: Sequence[Tensor]) -> list[Tensor]:
    """Flat points, one a row -> one tensor of shape ``(S, *p.shape)`` for each parameter p.

    Each has the dtype and device of its parameter; a complex element is two variables. They are
    copies, which the user's code may write into.

    Example:
        >>> stack_parameters(np.array([[1.0, 2.0], [3.0, 4.0]]), [torch.zeros(1), torch.zeros(())])
        [tensor([[1.],
                [3.]]), tensor([2., 4.])]
    """
    flat = torch.from_numpy(points)
    widths = [reals(p) for p in params]
    stacked = []
    for p, columns in zip(params, flat.split(widths, dim=1), strict=True):
        if p.is_complex():
            parts = columns.to(p.device, p.dtype.to_real(), copy=True).reshape(-1, *p.shape, 2)
            stacked.append(torch.view_as_complex(parts))
        else:
            stacked.append(columns.to(p.device, p.dtype, copy=True).reshape(-1, *p.shape))
    return stacked
