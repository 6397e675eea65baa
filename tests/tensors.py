"""Tensors of every dtype and layout that a bridge takes, and exact expectations."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

DTYPES = [
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex64,
    torch.complex128,
]

shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)


def assert_same_bits(actual: NDArray[np.float64], expected: NDArray[np.float64]) -> None:
    """Equal bits, but for a NaN's payload: torch's own kernels do not agree on it."""
    assert actual.dtype == expected.dtype == np.float64
    assert actual.shape == expected.shape
    canonical = [np.where(np.isnan(a), np.nan, a).view(np.int64) for a in (actual, expected)]
    np.testing.assert_array_equal(*canonical)


def reals(tensor: Tensor) -> NDArray[np.float64]:
    """A tensor's values in row-major order, by way of Python's own numbers."""
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    values: list[float] = []

    def visit(item: object) -> None:
        if isinstance(item, list):
            for inner in item:
                visit(inner)
        elif isinstance(item, complex):
            values.extend((item.real, item.imag))
        else:
            assert isinstance(item, float)
            values.append(item)

    visit(tensor.detach().tolist())
    return np.array(values)


def random_tensor(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> Tensor:
    """Values of all magnitudes, and a few that are special."""
    rng = np.random.default_rng(seed)
    real_shape = (*shape, 2) if dtype.is_complex else shape
    values = np.asarray(rng.standard_normal(real_shape) * 10.0 ** rng.integers(-9, 6, real_shape))
    special = rng.random(real_shape) < 0.15
    values[special] = rng.choice(
        [0.0, -0.0, np.inf, -np.inf, np.nan, 65519.0, 1e-40], special.sum()
    )
    tensor = torch.from_numpy(values)
    return (torch.complex(tensor[..., 0], tensor[..., 1]) if dtype.is_complex else tensor).to(dtype)


def _contiguous(tensor: Tensor) -> Tensor:
    return tensor.clone()


def _permuted(tensor: Tensor) -> Tensor:
    order = list(range(tensor.dim()))[::-1]
    return tensor.permute(order).contiguous().permute(order)


def _stepped(tensor: Tensor) -> Tensor:
    """Every other element of memory, from an offset."""
    memory = torch.zeros(2 * tensor.numel() + 3, dtype=tensor.dtype, device=tensor.device)
    return memory[3:][::2].view(tensor.shape).copy_(tensor)


def _inner_permuted(tensor: Tensor) -> Tensor:
    if tensor.dim() < 3:
        return _permuted(tensor)
    return tensor.movedim(1, -1).contiguous().movedim(-1, 1)


def _conjugate(tensor: Tensor) -> Tensor:
    return tensor.conj().resolve_conj().clone().conj()


def _negative(tensor: Tensor) -> Tensor:
    """What the imaginary part of a conjugate view is; complex tensors have no such views."""
    return tensor.clone() if tensor.is_complex() else torch._neg_view((-tensor).clone())


def _expanded(tensor: Tensor) -> Tensor:
    if tensor.numel() == 0:
        return tensor.clone()
    return tensor.flatten()[0].clone().expand(tensor.shape)


def _sparse_coo(tensor: Tensor) -> Tensor:
    return tensor.to_sparse() if tensor.dim() else tensor.clone()


PARAM_LAYOUTS = {
    "contiguous": _contiguous,
    "permuted": _permuted,
    "stepped": _stepped,
    "inner_permuted": _inner_permuted,
    "conjugate": _conjugate,
    "negative": _negative,
}
GRAD_LAYOUTS = PARAM_LAYOUTS | {
    "none": lambda tensor: None,
    "expanded": _expanded,
    "sparse_coo": _sparse_coo,
}


@st.composite
def params(draw: st.DrawFn) -> list[Tensor]:
    """Parameters of mixed dtypes, shapes and layouts, some with gradients of others."""
    made = []
    for seed in range(draw(st.integers(1, 5))):
        shape, dtype = draw(shapes), draw(st.sampled_from(DTYPES))
        param = PARAM_LAYOUTS[draw(st.sampled_from(sorted(PARAM_LAYOUTS)))](
            random_tensor(shape, dtype, seed)
        ).requires_grad_()
        param.grad = GRAD_LAYOUTS[draw(st.sampled_from(sorted(GRAD_LAYOUTS)))](
            random_tensor(shape, dtype, 100 + seed)
        )
        made.append(param)
    return made


@st.composite
def vectors(draw: st.DrawFn, numel: int) -> NDArray[np.float64]:
    """A vector of `numel` reals, contiguous or not, writable or not."""
    x = reals(random_tensor((numel,), torch.float64, draw(st.integers(0, 1000))))
    match draw(st.sampled_from(["plain", "stepped", "reversed", "readonly", "unaligned"])):
        case "stepped":
            x = np.repeat(x, 3)[::3]
        case "reversed":
            x = x[::-1].copy()[::-1]
        case "readonly":
            x.flags.writeable = False
        case "unaligned":
            raw = np.zeros(8 * numel + 1, np.uint8)[1:].view(np.float64)
            raw[:] = x
            x = raw
    return x
