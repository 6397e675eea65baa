"""Bounds of the global optimisers: their forms, and what is refused before anything changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from landscapes import STYBLINSKI_TANG
from scipy.optimize import Bounds
from searches import MAKE, QUICK
from torch import Tensor, nn

from pytorch_minimize.scipy_global.algorithms import ALGORITHMS

BOXED = [name for name, row in ALGORITHMS.items() if row.box]
FINITE = r"bounds: expected a finite low and high for every variable"


def without_bounds(algorithm: str) -> dict[str, Any]:
    return dict(QUICK[algorithm].keywords)


@pytest.mark.parametrize("algorithm", BOXED)
def test_every_form_of_bounds_is_one_box(algorithm: str) -> None:
    low, high = STYBLINSKI_TANG.box
    forms: list[tuple[Any, Any]] = [
        ([(low, high)] * 2, None),
        (Bounds([low] * 2, [high] * 2), None),
        (np.array([[low, high]] * 2), None),
        (None, (low, high)),
        (None, (torch.tensor(low), torch.tensor(high))),
    ]
    ends = []
    for flat, grouped in forms:
        instance = QUICK[algorithm].instance()
        params: Any = instance.params
        if grouped is not None:
            params = [{"params": instance.params, "bounds": grouped}]
        keywords = without_bounds(algorithm) | ({} if flat is None else {"bounds": flat})
        MAKE[algorithm](params, {}, keywords).step(instance.closure(2))
        ends.append(instance.x)
    assert all(np.array_equal(end, ends[0]) for end in ends)


@pytest.mark.parametrize("algorithm", BOXED)
def test_bounds_for_each_group(algorithm: str) -> None:
    instance = QUICK[algorithm].instance()
    first, second = instance.params
    groups = [
        {"params": [first], "bounds": (0.0, 4.5)},
        {"params": [second], "bounds": (torch.tensor([-5.0]), 4.5)},
    ]
    optimizer = MAKE[algorithm](groups, {}, without_bounds(algorithm))
    optimizer.step(instance.closure(2))
    np.testing.assert_allclose(instance.x, [2.7468, -2.9035], atol=0.05)


def test_bounds_for_each_group_of_hops() -> None:
    instance = QUICK["basinhopping"].instance()
    first, second = instance.params
    groups = [{"params": [first], "bounds": (0.0, 4.5)}, {"params": [second]}]
    optimizer = MAKE["basinhopping"](groups, {"method": "L-BFGS-B"}, {"niter": 10, "rng": 0})
    optimizer.step(instance.closure(2))
    assert instance.x[0] >= 0.0


@pytest.mark.parametrize("method", ["BFGS", "Newton-CG"])
def test_hops_by_a_method_without_bounds_refuse_them(method: str) -> None:
    instance = QUICK["basinhopping"].instance()
    groups = [{"params": instance.params, "bounds": (0.0, 4.5)}]
    with pytest.raises(ValueError, match=f"{method} takes no bounds"):
        MAKE["basinhopping"](groups, {"method": method}, {})


BOXES_THAT_ARE_NONE: list[tuple[Any, str]] = [
    (None, rf"{FINITE} of parameter 0 of group 0 \(weight\), .*\(bias\); got none"),
    ([(0, 1)] * 4 + [(None, 1)], rf"{FINITE}; .*\(bias\) has -inf and 1.0"),
    (
        [(0, 1), (0, np.inf)] + [(0, 1)] * 3,
        rf"{FINITE}; .*\(weight\), element 1, has 0.0 and i",
    ),
    ([(0, 1)] * 4, r"bounds: expected Bounds or a \(low, high\) for each of the 5 variables"),
    ([(0, 1)] * 4 + [(3, 1)], r"\(bias\), element 0: expected low <= high"),
]


@pytest.mark.parametrize("algorithm", BOXED)
def test_boxes_that_are_none(algorithm: str) -> None:
    model = nn.Linear(4, 1)
    for bounds, message in BOXES_THAT_ARE_NONE:
        keywords = {} if bounds is None else {"bounds": bounds}
        with pytest.raises(ValueError, match=message):
            MAKE[algorithm](model.named_parameters(), {}, keywords)


@pytest.mark.parametrize("algorithm", BOXED)
def test_a_group_without_bounds(algorithm: str) -> None:
    model = nn.Linear(2, 1)
    groups = [{"params": [model.weight], "bounds": (0.0, 1.0)}, {"params": [model.bias]}]
    with pytest.raises(ValueError, match=rf"{FINITE}; parameter 0 of group 1 has -inf and inf"):
        MAKE[algorithm](groups, {}, {})


@pytest.mark.parametrize("algorithm", BOXED)
def test_bounds_in_both_places(algorithm: str) -> None:
    model = nn.Linear(2, 1)
    groups = [{"params": list(model.parameters()), "bounds": (0.0, 1.0)}]
    with pytest.raises(ValueError, match="either bounds on the flat vector"):
        MAKE[algorithm](groups, {}, {"bounds": [(0.0, 1.0)] * 3})


@pytest.mark.parametrize("algorithm", BOXED)
def test_groups_that_change_are_checked_before_a_step_moves_anything(algorithm: str) -> None:
    instance = QUICK[algorithm].instance()
    groups = [{"params": instance.params, "bounds": (-1.0, 0.0)}]
    optimizer = MAKE[algorithm](groups, {}, without_bounds(algorithm))
    optimizer.param_groups[0]["bounds"] = (-1.0, None)
    with pytest.raises(ValueError, match=FINITE):
        optimizer.step(lambda: pytest.fail("the closure ran"))
    assert np.array_equal(instance.x, instance.x0)


@pytest.mark.parametrize("algorithm", ["shgo", "dual_annealing", "direct"])
def test_a_box_without_width(algorithm: str) -> None:
    instance = QUICK[algorithm].instance()
    keywords = without_bounds(algorithm) | {"bounds": [(1.0, 1.0), (0.0, 1.0)]}
    with pytest.raises(ValueError, match="requires_grad=False fixes a parameter"):
        MAKE[algorithm](instance.params, {}, keywords)


@pytest.mark.parametrize("algorithm", ["differential_evolution", "shgo", "brute"])
def test_a_variable_that_equal_bounds_fix(algorithm: str) -> None:
    instance = QUICK[algorithm].instance()
    with torch.no_grad():
        instance.params[0].fill_(1.0)
    keywords = without_bounds(algorithm) | {"bounds": [(1.0, 1.0), (-5.0, 4.5)]}
    if algorithm == "shgo":
        keywords["sampling_method"] = "simplicial"
    optimizer = MAKE[algorithm](instance.params, {}, keywords)
    optimizer.step(instance.closure(2))
    np.testing.assert_allclose(instance.x, [1.0, -2.9035], atol=0.05)
    assert instance.x[0] == 1.0


@pytest.mark.parametrize("algorithm", ["differential_evolution", "dual_annealing"])
def test_a_start_outside_is_moved_inside(algorithm: str) -> None:
    instance = QUICK[algorithm].instance()
    evaluate = instance.closure(2)
    starts: list[Any] = []

    def closure() -> Tensor:
        starts.append(instance.x)
        return evaluate()

    keywords = without_bounds(algorithm) | {"bounds": [(-5.0, 0.0), (-5.0, 4.5)]}
    optimizer = MAKE[algorithm](instance.params, {}, keywords)
    with pytest.warns(UserWarning, match="outside the bounds in 1 of 2 variables"):
        optimizer.step(closure)
    assert starts[0] == pytest.approx([0.0, instance.x0[1]], abs=1e-12)


@pytest.mark.parametrize("algorithm", BOXED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_parameter_leaves_its_bounds(algorithm: str, dtype: torch.dtype) -> None:
    """Bounds that are no numbers of the dtype are rounded towards the inside."""
    low, high = -2.7 - 1e-9, 4.3 + 1e-9
    instance = QUICK[algorithm].instance(dtype)
    evaluate = instance.closure(2)

    def closure() -> Tensor:
        assert low <= instance.x.min() <= instance.x.max() <= high
        return evaluate()

    keywords = without_bounds(algorithm) | {"bounds": [(low, high)] * 2}
    optimizer = MAKE[algorithm](instance.params, {}, keywords)
    optimizer.step(closure)
    np.testing.assert_allclose(instance.x, [-2.7, -2.7], atol=0.2)


def test_ranges_of_brute() -> None:
    instance = QUICK["brute"].instance()
    ranges = (slice(-4.0, 4.0, 0.5), (-3.0, 3.0))
    make = MAKE["brute"]
    optimizer = make(instance.params, {}, {"ranges": ranges, "Ns": 7, "finish": None})
    optimizer.step(instance.closure(2))
    assert np.array_equal(instance.x, [-3.0, -3.0])
    assert optimizer.res.grid.shape == (2, 16, 7)
    with pytest.raises(ValueError, match="ranges and bounds say the same thing"):
        make(instance.params, {}, {"ranges": ranges, "bounds": [(0, 1)] * 2})
    with pytest.raises(ValueError, match="for each of the 2 variables, got 1"):
        make(instance.params, {}, {"ranges": ranges[:1]})


def test_complex_parameters() -> None:
    """The real and the imaginary part have the bounds of their parameter."""
    z = nn.Parameter(torch.tensor([1.0 + 1.0j], dtype=torch.complex128))
    groups = [{"params": [z], "bounds": (-2.0, 3.0)}]
    optimizer = MAKE["differential_evolution"](groups, {}, {"rng": 0, "popsize": 8})
    optimizer.step(lambda: ((z - (1.5 - 9.0j)).abs() ** 2).sum())
    assert z.item() == pytest.approx(1.5 - 2.0j, abs=1e-6)
