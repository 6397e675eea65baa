"""The bridge in plain torch and numpy. Note [oracle]: the same bits as the native one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from time import perf_counter
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..typing import Array
from .overlap import are_apart
from .parameters import check_is_tensor, has_memory
from .python_checks import check_fits, check_is_vector, check_unchanged, check_vector

V = TypeVar("V")
Rows = Any  # a V with one dimension more


class PythonFlat(Generic[V], ABC):
    """Parameters as one flat float64 vector; see `pytorch_minimize.bridge.interface.Bridge`.

    Everything is done on float64 tensors of ``_place``, the device where vectors are; what they
    are to the caller, subclasses say.

    Args:
        params: checked, as by `pytorch_minimize.bridge.parameters.checked`.
    """

    _place: torch.device

    @abstractmethod
    def _given(self, x: V) -> Tensor:
        """A caller's vector, once it is known to be one, in memory that no parameter has."""

    @abstractmethod
    def _made(self, flat: Tensor) -> V:
        """A new vector for the caller."""

    @abstractmethod
    def is_finite(self, flat: V) -> bool:
        """Whether all of a vector is."""

    def __init__(self, params: Iterable[Tensor]) -> None:
        self._params = list(params)
        self._specs = [(p.shape, p.dtype, p.device) for p in self._params]
        self._reals = [p.numel() * (2 if p.is_complex() else 1) for p in self._params]
        self._numel = sum(self._reals)

    @property
    def numel(self) -> int:
        return self._numel

    @property
    def params(self) -> list[Tensor]:
        return list(self._params)

    def flatten_params(self) -> V:
        self._check_params()
        return self._pack(self._params)

    def flatten_grads(self) -> V:
        self._check_params()
        grads = [p.grad for p in self._params]
        self._check_fit(grads, "gradient")
        return self._pack(grads)

    def gradient(self) -> tuple[V, bool]:
        gradient = self.flatten_grads()
        return gradient, self.is_finite(gradient)

    def evaluation(self, loss: Tensor) -> tuple[float, V, bool, float]:
        start = perf_counter()
        value = float(loss.item())
        waited = perf_counter() - start
        return value, *self.gradient(), waited

    def flatten(self, tensors: Iterable[Tensor | None]) -> V:
        tensors = list(tensors)
        for position, tensor in enumerate(tensors):
            if tensor is not None:
                check_is_tensor(tensor, position)
        self._check_fit(tensors, "tensor")
        return self._pack(tensors)

    @torch.no_grad()
    def load_params(self, x: V) -> None:
        flat = self._given(x)
        self._check_params()
        for param, value in zip(self._params, self._slices(flat), strict=True):
            param.copy_(value)

    @torch.no_grad()
    def load_grads(self, x: V) -> None:
        flat = self._given(x)
        self._check_params()
        kept = [p.grad for p in self._params if _keeps_grad(p)]
        distinct = are_apart([grad for grad in kept if grad is not None])
        for param, value in zip(self._params, self._slices(flat), strict=True):
            if not (distinct and _keeps_grad(param)):
                param.grad = torch.empty_like(param, requires_grad=False)
            assert param.grad is not None
            param.grad.copy_(value)

    @torch.no_grad()
    def unflatten(self, x: V) -> list[Tensor]:
        flat = self._given(x)
        return [
            torch.empty(shape, dtype=dtype, device=device).copy_(value)
            for (shape, dtype, device), value in zip(self._specs, self._slices(flat), strict=True)
        ]

    def flatten_rows(self, stacks: Iterable[Tensor | None], out: Rows) -> bool:
        stacks = list(stacks)
        finite = True
        for i in range(len(out)):
            out[i] = self.flatten(None if stack is None else stack[i] for stack in stacks)
            finite = finite and self.is_finite(out[i])
        return finite

    def unflatten_rows(self, v: Rows) -> list[Tensor]:
        rows = [self.unflatten(row) for row in v]
        return [
            torch.stack([row[i] for row in rows])
            if rows
            else torch.empty((0, *shape), dtype=dtype, device=device)
            for i, (shape, dtype, device) in enumerate(self._specs)
        ]

    def has_grads(self) -> bool:
        return any(param.grad is not None for param in self._params)

    def clear_grads(self) -> None:
        for param in self._params:
            param.grad = None

    def release(self) -> None:
        pass

    @torch.no_grad()
    def _pack(self, tensors: Iterable[Tensor | None]) -> V:
        parts = [
            torch.zeros(reals, dtype=torch.float64, device=self._place)
            if tensor is None
            else _flat(tensor, self._place)
            for reals, tensor in zip(self._reals, tensors, strict=True)
        ]
        with torch.inference_mode(False):
            return self._made(torch.cat(parts))

    def _slices(self, flat: Tensor) -> Iterator[Tensor]:
        """The vector as tensors of the parameters' shapes, in float64 or complex128."""
        parts = flat.split(self._reals)
        for (shape, dtype, _), part in zip(self._specs, parts, strict=True):
            if dtype.is_complex:
                # A copy, because torch reads a complex128 at multiples of 16 bytes only.
                part = torch.view_as_complex(part.clone().view(-1, 2))
            yield part.view(shape)

    def _check_params(self) -> None:
        for i, (param, spec) in enumerate(zip(self._params, self._specs, strict=True)):
            check_unchanged(i, param, *spec)

    def _check_fit(self, tensors: list[Tensor | None], what: str) -> None:
        if len(tensors) != len(self._specs):
            raise ValueError(
                f"expected one tensor for each of the {len(self._specs)} distinct parameters, "
                f"got {len(tensors)}."
            )
        for i, (tensor, spec) in enumerate(zip(tensors, self._specs, strict=True)):
            if tensor is not None:
                check_fits(f"the {what} of parameter {i}", tensor, *spec)


class PythonBridge(PythonFlat[Array]):
    """Vectors are arrays on the host."""

    _place = torch.device("cpu")

    def _given(self, x: Array) -> Tensor:
        return torch.from_numpy(check_vector(x, self._numel))

    def _made(self, flat: Tensor) -> Array:
        made: Array = flat.numpy()
        return made

    def is_finite(self, flat: Array) -> bool:
        return bool(np.isfinite(flat).all())


class PythonTensorBridge(PythonFlat[Tensor]):
    """Vectors are tensors on the parameters' one device."""

    def __init__(self, params: Iterable[Tensor]) -> None:
        super().__init__(params)
        self._place = self._params[0].device

    def _given(self, x: Tensor) -> Tensor:
        return check_is_vector(x, self._numel, self._place)

    def _made(self, flat: Tensor) -> Tensor:
        return flat

    def is_finite(self, flat: Tensor) -> bool:
        return bool(flat.isfinite().all())


def _flat(tensor: Tensor, place: torch.device) -> Tensor:
    """A tensor's reals in row-major order, in float64 and there."""
    tensor = tensor.detach()
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.to(place, torch.complex128).resolve_conj())
    return tensor.to(place, torch.float64).resolve_neg().reshape(-1)


def _keeps_grad(param: Tensor) -> bool:
    """Whether a gradient can be written in place as it is."""
    grad = param.grad
    return (
        grad is not None
        and has_memory(grad)
        and not grad.requires_grad
        and (grad.shape, grad.dtype, grad.device) == (param.shape, param.dtype, param.device)
    )
