"""A dense Hessian is taken in blocks of rows, of which only one half is computed."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from curvature_cases import in_micro_batches, mlp
from torch import Tensor

from pytorch_minimize.bridge.make import make_bridge
from pytorch_minimize.closure.runner import ClosureRunner
from pytorch_minimize.curvature.dense import UpperRows, identity_rows, symmetrise
from pytorch_minimize.curvature.strategies import make_curvature
from pytorch_minimize.record.profile import Profile

SIZES = ((3, 5), (1,), (0,), (2, 2), (), (40,))
STEPS = (2, 3, 7, 16, 1000)


def params() -> list[Tensor]:
    made = [torch.zeros(size) for size in SIZES]
    made[3] = made[3].to(torch.complex64)  # two variables for each of its numbers
    return made


def blocks(step: int) -> list[UpperRows]:
    return [*UpperRows.blocks(params(), step)]


@pytest.mark.parametrize("step", STEPS)
def test_blocks_are_all_the_rows(step: int) -> None:
    found = blocks(step)
    assert found[0].begin == 0
    assert found[-1].end == 65
    assert all(a.end == b.begin for a, b in pairwise(found))
    assert all(0 < block.end - block.begin <= step for block in found)
    rows = np.concatenate([block.identity() for block in found])
    assert np.array_equal(rows, np.eye(65))


def test_blocks_end_with_parameters_where_they_can() -> None:
    assert [(b.end, b.first, b.last) for b in blocks(16)] == [
        (16, 0, 1),
        (25, 3, 4),
        (41, 5, 5),
        (57, 5, 5),
        (65, 5, 5),
    ]


@pytest.mark.parametrize("step", STEPS)
def test_the_symmetric_part_of_what_is_weighed_is_all_of_it(step: int) -> None:
    exact = symmetrise(np.random.default_rng(0).standard_normal((65, 65)))
    weighed, found = exact.copy(), blocks(step)
    for block in found:
        rows = weighed[block.begin : block.end]
        rows[:, : sum(p.numel() for p in params()[: block.first])] = np.nan  # is not computed
        block.weigh(rows)
    assert np.array_equal(symmetrise(weighed), exact)


@pytest.mark.parametrize("strategy", ["graph", "replay"])
def test_rows_one_at_a_time_have_the_bits_of_products(strategy: Any) -> None:
    instance = mlp()
    runner = ClosureRunner(in_micro_batches(instance), make_bridge(instance.params))
    curvature = make_curvature(strategy, runner, Profile(), 1)
    n = len(instance.x0)
    rows = [curvature.product(row)[0] for row in identity_rows(n)(0, n)]
    assert np.array_equal(curvature.hessian()[0], rows)


def test_later_rows_do_not_go_back_to_earlier_parameters() -> None:
    """What gives a parameter its gradient is run for the rows up to its own."""
    asked: list[int] = []

    class Watched(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None: ...

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            asked.append(len(grad))
            return grad

    early = torch.nn.Parameter(torch.arange(1.0, 41.0, dtype=torch.float64))
    late = torch.nn.Parameter(torch.arange(1.0, 91.0, dtype=torch.float64))

    def closure() -> Tensor:
        return Watched.apply(early).square().sum() * late.square().sum()

    runner = ClosureRunner(closure, make_bridge([early, late]))
    curvature = make_curvature("graph", runner, Profile(), 1 << 26)
    curvature.product(np.ones(130))
    asked.clear()
    hessian, _ = curvature.hessian()
    assert len(asked) == 1  # of the three blocks, whose rows end at 40, 104 and 130
    assert np.allclose(symmetrise(hessian)[:40, 40:], 4.0 * np.outer(early.detach(), late.detach()))
