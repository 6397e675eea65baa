"""Jacobians of residuals: every way gives that of torch.func, in bounded memory."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from residual_cases import Case, decay, network, wide
from torch import Tensor, nn

from pytorch_minimize.bridge.make import make_bridge, tensor_bridge
from pytorch_minimize.least_squares.jacobian import ResidualJacobian, Way
from pytorch_minimize.optim import LeastSquaresWrapper

WAYS: tuple[Way, ...] = ("auto", "rows", "columns")


def dense(case: Case) -> Any:
    argnums = tuple(range(len(case.twins)))
    parts = torch.func.jacrev(lambda *tensors: case.residuals(tensors).reshape(-1), argnums)(
        *[twin.detach() for twin in case.twins]
    )
    return torch.cat([part.reshape(part.shape[0], -1) for part in parts], 1).numpy()


@pytest.mark.parametrize("block_bytes", [1, 2000, 1 << 26])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("make", [decay, network, wide])
def test_every_way_is_that_of_torch_func(make: Any, way: Way, block_bytes: int) -> None:
    case = make()
    assert np.allclose(
        case.jacobian(case.x0, way, block_bytes), dense(case), rtol=1e-12, atol=1e-14
    )


@pytest.mark.parametrize("make", [decay, network, wide])
def test_products_are_those_of_the_matrix(make: Any) -> None:
    case, rng = make(), np.random.default_rng(0)
    matrix = case.jacobian(case.x0)
    flat = case.converted.at(case.x0).reshape(-1)
    taken = ResidualJacobian(make_bridge(case.twins), np.empty, 1 << 20)
    u, v = rng.standard_normal(matrix.shape[0]), rng.standard_normal(matrix.shape[1])
    assert np.allclose(taken.product(flat, v).detach(), matrix @ v)
    assert np.allclose(taken.transposed_product(flat, torch.from_numpy(u)), matrix.T @ u)


@pytest.mark.parametrize("way", WAYS)
def test_tensors_of_a_device(way: Way) -> None:
    case = network()
    flat = case.converted.at(case.x0).reshape(-1)
    bridge = tensor_bridge(make_bridge(case.twins))
    taken = ResidualJacobian(
        bridge, lambda shape: torch.empty(shape, dtype=torch.float64), 4000, way
    ).matrix(flat)
    assert isinstance(taken, Tensor)
    assert np.allclose(taken, dense(case), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("way", WAYS)
def test_parameters_without_influence_have_zeros_and_complex_ones_two_columns(way: Way) -> None:
    z = nn.Parameter(torch.tensor([1.0 + 2.0j], dtype=torch.complex128))
    idle = nn.Parameter(torch.ones(2, dtype=torch.float64))
    flat = torch.view_as_real(z * (3.0 - 1.0j)).reshape(-1) + 0.0
    taken = ResidualJacobian(make_bridge([idle, z]), np.empty, 1 << 20, way).matrix(flat)
    assert taken.tolist() == [[0.0, 0.0, 3.0, 1.0], [0.0, 0.0, -1.0, 3.0]]


class _Once(torch.autograd.Function):
    """A square that can be differentiated once, and not in a batch."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.from_numpy(2 * x.detach().numpy() * grad.numpy())


def once() -> Any:
    x = nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))
    return x, lambda: torch.cat([_Once.apply(x) - 0.25, 0.1 * x, 0.2 * x, 0.3 * x])


def test_an_operator_without_batches_or_second_derivatives_is_said_once() -> None:
    x, closure = once()
    optimizer = LeastSquaresWrapper([x], {"gtol": 1e-10})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        optimizer.step(closure)
    said = [str(warning.message) for warning in caught]
    assert sum("in rows, because columns need second derivatives" in text for text in said) == 1
    assert sum("one row at a time" in text for text in said) == 1
    assert optimizer.res.success


@pytest.mark.parametrize("keywords", [{"jac": "columns"}, {"tr_solver": "lsmr"}])
def test_columns_that_were_asked_for_are_refused_where_there_are_none(keywords: Any) -> None:
    x, closure = once()
    with pytest.raises(RuntimeError, match="second derivatives"):
        LeastSquaresWrapper([x], keywords).step(closure)


@pytest.mark.parametrize("way", ["rows", "columns"])
def test_out_of_memory_is_not_taken_for_an_operator(
    way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    def vmap(function: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.func, "vmap", vmap)
    case = network()
    with pytest.raises(torch.OutOfMemoryError):
        case.jacobian(case.x0, way)


@pytest.mark.parametrize("way", ["rows", "columns"])
def test_blocks_are_as_large_as_they_may_be(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks: list[int] = []
    vmap = torch.func.vmap

    def counted(function: Any) -> Any:
        def call(*seeds: Tensor) -> Any:
            blocks.append(len(seeds[0]))
            return vmap(function)(*seeds)

        return call

    monkeypatch.setattr(torch.func, "vmap", counted)
    case = network()
    count = 25 if way == "rows" else 13
    # Eight bytes each: 13 variables, 25 residuals, four of the largest layer's 25 x 4.
    for block_bytes, most in ((9 * 8 * (13 + 25 + 4 * 100), 9), (1 << 26, count)):
        blocks.clear()
        case.jacobian(case.x0, way, block_bytes)
        assert max(blocks) == most
        assert sum(blocks) == count
    blocks.clear()
    case.jacobian(case.x0, way, 5 * 8 * (13 + 25 + 4 * 100))
    assert not blocks  # so few are taken one by one
