"""Random draws that repeat bit for bit; optimizers that are saved, copied and printed."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import torch
from instance import Instance
from landscapes import RASTRIGIN
from searches import MAKE, QUICK
from torch import Tensor

from pytorch_minimize.scipy_global.algorithms import ALGORITHMS

ALL = list(ALGORITHMS)
RANDOM = [name for name, row in ALGORITHMS.items() if "rng" in row.keywords]
BOUNDS = RASTRIGIN.bounds(2)
KEYWORDS: dict[str, dict[str, Any]] = {
    "basinhopping": {"niter": 3, "stepsize": 1.0},
    "differential_evolution": {"popsize": 5, "maxiter": 5, "bounds": BOUNDS},
    "dual_annealing": {"maxiter": 10, "bounds": BOUNDS},
}


def points(algorithm: str, **more: Any) -> list[bytes]:
    """Every point at which the closure is run."""
    instance = RASTRIGIN.instance(2)
    evaluate = instance.closure(2)
    seen: list[bytes] = []

    def closure() -> Tensor:
        seen.append(instance.x.tobytes())
        return evaluate()

    MAKE[algorithm](instance.params, {}, KEYWORDS[algorithm] | more).step(closure)
    return seen


@pytest.mark.parametrize("algorithm", RANDOM)
def test_a_seed_repeats_a_run_bit_for_bit(algorithm: str) -> None:
    first = points(algorithm, rng=5)
    assert points(algorithm, rng=5) == first
    assert points(algorithm, rng=np.random.default_rng(5)) == first
    assert points(algorithm, rng=6) != first
    assert points(algorithm, seed=5) == points(algorithm, seed=5)
    assert points(algorithm, seed=np.random.default_rng(5)) == first


@pytest.mark.parametrize("algorithm", RANDOM)
def test_a_generator_goes_on_from_step_to_step(algorithm: str) -> None:
    instance = RASTRIGIN.instance(2)
    rng = np.random.default_rng(3)
    before = rng.bit_generator.state
    optimizer = MAKE[algorithm](instance.params, {}, KEYWORDS[algorithm] | {"rng": rng})
    assert rng.bit_generator.state == before
    optimizer.step(instance.closure(2))
    assert rng.bit_generator.state != before


@pytest.mark.parametrize("algorithm", [name for name in ALL if ALGORITHMS[name].takes_x0])
def test_a_run_starts_from_the_model(algorithm: str) -> None:
    start = RASTRIGIN.instance(2).x
    assert np.frombuffer(points(algorithm, rng=0)[0]) == pytest.approx(start, abs=1e-12)


@pytest.mark.parametrize("algorithm", ALL)
def test_it_pickles_and_copies_with_its_configuration(algorithm: str) -> None:
    instance = QUICK[algorithm].instance()
    optimizer = QUICK[algorithm].optimizer(instance)
    optimizer.step(instance.closure(2))
    for twin in (pickle.loads(pickle.dumps(optimizer)), copy.deepcopy(optimizer)):
        assert repr(twin) == repr(optimizer)
        assert twin.res.fun == optimizer.res.fun
        params = twin.param_groups[0]["params"]
        assert not any(a is b for a, b in zip(params, instance.params, strict=True))
        other = Instance(params, instance.loss)
        with torch.no_grad():
            for tensor, start in zip(other.params, RASTRIGIN.instance(2).params, strict=True):
                tensor.copy_(start)
        loss = type(optimizer).step(twin, other.closure(2))
        assert loss.item() == pytest.approx(optimizer.res.fun, abs=1e-3)
        assert np.array_equal(other.x, twin.res.x)


@pytest.mark.parametrize("algorithm", ALL)
def test_the_state_is_saved_and_restored(algorithm: str, tmp_path: Path) -> None:
    """What the run came to, that is; keywords and the local minimiser are the optimizer's own."""
    search = QUICK[algorithm]
    instance, target = search.instance(), search.instance()
    optimizer = search.optimizer(instance)
    optimizer.step(instance.closure(2))
    torch.save(optimizer.state_dict(), tmp_path / "run.pt")
    bounds = {} if algorithm == "basinhopping" else {"bounds": [(-1.0, 1.0)] * 2}
    other = MAKE[algorithm](target.params, search.local, bounds)
    before = repr(other)
    other.load_state_dict(torch.load(tmp_path / "run.pt", weights_only=True))
    assert repr(other) == before
    assert np.array_equal(target.x, target.x0)
    assert other.history.loss.tolist() == optimizer.history.loss.tolist()
    other.load_best()
    assert other.state_dict()["run"]["loss"] == target.closure(2)().item()
    if search.landscape.bounds(2)[0][0] < -1.0:
        assert target.closure(2)().item() <= optimizer.res.fun


@pytest.mark.parametrize("algorithm", ["basinhopping", "differential_evolution", "direct"])
def test_a_checkpoint_is_of_the_best_point_so_far(algorithm: str, tmp_path: Path) -> None:
    file = tmp_path / "run.pt"
    instance = QUICK[algorithm].instance()
    search = QUICK[algorithm]
    cls = type(search.optimizer(instance))
    local = (search.local,) if ALGORITHMS[algorithm].local is not None else ()
    optimizer = cls(
        instance.params, *local, search.all_keywords, checkpoint=(file, 0), max_evaluations=40
    )
    losses: list[float] = []

    def closure() -> Tensor:
        if losses:
            assert torch.load(file)["run"]["loss"] == min(losses)
        loss = instance.closure(2)()
        losses.append(loss.item())
        return loss

    optimizer.step(closure)
    assert len(losses) == 40


@pytest.mark.parametrize("algorithm", ALL)
def test_progress_is_shown_and_changes_nothing(
    algorithm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    search = QUICK[algorithm]
    instance, twin = search.instance(), search.instance()
    local = (search.local,) if ALGORITHMS[algorithm].local is not None else ()
    quiet = search.optimizer(twin)
    loud = type(quiet)(instance.params, *local, search.all_keywords, progress=True)
    loud.step(instance.closure(2))
    out, err = capsys.readouterr()
    assert out == ""
    assert (" evaluations/s" if algorithm == "brute" else "it/s") in err
    assert "loss" in err
    quiet.step(twin.closure(2))
    assert np.array_equal(instance.x, twin.x)
    assert loud.profile.counts == quiet.profile.counts


def test_the_representation_names_what_was_given() -> None:
    instance = RASTRIGIN.instance(2)
    optimizer = MAKE["basinhopping"](instance.params, {"method": "CG"}, {"niter": 7})
    assert repr(optimizer).startswith("BasinHoppingWrapper(method=CG, niter=7)\n")


@pytest.mark.parametrize("algorithm", ALL)
def test_the_callers_dicts_are_left_alone(algorithm: str) -> None:
    """shgo would empty its options, and fill the local minimiser's."""
    search = QUICK[algorithm]
    instance = search.instance()
    keywords = search.all_keywords
    local: dict[str, Any] = dict(search.local)
    if algorithm == "shgo":
        keywords["options"] = {"f_tol": 1e-6, "minimize_every_iter": True}
        local = {"method": "L-BFGS-B", "options": {"maxiter": 50}, "tol": 1e-8}
    before = copy.deepcopy((local, keywords))
    MAKE[algorithm](instance.params, local, keywords).step(instance.closure(2))
    assert (local, keywords) == before


@pytest.mark.parametrize("algorithm", ALL)
def test_storages_stay(algorithm: str) -> None:
    instance = QUICK[algorithm].instance()
    where = [p.data_ptr() for p in instance.params]
    alias = instance.params[1].data
    optimizer = QUICK[algorithm].optimizer(instance)
    optimizer.step(instance.closure(1))
    assert [p.data_ptr() for p in instance.params] == where
    assert np.array_equal(alias.numpy(), optimizer.res.x[1:])
    assert isinstance(optimizer.res, scipy.optimize.OptimizeResult)
    profile = optimizer.profile
    parts = profile.closure + profile.bridge + profile.curvature + profile.solver
    assert profile.total == pytest.approx(parts)


@pytest.mark.parametrize("algorithm", ALL)
def test_params_frozen_in_part(algorithm: str) -> None:
    """What does not require grad is no variable; if nothing does, samplers move everything."""
    instance = QUICK[algorithm].instance()
    instance.params[0].requires_grad_(False)
    fixed = instance.params[0].item()
    search = QUICK[algorithm]
    bounds = search.landscape.bounds(1)
    if algorithm == "basinhopping":
        local, keywords = {"method": "L-BFGS-B", "bounds": bounds}, dict(search.keywords)
    else:
        local, keywords = {}, search.all_keywords | {"bounds": bounds}
    optimizer = MAKE[algorithm](instance.params, local, keywords)
    optimizer.step(instance.closure(2))
    assert instance.params[0].item() == fixed
    assert optimizer.res.x.shape == (1,)
    assert instance.params[1].item() == pytest.approx(-2.9035, abs=0.05)


def test_samplers_move_everything_if_nothing_requires_grad() -> None:
    instance = QUICK["direct"].instance()
    for p in instance.params:
        p.requires_grad_(False)
    optimizer = QUICK["direct"].optimizer(instance)
    optimizer.step(instance.closure(2))
    np.testing.assert_allclose(instance.x, [-2.9035, -2.9035], atol=0.05)
