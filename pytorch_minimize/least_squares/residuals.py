"""What a closure of residuals returns, as one vector and as a loss."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from ..closure.runner import ClosureRunner
from ..typing import UserClosure
from ..wording import shown

__all__ = ["ClosureResiduals", "ResidualClosure", "ResidualRunner", "as_residuals"]

Term = Callable[[], Tensor]


class ClosureResiduals:
    r"""A closure of residuals made of terms, each with a weight and, if wanted, a name.

    The residuals are :math:`w_k r_k` of all terms, one after the other, so that the cost is
    :math:`\frac12 \sum_k \sum_i (w_{ki} r_{ki})^2`. To give a mean of squares over m points the
    factor c in that cost, its weight is :math:`\sqrt{2 c / m}`.

    Args:
        terms: functions without arguments, each of which returns residuals as a tensor of any
            shape; or a dict of such by name.
        weights: one for each term, a number or a tensor that broadcasts to the term: of
            measurements, 1 / sigma. A dict by name where the terms are one; a name that it leaves
            out has the weight 1. None: 1 for all.

    Attributes:
        places: name (or number) -> slice, where the residuals of a term are in ``res.fun``; after
            the first call.

    Raises:
        ValueError: no terms, or weights that do not go with them.
        TypeError: terms that are not functions.

    Example:
        >>> x = torch.nn.Parameter(torch.tensor([3.0, 1.0], dtype=torch.float64))
        >>> closure = ClosureResiduals(
        ...     {"data": lambda: x - 1, "prior": lambda: x.sum()}, weights={"prior": 0.5}
        ... )
        >>> closure().detach()
        tensor([2., 0., 2.], dtype=torch.float64)
        >>> closure.places["prior"]
        slice(2, 3, None)
    """

    def __init__(
        self,
        terms: Mapping[str, Term] | Sequence[Term],
        weights: Mapping[str, Any] | Sequence[Any] | None = None,
    ) -> None:
        if callable(terms):
            raise TypeError("terms: expected a list or a dict of functions, got a function alone")
        named = isinstance(terms, Mapping)
        self._terms: dict[Any, Term] = (
            dict(terms) if isinstance(terms, Mapping) else dict(enumerate(terms))
        )
        if not self._terms:
            raise ValueError("terms: expected at least one function that returns residuals")
        for name, term in self._terms.items():
            if not callable(term):
                raise TypeError(
                    f"terms: expected functions without arguments, got {shown(term)} as {name}"
                )
        self._weights = self._checked(weights, named)
        self.places: dict[Any, slice] = {}

    def __call__(self) -> Tensor:
        """The weighted residuals of all terms as one vector, with their graph."""
        parts = []
        for name, term in self._terms.items():
            found = term()
            if not isinstance(found, Tensor):
                raise TypeError(
                    f"term {name}: expected residuals as a tensor, got {type(found).__name__}"
                )
            parts.append(self._weigh(name, found).reshape(-1))
        self.places = dict(zip(self._terms, _places(parts), strict=True))
        return joined(parts)

    def _weigh(self, name: Any, found: Tensor) -> Tensor:
        weight = self._weights.get(name)
        if weight is None:
            return found
        weighted: Tensor = found * weight
        if weighted.shape != found.shape:
            raise ValueError(
                f"weights: expected that of term {name} to broadcast to its shape "
                f"{tuple(found.shape)}, got {shown(weight)}"
            )
        return weighted

    def _checked(self, weights: Any, named: bool) -> dict[Any, Any]:
        if weights is None:
            return {}
        if isinstance(weights, Mapping) != named:
            kind = "a dict by the terms' names" if named else "one for each term, in their order"
            raise ValueError(f"weights: expected {kind}, got {shown(weights)}")
        if named:
            unknown = sorted(set(weights) - set(self._terms), key=str)
            if unknown:
                names = ", ".join(map(str, self._terms))
                raise ValueError(f"weights: the terms are {names}, got weights of {shown(unknown)}")
            return dict(weights)
        if len(weights) != len(self._terms):
            raise ValueError(
                f"weights: expected one for each of the {len(self._terms)} terms, got "
                f"{len(weights)}"
            )
        return dict(enumerate(weights))


def _places(parts: Sequence[Tensor]) -> Iterator[slice]:
    start = 0
    for part in parts:
        yield slice(start, start + part.numel())
        start += part.numel()


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Flat tensors as one.

    Raises:
        ValueError: they are on several devices.
    """
    devices = {str(part.device) for part in parts}
    if len(devices) > 1:
        raise ValueError(
            f"the closure must return residuals on one device, got some on "
            f"{' and some on '.join(sorted(devices))}. Move them before they are returned."
        )
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


def as_residuals(returned: Any) -> Tensor:
    """What a closure returned, one tensor or several, as one flat tensor with its graph.

    Raises:
        TypeError: it is no tensor, or one of numbers that are not real.
        ValueError: there are no residuals.

    Example:
        >>> as_residuals([torch.ones(1, 2), torch.zeros(())])
        tensor([1., 1., 0.])
    """
    tensors = list(returned) if isinstance(returned, (list, tuple)) else [returned]
    for tensor in tensors:
        if not isinstance(tensor, Tensor):
            raise TypeError(
                f"the closure must return residuals, a tensor or a list of tensors, got "
                f"{shown(returned)}. Does it end with 'return residuals'?"
            )
        if tensor.is_complex():
            raise TypeError(
                f"the closure must return real residuals, got a tensor of {tensor.dtype}. Return "
                f"torch.view_as_real(residuals): their squares add up to those of the moduli."
            )
        if not tensor.is_floating_point():
            raise TypeError(
                f"the closure must return residuals of a floating dtype, got a tensor of "
                f"{tensor.dtype}"
            )
    flat = joined([tensor.reshape(-1) for tensor in tensors]) if tensors else torch.empty(0)
    if not flat.numel():
        raise ValueError("the closure must return at least one residual, got none")
    return flat


@dataclass
class ResidualClosure:
    """The user's closure of residuals, as one that returns the loss; keeps the residuals.

    Args:
        closure: the user's.
        measure: the residuals, flat and with their graph -> the loss, a scalar tensor or a number.

    Attributes:
        flat: of the last run, with their graph; None where it gave none, or they were dropped.
        count: how many there are, which must not change; None before the first run.
    """

    closure: UserClosure
    measure: Callable[[Tensor], Any]
    flat: Tensor | None = None
    count: int | None = None

    def __call__(self) -> Any:
        self.flat = None
        returned = self.closure()
        if isinstance(returned, Real) and not math.isfinite(returned):
            return math.nan  # "step back", in the place of as many residuals
        flat = as_residuals(returned)
        if self.count is None and isinstance(returned, Tensor) and not returned.ndim:
            warnings.warn(
                "the closure returned one number, which is squared as the only residual. If it is "
                "a loss, return the residuals that it adds up the squares of, or use "
                "MinimizeWrapper; if it is meant so, return it in a list.",
                UserWarning,
                stacklevel=2,
            )
        if self.count is not None and flat.numel() != self.count:
            raise ValueError(
                f"the closure must return as many residuals each time, {self.count} as at the "
                f"start, got {flat.numel()}. Where some are not to count, return zeros for them."
            )
        self.count = flat.numel()
        self.flat = flat
        return self.measure(flat)


@dataclass
class ResidualRunner(ClosureRunner):
    """Runs a closure of residuals.

    Attributes:
        residuals: that closure.
    """

    residuals: ResidualClosure | None = None

    def value(self) -> float:
        """The loss, and the residuals with their graph.

        Raises:
            RuntimeError: the closure called ``backward()``.
        """
        loss = super().value()
        if self.bridge.has_grads():
            raise RuntimeError(
                "the closure called backward(): a closure of residuals returns them with their "
                "graph, and leaves the differentiation to the optimizer"
            )
        return loss

    def _called(self) -> Any:
        loss = super()._called()
        flat = None if self.residuals is None else self.residuals.flat
        like = self.loss_like
        if flat is not None and (flat.dtype != like.dtype or flat.device != like.device):
            self._remember_kind(flat)
        return loss
