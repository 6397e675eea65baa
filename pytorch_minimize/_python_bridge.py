"""The bridge in plain torch and numpy. Note [oracle]: the same bits as the native one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pytorch_minimize._python_checks import (
    check_can_be_variable,
    check_fits,
    check_is_tensor,
    check_no_overlap,
    check_unchanged,
    check_vector,
    check_vectors,
    find_overlap,
    has_memory,
)

Vector = NDArray[np.float64]


class PythonBridge:
    """Parameters as one flat float64 vector; see `pytorch_minimize._bridge.Bridge`."""

    def __init__(self, params: Iterable[Tensor]) -> None:
        distinct: dict[int, Tensor] = {}
        for position, param in enumerate(params):
            check_is_tensor(param, position)
            distinct.setdefault(id(param), param)
        self._params = list(distinct.values())
        if not self._params:
            raise ValueError("expected at least one parameter, got an empty list.")
        for i, param in enumerate(self._params):
            check_can_be_variable(i, param)
        check_no_overlap(self._params)
        self._specs = [(p.shape, p.dtype, p.device) for p in self._params]
        self._reals = [p.numel() * (2 if p.is_complex() else 1) for p in self._params]
        self._numel = sum(self._reals)

    @property
    def numel(self) -> int:
        return self._numel

    @property
    def params(self) -> list[Tensor]:
        return list(self._params)

    def flatten_params(self) -> Vector:
        self._check_params()
        return self._pack(self._params)

    def flatten_grads(self) -> Vector:
        self._check_params()
        grads = [p.grad for p in self._params]
        self._check_fit(grads, "gradient")
        return self._pack(grads)

    def gradient(self) -> tuple[Vector, bool]:
        gradient = self.flatten_grads()
        return gradient, bool(np.isfinite(gradient).all())

    def evaluation(self, loss: Tensor) -> tuple[float, Vector, bool, float]:
        start = perf_counter()
        value = float(loss.item())
        waited = perf_counter() - start
        return value, *self.gradient(), waited

    def flatten(self, tensors: Iterable[Tensor | None]) -> Vector:
        tensors = list(tensors)
        for position, tensor in enumerate(tensors):
            if tensor is not None:
                check_is_tensor(tensor, position)
        self._check_fit(tensors, "tensor")
        return self._pack(tensors)

    @torch.no_grad()
    def load_params(self, x: Vector) -> None:
        x = check_vector(x, self._numel)
        self._check_params()
        for param, value in zip(self._params, self._slices(x), strict=True):
            param.copy_(value)

    @torch.no_grad()
    def load_grads(self, x: Vector) -> None:
        x = check_vector(x, self._numel)
        self._check_params()
        kept = [p.grad for p in self._params if _keeps_grad(p)]
        distinct = find_overlap([grad for grad in kept if grad is not None]) is None
        for param, value in zip(self._params, self._slices(x), strict=True):
            if not (distinct and _keeps_grad(param)):
                param.grad = torch.empty_like(param, requires_grad=False)
            assert param.grad is not None
            param.grad.copy_(value)

    @torch.no_grad()
    def unflatten(self, x: Vector) -> list[Tensor]:
        x = check_vector(x, self._numel)
        return [
            torch.empty(shape, dtype=dtype, device=device).copy_(value)
            for (shape, dtype, device), value in zip(self._specs, self._slices(x), strict=True)
        ]

    def has_grads(self) -> bool:
        return any(param.grad is not None for param in self._params)

    def clear_grads(self) -> None:
        for param in self._params:
            param.grad = None

    def release(self) -> None:
        pass

    @torch.no_grad()
    def _pack(self, tensors: Iterable[Tensor | None]) -> Vector:
        return np.concatenate(
            [
                np.zeros(reals) if tensor is None else _flat(tensor)
                for reals, tensor in zip(self._reals, tensors, strict=True)
            ]
        )

    def _slices(self, x: Vector) -> Iterator[Tensor]:
        """x as tensors of the parameters' shapes, in float64 or complex128."""
        begin = 0
        for (shape, dtype, _), reals in zip(self._specs, self._reals, strict=True):
            part = x[begin : begin + reals]
            begin += reals
            if dtype.is_complex:
                # A copy, because torch reads a complex128 at multiples of 16 bytes only.
                value = torch.view_as_complex(torch.from_numpy(part.copy()).view(-1, 2))
            else:
                value = torch.from_numpy(part)
            yield value.view(shape)

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


def python_same_values(a: Vector, b: Vector) -> bool:
    """Whether two float64 vectors have the same length and the same bits."""
    check_vectors(a, b)
    return np.array_equal(
        np.ascontiguousarray(a).view(np.int64), np.ascontiguousarray(b).view(np.int64)
    )


def _flat(tensor: Tensor) -> Vector:
    """A tensor's reals in row-major order, in float64."""
    tensor = tensor.detach()
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.to("cpu", torch.complex128).resolve_conj())
    flat: Vector = tensor.to("cpu", torch.float64).resolve_neg().reshape(-1).numpy()
    return flat


def _keeps_grad(param: Tensor) -> bool:
    """Whether a gradient can be written in place as it is."""
    grad = param.grad
    return (
        grad is not None
        and has_memory(grad)
        and not grad.requires_grad
        and (grad.shape, grad.dtype, grad.device) == (param.shape, param.dtype, param.device)
    )


def python_distance(a: Vector, b: Vector) -> float:
    """The Euclidean distance of two vectors."""
    return float(np.linalg.norm(a - b))


def python_largest(v: Vector) -> float:
    """max |v_i| without a temporary of v's size; 0 for an empty one."""
    return max(float(v.max()), -float(v.min())) if v.size else 0.0
