"""Least squares over the rows of several processes: one fit, that of one process with all rows."""

from __future__ import annotations

import pathlib
import random
from typing import Any

import numpy as np
import pytest
import residual_ranks as cases
from ranks import Ranks, answered
from residual_ranks import Left, require_same

GAUSS_NEWTON = "torch-gauss-newton-cg"
METHODS = ("trf", "dogbox", "lm", "torch-lm", GAUSS_NEWTON)
WITHIN = 10.0  # seconds in which two steps must be over
OTHER = "OtherProcessError"


def limited(method: str, iterations: int) -> dict[str, Any]:
    name = "maxiter" if method == GAUSS_NEWTON else "max_nfev"
    return {"method": method, name: iterations}


GIVEN: list[tuple[dict[str, Any], str]] = [
    *((limited(method, 11), "tanh") for method in METHODS),
    *((limited(method, 100), "convex") for method in METHODS),
    ({"method": "trf", "loss": cases.cauchy, "f_scale": 0.5, "max_nfev": 8}, "tanh"),
    ({"method": "torch-lm", "loss": "huber", "f_scale": 0.5, "max_nfev": 8}, "tanh"),
    ({"method": GAUSS_NEWTON, "loss": cases.cauchy, "f_scale": 0.5, "maxiter": 6}, "tanh"),
    ({"method": "trf", "tr_solver": "lsmr", "max_nfev": 3}, "convex"),
    ({"method": "dogbox", "jac": "2-point", "max_nfev": 2}, "convex"),
    ({"method": "torch-lm"}, "complex"),
]


def test_the_fit_is_that_of_one_process_with_all_rows(two: Ranks) -> None:
    ranks = two.run(cases.fits, 2, GIVEN, within=60.0)
    for number, one in enumerate(cases.fits(0, 1, GIVEN)):
        together = require_same([rank[number] for rank in ranks])
        what = GIVEN[number]
        is_near = 1e-7 if "lsmr" in what[0].values() else 1e-12
        assert np.abs(together.x - one.x).max() < is_near, what
        for name in ("nit", "nfev", "njev", "status"):
            assert together.res.get(name) == one.res.get(name), what
        assert np.allclose(together.res.fun, one.res.fun, rtol=0.0, atol=10 * is_near)
        assert np.allclose(together.grad, one.grad, rtol=0.0, atol=1e3 * is_near, equal_nan=True)
        assert (together.res.jac is None) == (one.res.jac is None)
        if one.covariance is not None:
            assert np.allclose(together.res.jac, one.res.jac, rtol=0.0, atol=1e-11)
            assert np.allclose(together.covariance, one.covariance, rtol=1e-8)


def test_four_processes(four: Ranks) -> None:
    given = [(limited(method, 11), "tanh") for method in METHODS]
    ranks = four.run(cases.fits, 4, given, within=60.0)
    for number, one in enumerate(cases.fits(0, 1, given)):
        together = require_same([rank[number] for rank in ranks])
        assert np.abs(together.x - one.x).max() < 1e-12
        assert (together.res.nfev, together.res.njev) == (one.res.nfev, one.res.njev)
    again, *_ = answered(four.run(cases.fit, 4, *given[0]))
    assert np.array_equal(again.x, ranks[0][0].x)


def test_one_of_four_raises_in_its_jacobian(four: Ranks) -> None:
    answers = four.run(cases.faulty, 4, 2, "raised in the Jacobian", 3, limited("trf", 6))
    require_all_left_alike(answers)
    assert [answer.raised for answer in answers] == [OTHER, OTHER, "Fault", OTHER]


@pytest.mark.parametrize("method", ["trf", "dogbox", "torch-lm"])
def test_bounds_and_a_jacobian_of_the_users(two: Ranks, method: str) -> None:
    together, one = require_same(two.run(cases.bounded, 2, method)), cases.bounded(0, 1, method)
    assert together.res.nfev == one.res.nfev
    assert np.abs(together.x - one.x).max() < 1e-12
    assert together.res.active_mask.any()


@pytest.mark.parametrize("method", [GAUSS_NEWTON, "torch-lm"])
def test_vectors_of_a_device(two: Ranks, method: str) -> None:
    on_tensors = require_same(two.run(cases.fit_on_tensors, 2, limited(method, 5)))
    on_arrays = require_same(two.run(cases.fit, 2, limited(method, 5)))
    assert np.abs(on_tensors.x - on_arrays.x).max() < 1e-12
    assert np.allclose(on_tensors.res.fun, on_arrays.res.fun, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_limits_and_checks(two: Ranks, method: str) -> None:
    keywords = {"max_evaluations": 3, "check_closure": True, "reduction": "sum", "weight": 1.0}
    together = require_same(two.run(cases.fit, 2, {"method": method}, "tanh", keywords))
    one = cases.fit(0, 1, {"method": method}, "tanh", keywords)
    assert (together.res.nfev, together.res.status) == (3, one.res.status)
    assert np.abs(together.x - one.x).max() < 1e-12


def test_other_dtypes(two: Ranks) -> None:
    together = require_same(two.run(cases.fit, 2, limited("torch-lm", 5), "float32"))
    one = cases.fit(0, 1, limited("torch-lm", 5), "float32")
    assert np.abs(together.x - one.x).max() < 1e-4


@pytest.mark.filterwarnings("ignore:the closure gave a loss of nan")
@pytest.mark.parametrize("how", ["nan", "no residuals", "raised"])
@pytest.mark.parametrize("method", ["trf", "lm", "torch-lm", GAUSS_NEWTON])
def test_nan_in_one_process_means_step_back_in_all(two: Ranks, method: str, how: str) -> None:
    together = require_same(two.run(cases.stepping_back, 2, method, how))
    one = cases.stepping_back(0, 1, method, how)
    assert np.abs(together.x - one.x).max() < 1e-12
    for name in ("nfev", "nonfinite", "recovered"):
        assert together.res[name] == one.res[name]
    assert together.res.recovered == (how == "raised")


@pytest.mark.filterwarnings("ignore:the closure gave a loss of nan")
@pytest.mark.parametrize("method", ["trf", "torch-lm", GAUSS_NEWTON])
def test_no_residuals_at_the_start(two: Ranks, method: str) -> None:
    together = require_same(two.run(cases.stepping_back, 2, method, "no residuals", 1))
    one = cases.stepping_back(0, 1, method, "no residuals", 1)
    assert (together.res.nfev, together.res.status) == (one.res.nfev, one.res.status)
    assert together.res.message == one.res.message
    assert not together.res.success
    assert np.array_equal(together.x, one.x)


def test_an_evaluation_and_a_jacobian_in_bytes(two: Ranks) -> None:
    leaders, followers = answered(two.run(cases.counted, 2, limited("trf", 4)))
    seen, together = leaders
    n, m, jacobians = 13, cases.ROWS, together.res.njev
    evaluations = together.counts["closure"]
    assert evaluations == together.res.nfev == 4
    assert seen["reduce"].count(8 * m + 8 * 4) == evaluations
    assert seen["reduce"].count(8 * 4) == jacobians
    assert len(seen["reduce"]) == evaluations + jacobians
    # Of the end: where it is, the gradient, and what is told of it, in two parts.
    assert len(seen["broadcast"]) == evaluations + 2 * jacobians + 4
    assert len(seen["all_gather"]) == 2  # the start is the same, and how many rows each has
    share = cases.Rows(1, 2).inputs.shape[0]
    assert seen["recv"] == followers[0]["send"] == [8 * share * n] * jacobians
    assert set(seen) | set(followers[0]) == {"broadcast", "reduce", "all_gather", "send", "recv"}
    assert together.counts["bytes"] == sum(map(sum, seen.values()))


def test_callbacks_see_all_rows_and_end_the_run(two: Ranks) -> None:
    (seen, together), (others, follower) = answered(two.run(cases.called_back, 2))
    alone, _ = cases.called_back(0, 1)
    require_same([together, follower])
    assert others == []
    assert len(seen) == len(alone) == len(together.history) == 4
    for (cost, grad), (cost_alone, grad_alone) in zip(seen, alone, strict=True):
        assert cost == pytest.approx(cost_alone, rel=1e-12)
        assert np.abs(grad - grad_alone).max() < 1e-10


def test_a_checkpoint_is_gone_on_with(two: Ranks, tmp_path: pathlib.Path) -> None:
    path = str(tmp_path / "run.pt")
    first = require_same(two.run(cases.resumed, 2, path, False))
    both = require_same(two.run(cases.resumed, 2, path, True))
    alone = cases.resumed(0, 1, path, True)
    for second in (both, alone):
        assert second.loss < first.loss
        assert np.array_equal(second.history[: len(first.history)], first.history)


def test_what_is_asked_afterwards(two: Ranks) -> None:
    leaders, followers = answered(two.run(cases.asked_afterwards, 2))
    assert leaders[0] == "(5, 5)"
    assert followers[0].startswith("RuntimeError: covariance: no Jacobian of all rows is here.")
    for said in (leaders[1], followers[1]):
        assert said.startswith("ValueError: covariance: with distributed the closure has the rows")
    assert len(leaders[2]) + len(followers[2]) == cases.ROWS


def test_ddp_is_refused(two: Ranks) -> None:
    for answer in two.run(cases.through_ddp, 2):
        assert answer.kind == "ValueError"
        assert "a Jacobian, which cannot be taken through Distributed" in answer.message


def test_another_optimizer_in_one_process(two: Ranks) -> None:
    first, second = two.run(cases.of_another_kind, 2, within=WITHIN)
    assert (first.kind, second.kind) == (OTHER, "ValueError")
    assert "expected a LeastSquaresWrapper in every process" in first.message


@pytest.mark.parametrize(
    ("methods", "losses"),
    [((GAUSS_NEWTON,) * 2, ("huber", "linear")), ((GAUSS_NEWTON, "trf"), ("linear",) * 2)],
)
def test_another_loss_in_one_process(two: Ranks, methods: Any, losses: Any) -> None:
    """What each computes of its part would be of no one function."""
    for answer in two.run(cases.by_losses, 2, methods, losses, within=WITHIN):
        assert answer.kind == "ValueError"
        assert "another method or loss" in answer.message


@pytest.mark.parametrize("method", ["trf", "torch-lm", GAUSS_NEWTON])
def test_an_exception_that_may_be_at_the_first_evaluation(two: Ranks, method: str) -> None:
    ranks = two.run(cases.stepping_back, 2, method, "raised", 1, within=WITHIN)
    one, together = cases.stepping_back(0, 1, method, "raised", 1), require_same(ranks)
    for name in ("nonfinite", "recovered", "status"):
        assert together.res[name] == one.res[name], name
    assert together.res.recovered == 1


def require_all_left_alike(answers: list[Left]) -> None:
    """At the same evaluation, at the best point; and the next step gave the same."""
    first, *others = answered(answers)
    for other in others:
        assert len(other.points) == len(first.points)
        assert np.array_equal(other.x, first.x)
        assert other.after == first.after
        assert other.status == first.status == 108


@pytest.mark.parametrize("who", [0, 1])
@pytest.mark.parametrize(
    ("kind", "raised", "said"),
    [
        ("raised", "Fault", "raised Fault: of this rank\n"),
        ("interrupted", "KeyboardInterrupt", "raised KeyboardInterrupt\n"),
        ("raised in the Jacobian", "Fault", "raised Fault: of this rank\n"),
        ("other rows", "ValueError", "as many residuals each time"),
    ],
)
def test_what_a_rank_raises(two: Ranks, kind: str, raised: str, said: str, who: int) -> None:
    answers = two.run(cases.faulty, 2, who, kind, 3, limited("trf", 8), within=WITHIN)
    require_all_left_alike(answers)
    own, other = answers[who], answers[1 - who]
    assert (own.raised, other.raised) == (raised, OTHER)
    assert f"process {who} of 2 raised " in other.message
    assert said in other.message
    seen = own.points if kind.endswith("Jacobian") else own.points[:-1]
    assert np.array_equal(own.x, cases.lowest(seen))


@pytest.mark.parametrize("at", [1, 2])
def test_at_the_first_evaluation_and_after_it(two: Ranks, at: int) -> None:
    answers = two.run(cases.faulty, 2, 1, "raised", at, limited("torch-lm", 8), within=WITHIN)
    require_all_left_alike(answers)
    assert [answer.raised for answer in answers] == [OTHER, "Fault"]


def test_no_hang_in_random_faults(two: Ranks) -> None:
    draw, seen = random.Random(0), set()
    kinds = ("raised", "interrupted", "raised in the Jacobian", "interrupted in the Jacobian")
    for _ in range(12):
        kind, who = draw.choice([*kinds, "raised callback"]), draw.randrange(2)
        kwargs = limited(draw.choice(METHODS), 6)
        if draw.random() < 0.3:
            kwargs = {"tr_solver": "lsmr", "max_nfev": 3}
        who = 0 if kind == "raised callback" else who
        at = draw.randint(1, 2)
        answers = two.run(cases.faulty, 2, who, kind, at, kwargs, within=WITHIN)
        require_all_left_alike(answers)
        seen |= {answer.raised for answer in answers}
    assert seen == {"Fault", "KeyboardInterrupt", OTHER}


@pytest.mark.parametrize("kind", ["killed", "killed in the Jacobian"])
def test_a_killed_rank(kind: str) -> None:
    with Ranks(2, timeout=20.0) as ranks:
        left, killed = ranks.run(cases.faulty, 2, 1, kind, 4, limited("trf", 8), within=30.0)
    assert killed is None
    assert left.raised == OTHER
    assert left.message.startswith("a process of the group is gone")
    seen = left.points if kind.endswith("Jacobian") else left.points[:-1]
    assert np.array_equal(left.x, cases.lowest(seen))
