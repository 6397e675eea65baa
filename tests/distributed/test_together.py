"""Two processes make one fit: the same in both, the same again, and as one process makes it."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pytest
import together_cases as cases
from ranks import Ranks, answered
from together_cases import require_same

# Five methods of scipy's and three of ours are to be among them.
METHODS = (
    *("L-BFGS-B", "BFGS", "CG", "SLSQP", "Nelder-Mead", "trust-ncg", "trust-exact"),
    *("torch-BFGS", "SSBFGS", "SSBroyden"),
)
CONVEX = ("L-BFGS-B", "BFGS", "CG", "Newton-CG", "SSBroyden")


def arguments(method: str, iterations: int) -> dict[str, Any]:
    return {"method": method, "options": {"maxiter": iterations}}


def test_after_ten_iterations_the_fit_is_that_of_one_process(two: Ranks) -> None:
    given = [(arguments(method, 10), "tanh") for method in METHODS]
    first, second = (two.run(cases.fits, 2, given) for _ in range(2))
    alone = cases.fits(0, 1, given)
    for number, method in enumerate(METHODS):
        together = require_same([rank[number] for rank in first])
        again = require_same([rank[number] for rank in second])
        assert np.array_equal(together.x, again.x), method
        one = alone[number]
        assert np.abs(together.x - one.x).max() < 1e-12, method
        assert np.abs(together.grad - one.grad).max() < 1e-11, method
        assert abs(together.loss - one.loss) < 1e-12
        assert (together.res.nit, together.res.nfev) == (one.res.nit, one.res.nfev), method


def test_on_a_convex_problem_the_counts_are_those_of_one_process(two: Ranks) -> None:
    given = [(arguments(method, 1000), "convex") for method in CONVEX]
    alone = cases.fits(0, 1, given)
    ranks = two.run(cases.fits, 2, given)
    for number, (args, _) in enumerate(given):
        together, one = require_same([rank[number] for rank in ranks]), alone[number]
        for name in ("nit", "nfev", "njev", "status"):
            assert together.res.get(name) == one.res.get(name), args
        assert together.res.success
        assert np.abs(together.x - one.x).max() < 1e-7


@pytest.mark.parametrize("kind", ["complex", "float32"])
def test_other_dtypes(two: Ranks, kind: str) -> None:
    together = require_same(two.run(cases.fit, 2, arguments("BFGS", 5), kind))
    one = cases.fit(0, 1, arguments("BFGS", 5), kind)
    assert np.abs(together.x - one.x).max() < (1e-12 if kind == "complex" else 1e-4)


def test_the_sum_is_of_the_weighted_losses(two: Ranks) -> None:
    keywords = {"reduction": "sum", "weight": 3.0}
    answers = two.run(cases.fit, 2, arguments("BFGS", 0), "tanh", keywords)
    together = require_same(answers)
    shares = [cases.Shared(rank, 2) for rank in range(2)]
    assert together.loss == pytest.approx(3.0 * sum(s.loss().item() for s in shares), rel=1e-14)


@pytest.mark.parametrize(
    ("name", "vectorized"),
    [
        ("BasinHoppingWrapper", False),
        ("DifferentialEvolutionWrapper", False),
        ("DifferentialEvolutionWrapper", True),
    ],
)
def test_global_optimisers(two: Ranks, name: str, vectorized: bool) -> None:
    together = require_same(two.run(cases.searched, 2, name, vectorized))
    one = cases.searched(0, 1, name, vectorized)
    assert together.res.nfev == one.res.nfev
    assert np.abs(together.x - one.x).max() < 1e-8


@pytest.mark.parametrize("method", ["SLSQP", "trust-constr", "COBYLA"])
def test_bounds_and_constraints(two: Ranks, method: str) -> None:
    together = require_same(two.run(cases.constrained, 2, method))
    one = cases.constrained(0, 1, method)
    assert together.res.nfev == one.res.nfev
    assert np.abs(together.x - one.x).max() < 1e-9


@pytest.mark.parametrize("layers", [1, 6])
@pytest.mark.parametrize("method", ["L-BFGS-B", "SSBroyden"])
def test_two_collectives_an_evaluation_of_8_n_bytes(two: Ranks, layers: int, method: str) -> None:
    seen, together = two.run(cases.counted, 2, layers, method)[0]
    n, evaluations = 6 * layers, together.counts["closure"]
    assert set(seen) == {"broadcast", "reduce", "all_gather"}
    assert seen["reduce"] == [8 * n + 8 * 4] * evaluations
    vectors = [size for size in seen["broadcast"] if size == 8 * n + 8 * 3]
    # Besides: where the run ended, the gradient there, and what is told of it, in two parts.
    assert len(vectors) == evaluations + 2
    assert len(seen["broadcast"]) == evaluations + 4
    assert seen["all_gather"] == [8 * 8]
    counts = {"broadcast": "broadcast", "reduce": "reduce", "gather": "all_gather"}
    assert {name: together.counts[name] for name in counts} == {
        name: len(seen[torchs]) for name, torchs in counts.items()
    }
    assert together.counts["bytes"] == sum(map(sum, seen.values()))


def test_a_product_is_one_broadcast_and_one_sum(two: Ranks) -> None:
    counts = require_same(two.run(cases.fit, 2, arguments("trust-ncg", 5))).counts
    assert counts["hessp"] > counts["closure"]
    # Runs of the closure: an evaluation each.
    assert counts["reduce"] == counts["closure"] + counts["hessp"]


def test_closures_with_other_numbers_of_micro_batches(two: Ranks) -> None:
    together = require_same(two.run(cases.micro_batches, 2))
    one = cases.fit(0, 1, arguments("trust-ncg", 5))
    assert np.abs(together.x - one.x).max() < 1e-12


def test_callbacks_see_the_gradient_of_all(two: Ranks) -> None:
    (seen, _), (others, _) = answered(two.run(cases.called_back, 2))
    alone, _ = cases.called_back(0, 1)
    assert others == []
    assert len(seen) == len(alone) > 0
    for (loss, grad), (loss_alone, grad_alone) in zip(seen, alone, strict=True):
        assert loss == pytest.approx(loss_alone, rel=1e-5)
        assert np.abs(grad - grad_alone).max() < 1e-5


def test_exceptions_that_stand_for_nan(two: Ranks) -> None:
    together, one = require_same(two.run(cases.recovering, 2)), cases.recovering(0, 1)
    assert (together.res.recovered, together.res.nonfinite) == (2, 0)
    assert together.res.nfev == one.res.nfev
    assert np.abs(together.x - one.x).max() < 1e-12


def test_the_profile_adds_up(two: Ranks) -> None:
    answers = two.run(cases.profiled, 2)
    for parts, total in answers:
        assert sum(parts.values()) == pytest.approx(total, rel=1e-6)
        assert 0.0 < parts["communication"] < total
        assert parts["closure"] > 0.0


def test_parameters_that_differ_are_refused_by_name(two: Ranks) -> None:
    for answer in two.run(cases.started, 2, "same"):
        assert answer.kind == "ValueError"
        assert "parameter 2 (2.weight) is another in process 1 than in process 0" in answer.message
    together = require_same(two.run(cases.started, 2, "leader"))
    assert together.res.nit == 5


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("numbers", "process 1 has another number of variables than process 0: 7, not 19"),
        ("shapes", "process 1 has parameters of other shapes"),
        ("reductions", "process 1 has another reduction or distributed_start"),
        ("bounds", "process 1 has another number of variables"),
    ],
)
def test_what_is_no_single_run_is_refused_in_all(two: Ranks, what: str, message: str) -> None:
    for answer in two.run(cases.of_other_kinds, 2, what):
        assert answer.kind == "ValueError"
        assert message in answer.message


@pytest.mark.parametrize("processes", [1, 2])
def test_a_checkpoint_is_gone_on_with_by_any_number(
    two: Ranks, processes: int, tmp_path: pathlib.Path
) -> None:
    path = str(tmp_path / "run.pt")
    first = require_same(two.run(cases.resumed, 2, path, 5, False))
    if processes == 2:
        second = require_same(two.run(cases.resumed, 2, path, 5, True))
    else:
        second = cases.resumed(0, 1, path, 5, True)
    assert second.loss < first.loss
    assert np.array_equal(second.history[:5], first.history)


def test_a_state_loads_in_any_rank(two: Ranks) -> None:
    states = two.run(cases.saved, 2)
    first, second = (dict(state["run"], history=None) for state in states)
    assert first == second
    for own, others in zip(*(state["state"].values() for state in states), strict=True):
        assert np.array_equal(own["best"], others["best"])
