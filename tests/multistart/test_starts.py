"""Where runs begin, and what is refused."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from many import STARTS, Many
from scipy.stats import qmc

from pytorch_minimize.optim import MinimizeWrapper, MultiStartWrapper

BOUNDS = [(-2.0, 1.0), (0.0, 3.0), (-1.0, 1.0), (5.0, 5.0)]


def stepped(optimizer: MultiStartWrapper, many: Many) -> Any:
    optimizer.step(many.closure, vectorized=many.losses)
    return optimizer.starts


def test_a_number_is_the_model_and_sobol_points_inside_the_bounds() -> None:
    many = Many()
    with torch.no_grad():
        many.params[1].copy_(torch.tensor([0.5, 0.25, 5.0]))
    optimizer = many.optimizer(arguments={"bounds": BOUNDS}, starts=6, rng=1)
    starts = stepped(optimizer, many)
    low, high = np.array(BOUNDS).T
    unit = qmc.Sobol(4, rng=np.random.default_rng(1)).random_base2(3)[:5]
    assert np.array_equal(starts[0], [0.0, 0.5, 0.25, 5.0])
    assert np.array_equal(starts[1:], np.clip(low + unit * (high - low), low, high))


def test_bounds_of_groups_and_a_seed() -> None:
    many = Many()
    groups = [{"params": many.params, "bounds": (-2.0, 2.0)}]
    first = stepped(MultiStartWrapper(groups, starts=4, rng=5), many)
    again = stepped(MultiStartWrapper(groups, starts=4, rng=5), many)
    assert np.array_equal(first[1:], again[1:])
    generator = np.random.default_rng(5)
    optimizer = MultiStartWrapper(groups, starts=4, rng=generator)
    third, fourth = stepped(optimizer, many), stepped(optimizer, many)
    assert np.array_equal(first[1:], third[1:])
    assert not np.array_equal(third[1:], fourth[1:])
    # The first start is the model as it was: a step never ends above the one before.
    assert np.array_equal(fourth[0], optimizer.starts[0])


@pytest.mark.parametrize(
    "make",
    [
        lambda points: points,
        torch.from_numpy,
        lambda points: points.tolist(),
        lambda points: [torch.from_numpy(row) for row in points],
        lambda points: iter(points),
        lambda points: lambda rng: points,
        lambda points: lambda rng: (row for row in points),
    ],
    ids=["array", "tensor", "lists", "tensors", "iterator", "sampler", "generator"],
)
def test_points_in_all_forms(make: Any) -> None:
    many = Many()
    optimizer = many.optimizer(starts=make(STARTS[:3]))
    assert np.array_equal(stepped(optimizer, many), STARTS[:3])
    assert np.array_equal(stepped(optimizer, many), STARTS[:3])  # and at a second step


def test_a_sampler_draws_with_the_generator() -> None:
    many = Many()
    optimizer = many.optimizer(starts=lambda rng: rng.normal(size=(3, 4)), rng=8)
    assert np.array_equal(stepped(optimizer, many), np.random.default_rng(8).normal(size=(3, 4)))


def test_what_a_sampler_does_to_the_model_is_undone() -> None:
    many = Many()

    def sampler(rng: np.random.Generator) -> Any:
        for point in STARTS[:2]:
            with torch.no_grad():
                many.params[1].copy_(torch.from_numpy(point[1:]))
            yield point

    optimizer = many.optimizer(starts=sampler, arguments={"callback": lambda xk: 1 / 0})
    with pytest.raises(ZeroDivisionError):
        optimizer.step(many.closure)
    with pytest.raises(ValueError, match="boom"):
        optimizer.step(lambda: exec("raise ValueError('boom')"))
    assert np.array_equal(stepped(many.optimizer(starts=sampler), many), STARTS[:2])


def test_one_flat_point_is_one_start() -> None:
    many = Many()
    assert stepped(many.optimizer(starts=STARTS[0]), many).shape == (1, 4)
    assert len(many.optimizer(starts=1).param_groups) == 1  # needs no bounds: the model's own


def test_a_start_outside_the_bounds_is_moved_with_a_warning() -> None:
    many = Many()
    bounds = [(-1.0, 1.0)] * 4
    points = np.array([[0.5, 0.5, 0.5, 0.5], [0.5, 2.0, 0.5, 0.5]])
    optimizer = many.optimizer(arguments={"bounds": bounds}, starts=points)  # in silence
    with pytest.warns(UserWarning, match=r"1 of 2 are outside the bounds \(start 1\)") as told:
        starts = stepped(optimizer, many)
    assert len(told) == 1
    assert np.array_equal(starts[1], [0.5, 1.0, 0.5, 0.5])


@pytest.mark.parametrize(
    ("starts", "error", "message"),
    [
        (0, ValueError, "at least 1"),
        (True, TypeError, "expected a number of starts"),
        (2.5, TypeError, "expected a number of starts"),
        ("many", TypeError, "expected a number of starts"),
        (None, TypeError, "expected a number of starts"),
        ([], ValueError, "at least one point, got none"),
        (np.zeros((2, 3)), ValueError, "points of 4 variables, got 3 in start 0"),
        ([np.zeros(4), np.full(4, np.nan)], ValueError, "finite points, got NaN .* in start 1"),
        ([[0.0, None, 0.0, 0.0]], ValueError, "finite points, got NaN .* in start 0"),
        ([np.zeros(4), np.full(4, np.inf)], ValueError, "NaN or infinity in start 1"),
        ([["a"] * 4], TypeError, "start 0: expected 4 numbers"),
        (8, ValueError, "bounds: expected a finite low and high for every variable"),
    ],
)
def test_what_is_refused(starts: Any, error: type[Exception], message: str) -> None:
    many = Many()
    with pytest.raises(error, match=message):
        many.optimizer(starts=starts)


def test_a_missing_bound_is_named() -> None:
    many = Many()
    groups = [
        {"params": [("scale", many.params[0])], "bounds": (0.0, 1.0)},
        {"params": [("weights", many.params[1])], "bounds": (None, 1.0)},
    ]
    with pytest.raises(ValueError, match=r"\(weights\), element 0, has -inf and 1.0"):
        MultiStartWrapper(groups, starts=8)


def test_a_number_for_a_method_without_bounds() -> None:
    many = Many()
    with pytest.raises(ValueError, match="BFGS takes none; give points"):
        many.optimizer("BFGS", starts=8)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"distributed": True}, "distributed: many starts run in one process"),
        ({"warm_start": True}, "warm_start"),
        ({"hopeless_after": 0}, "hopeless_after: expected a positive int or None, got 0"),
        ({"hopeless_after": True}, "hopeless_after"),
    ],
)
def test_keywords_that_are_refused(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Many().optimizer("BFGS", **more)


def test_bad_samplers_change_nothing() -> None:
    many = Many()
    optimizer = many.optimizer(starts=lambda rng: np.zeros((2, 3)))
    before = many.x
    with pytest.raises(ValueError, match="points of 4 variables"):
        optimizer.step(many.closure)
    assert np.array_equal(many.x, before)
    assert many.closures == 0


def test_frozen_parameters_are_no_variables() -> None:
    many = Many()
    many.params[0].requires_grad_(False)
    with pytest.raises(ValueError, match=re.escape("points of 3 variables, got 4 in start 0")):
        many.optimizer()
    optimizer = many.optimizer(starts=STARTS[:, 1:])

    def losses(stacks: list[torch.Tensor]) -> torch.Tensor:
        first = many.params[0].expand(len(stacks[0]), 1)
        return many.losses([first, *stacks])

    optimizer.step(many.closure, vectorized=losses)
    assert float(many.params[0].detach()) == 0.0
    assert optimizer.results[0].fun <= MinimizeWrapper(many.params).step(many.closure) + 1e-9
