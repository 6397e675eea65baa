"""Four processes, where sums have an order and a leader has several to tell."""

from __future__ import annotations

import random

import fault_cases
import numpy as np
import pytest
import together_cases as cases
from ranks import Ranks, answered
from together_cases import require_same

METHODS = "L-BFGS-B", "BFGS", "CG", "SLSQP", "trust-ncg", "torch-BFGS", "SSBFGS", "SSBroyden"


def test_the_fit_is_that_of_one_process(four: Ranks) -> None:
    given = [({"method": method, "options": {"maxiter": 10}}, "tanh") for method in METHODS]
    first, second = (four.run(cases.fits, 4, given, within=60.0) for _ in range(2))
    alone = cases.fits(0, 1, given)
    for number, method in enumerate(METHODS):
        together = require_same([rank[number] for rank in first])
        again = require_same([rank[number] for rank in second])
        assert np.array_equal(together.x, again.x), method
        assert np.abs(together.x - alone[number].x).max() < 1e-12, method
        assert together.res.nfev == alone[number].res.nfev


def test_two_collectives_an_evaluation(four: Ranks) -> None:
    seen, together = four.run(cases.counted, 4, 3, "L-BFGS-B")[3]
    evaluations = together.counts["closure"]
    assert len(seen["reduce"]) == evaluations == len(seen["broadcast"]) - 4
    assert set(seen["reduce"]) == {8 * 18 + 8 * 4}


@pytest.mark.parametrize("seed", range(4))
def test_one_of_them_raises(four: Ranks, seed: int) -> None:
    draw = random.Random(seed)
    who, kind = draw.randrange(4), draw.choice(["raise", "interrupt"])
    answers = answered(four.run(fault_cases.faulty, 4, [who], kind, 4, "BFGS", within=10.0))
    for rank, answer in enumerate(answers):
        assert np.array_equal(answer.x, answers[0].x)
        assert answer.after == answers[0].after
        if rank != who:
            assert answer.raised == "OtherProcessError"
            assert f"process {who} of 4 raised" in answer.message


def test_two_of_them_raise(four: Ranks) -> None:
    answers = answered(four.run(fault_cases.faulty, 4, [1, 3], "raise", 4, "BFGS", within=10.0))
    assert [answer.raised for answer in answers] == ["OtherProcessError", "Fault"] * 2
    assert answers[2].message == answers[0].message
    assert "process 1 of 4 raised Fault" in answers[0].message
    assert "process 3 of 4 raised Fault" in answers[0].message


def test_a_group_of_two_of_them(four: Ranks) -> None:
    first, second, *members = answered(four.run(cases.subgroup, 4))
    assert first is second is None
    one = cases.fit(0, 1, {"method": "BFGS", "options": {"maxiter": 5}})
    assert np.abs(require_same(members).x - one.x).max() < 1e-12
