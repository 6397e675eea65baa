"""What torch wraps models in: DDP goes with equal weights, and all else is refused in words."""

from __future__ import annotations

from typing import Any

import ddp_cases as cases
import numpy as np
import pytest
from ranks import Ranks, answered
from together_cases import Ended


def equal(answers: list[Ended]) -> Ended:
    first, second = answered(answers)
    assert np.array_equal(first.x, second.x)
    return first


def test_equal_weights_are_right(two: Ranks) -> None:
    averaged = equal(two.run(cases.wrapped, 2, "L-BFGS-B", {}, False))
    inside = equal(two.run(cases.wrapped, 2, "L-BFGS-B", {}, True))
    assert averaged.history == inside.history == []
    assert np.abs(averaged.x - inside.x).max() < 1e-12
    assert np.abs(averaged.grad - inside.grad).max() < 1e-12
    assert averaged.res.nfev == inside.res.nfev


def test_micro_batches(two: Ranks) -> None:
    accumulated = equal(two.run(cases.accumulated, 2))
    inside = equal(two.run(cases.wrapped, 2, "L-BFGS-B", {}, True))
    assert np.abs(accumulated.x - inside.x).max() < 1e-11


def test_a_sum_is_right_and_explained(two: Ranks) -> None:
    keywords = {"reduction": "sum"}
    averaged = equal(two.run(cases.wrapped, 2, "BFGS", keywords, False))
    inside = equal(two.run(cases.wrapped, 2, "BFGS", keywords, True))
    assert inside.history == []
    (told, *_) = averaged.history
    assert told.startswith('reduction="sum": the closure runs a DistributedDataParallel')
    assert np.abs(averaged.x - inside.x).max() < 1e-11


@pytest.mark.parametrize(
    ("method", "keywords", "said"),
    [
        ("BFGS", {"weight": None}, "weight: the closure runs a DistributedDataParallel"),
        ("trust-ncg", {}, "the method asks for curvature"),
        ("BFGS", {"check_closure": True}, "check_closure=True: DistributedDataParallel's"),
    ],
)
def test_what_goes_wrong_with_it(
    two: Ranks, method: str, keywords: dict[str, Any], said: str
) -> None:
    answers = [
        two.run(cases.weighted, 2, method, keywords, inside, within=20.0)
        for inside in (False, True)
    ]
    for answer in answers[0]:
        assert answer.kind == "ValueError"
        assert answer.message.startswith(said)
        assert "model.module" in answer.message
    answered(answers[1])


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("fully_shard", "parameter 0 is a DTensor"),
        ("flat", "parameter 0 is a FlatParameter of FullyShardedDataParallel"),
        ("original parameters", "parameter 0 is managed by FullyShardedDataParallel"),
    ],
)
def test_sharded_parameters_are_refused_by_name(two: Ranks, how: str, said: str) -> None:
    for answer in two.run(cases.sharded, 2, how):
        assert answer.kind == "TypeError"
        assert answer.message.startswith(said)
        assert "DistributedDataParallel, and share out the data" in answer.message
