"""Whatever happens in one process: all end at the best point and can go on; none waits for ever."""

from __future__ import annotations

import pathlib
import random

import fault_cases as cases
import numpy as np
import pytest
import together_cases
import torch
from fault_cases import Left
from ranks import Ranks, answered

# Seconds in which a case must be over, two steps of it; it takes a tenth of that, or less.
WITHIN = 10.0
OTHER = "OtherProcessError"


def require_all_left_alike(answers: list[Left], apart: int = 0) -> None:
    """At the same evaluation, at the same point; and the next step gave the same.

    Args:
        apart: 1 where a rank may have been interrupted before it called the closure.
    """
    first, *others = answered(answers)
    for other in others:
        assert abs(other.calls - first.calls) <= apart
        assert np.array_equal(other.x, first.x)
        assert other.after == first.after
        if first.raised and other.raised:
            assert other.status == first.status == 108
    assert first.after is not None


@pytest.mark.parametrize("who", [0, 1])
@pytest.mark.parametrize(
    ("kind", "raised", "said"),
    [
        ("raise", "Fault", "raised Fault: of this rank\n"),
        ("interrupt", "KeyboardInterrupt", "raised KeyboardInterrupt\n"),
        ("exit", "SystemExit", "raised SystemExit: 3\n"),
    ],
)
def test_what_a_rank_raises(two: Ranks, kind: str, raised: str, said: str, who: int) -> None:
    answers = two.run(cases.faulty, 2, [who], kind, 5, "L-BFGS-B", within=WITHIN)
    require_all_left_alike(answers)
    own, other = answers[who], answers[1 - who]
    assert (own.raised, other.raised) == (raised, OTHER)
    assert f"process {who} of 2 {said}" in other.message
    assert own.calls == 5
    assert np.array_equal(own.x, cases.lowest(2, own.points[:-1]))


def test_both_are_interrupted(two: Ranks) -> None:
    answers = two.run(cases.faulty, 2, [0, 1], "interrupt", 5, "SSBroyden", within=WITHIN)
    require_all_left_alike(answers)
    assert [answer.raised for answer in answers] == ["KeyboardInterrupt"] * 2


@pytest.mark.parametrize("who", [0, 1])
def test_an_interrupt_while_ranks_talk(two: Ranks, who: int) -> None:
    answers = two.run(cases.faulty, 2, [who], "late interrupt", 3, "BFGS", within=WITHIN)
    require_all_left_alike(answers, apart=1)
    assert answers[who].raised == "KeyboardInterrupt"
    assert answers[1 - who].raised in (OTHER, "")  # it may come after the last evaluation


@pytest.mark.parametrize(
    ("kind", "raised", "said"),
    [
        ("callback", "Fault", "Fault: of the callback"),
        ("interrupted callback", "KeyboardInterrupt", "KeyboardInterrupt"),
        ("nonfinite", "NonfiniteError", "NonfiniteError: the closure gave a loss of nan"),
    ],
)
def test_what_the_leader_raises(two: Ranks, kind: str, raised: str, said: str) -> None:
    answers = two.run(cases.faulty, 2, [0], kind, 3, "L-BFGS-B", within=WITHIN)
    require_all_left_alike(answers)
    assert [answer.raised for answer in answers] == [raised, OTHER]
    assert f"process 0 of 2 raised {said}" in answers[1].message
    assert np.array_equal(
        answers[0].x, cases.lowest(2, answers[0].points[: -1 if kind == "nonfinite" else None])
    )


def test_nan_in_another_rank_is_an_answer_to_the_leader(two: Ranks) -> None:
    answers = two.run(cases.faulty, 2, [1], "nonfinite", 3, "L-BFGS-B", within=WITHIN)
    require_all_left_alike(answers)
    assert [answer.raised for answer in answers] == ["NonfiniteError", OTHER]


@pytest.mark.parametrize(("kind", "status"), [("stop", 99), ("timeout", 101)])
def test_a_run_that_the_leader_ends(two: Ranks, kind: str, status: int) -> None:
    answers = two.run(cases.faulty, 2, [0], kind, 3, "BFGS", within=WITHIN)
    require_all_left_alike(answers)
    assert [(answer.raised, answer.status) for answer in answers] == [("", status)] * 2


def test_no_hang_in_fifty_random_faults(two: Ranks) -> None:
    draw = random.Random(0)
    seen = set()
    for _ in range(50):
        kind = draw.choice(["raise", "interrupt", "late interrupt", "exit", "callback"])
        who, at = draw.randrange(2), draw.randint(1, cases.ITERATIONS)
        method = draw.choice(["L-BFGS-B", "SSBroyden", "trust-ncg"])
        answers = two.run(cases.faulty, 2, [who], kind, at, method, within=WITHIN)
        require_all_left_alike(answers, apart=int(kind == "late interrupt"))
        seen |= {answer.raised for answer in answers}
    assert seen >= {"Fault", "KeyboardInterrupt", "SystemExit", OTHER}


def test_a_set_up_that_is_refused_in_one_rank(two: Ranks) -> None:
    first, second = two.run(together_cases.of_other_kinds, 2, "a start of NaN", within=WITHIN)
    assert (first.kind, second.kind) == (OTHER, "ValueError")
    assert "process 1 of 2 raised ValueError: " in first.message
    assert second.message.splitlines()[0] in first.message


@pytest.mark.parametrize(("size", "who"), [(3, 1), (2, 0)])
def test_a_killed_rank(two: Ranks, size: int, who: int, tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "run.pt")
    with Ranks(size, timeout=20.0) as ranks:
        answers = ranks.run(cases.killed, size, who, 6, path, within=30.0)
    assert answers[who] is None
    left = [answer for answer in answers if answer is not None]
    best = cases.lowest(size, left[0][2][:-1])
    for raised, message, _, x in left:
        assert raised == OTHER
        assert message.startswith("a process of the group is gone")
        assert np.array_equal(x, best)
    # Two go on where three were, or the same two.
    first, second = two.run(together_cases.resumed, 2, path, 3, True)
    assert np.array_equal(first.x, second.x)
    saved = torch.load(path, weights_only=True)["run"]
    assert saved["loss"] == first.loss
    assert len(first.history) > 3
