"""What a step of many runs leaves: results, model, history, callbacks, states."""

from __future__ import annotations

import copy
import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from many import STARTS, Many, rosenbrock
from plain import VERSION
from scipy.optimize import NonlinearConstraint, OptimizeResult

import pytorch_minimize
from pytorch_minimize.optim import (
    ClosureConstraint,
    MinimizeWrapper,
    MultiStartWrapper,
    vectorize,
)

WAYS = pytest.mark.parametrize("together", [False, True])


def step(optimizer: MultiStartWrapper, many: Many, together: bool) -> torch.Tensor:
    return optimizer.step(many.closure, vectorized=many.losses if together else None)


def test_the_name_is_public() -> None:
    assert pytorch_minimize.MultiStartWrapper is MultiStartWrapper


@WAYS
def test_the_model_ends_at_the_best(together: bool) -> None:
    many = Many()
    optimizer = many.optimizer("BFGS", arguments={"options": {"maxiter": 30}})
    loss = step(optimizer, many, together)
    losses = [res.fun for res in optimizer.results]
    assert losses == sorted(losses)
    assert len(set(losses)) > 1
    assert float(loss) == optimizer.res.fun == losses[0]
    best = optimizer.results[0]
    assert np.array_equal(many.x, best.x)
    assert np.array_equal(optimizer.res.x, best.x)
    gradient = torch.cat([p.grad for p in many.params]).numpy()  # type: ignore[misc]
    np.testing.assert_array_equal(gradient, best.jac)
    for name in ("nit", "nfev", "status", "success", "run"):
        assert optimizer.res[name] == best[name]
    assert optimizer.res.runs == len(STARTS)
    assert optimizer.res.evaluations == sum(res.nfev for res in optimizer.results)
    assert optimizer.res.x is not best.x


BALL = NonlinearConstraint(lambda x: x @ x, -np.inf, 1.0)


@pytest.mark.parametrize("kind", ["scipy's", "dict", "model's"])
@pytest.mark.parametrize("maxiter", [8, 12, 30])
@WAYS
def test_runs_that_are_feasible_come_first(together: bool, maxiter: int, kind: str) -> None:
    """COBYLA ends at a point that is neither its last nor, at each of its limits, the best."""
    many = Many(lambda x: (x - 2.0).square().sum(), n=2)
    constraint: Any = {
        "scipy's": BALL,
        "dict": {"type": "ineq", "fun": lambda x, most: most - x @ x, "args": (1.0,)},
        "model's": ClosureConstraint(lambda: sum(p.square().sum() for p in many.params), ub=1.0),
    }[kind]
    if together and (kind == "model's" or VERSION < (1, 16)):
        pytest.skip("refused together, as another test shows")
    more = {"constraints": constraint, "options": {"maxiter": maxiter}}
    starts = np.vstack([[[3.0, 3.0], [0.1, 0.2]], np.random.default_rng(0).normal(size=(3, 2)) * 3])
    optimizer = many.optimizer("COBYLA", arguments=more, starts=starts)
    step(optimizer, many, together)
    order = [(excess, res.fun) for res in optimizer.results for excess in [outside(res.x)]]
    assert order == sorted(order)
    assert np.array_equal(many.x, optimizer.results[0].x)


def outside(x: Any) -> float:
    """How far x is outside the ball of radius 1, as far as that counts."""
    excess = float(x @ x) - 1.0
    return excess if excess > 1e-6 else 0.0


@WAYS
def test_history_is_that_of_all_runs(together: bool) -> None:
    many = Many()
    optimizer = many.optimizer("torch-BFGS")
    step(optimizer, many, together)
    history = optimizer.history
    assert len(history.segments) == len(STARTS)
    assert len(history) == sum(res.nit for res in optimizer.results)
    ends = [*history.segments[1:], len(history)]
    for res in optimizer.results:
        rows = slice(history.segments[res.run], ends[res.run])
        assert np.array_equal(history.loss[rows], res.history.loss)
        assert len(res.history) == res.nit
        assert res.history.loss[-1] == res.fun
        assert res.history.evaluations[-1] <= res.nfev
        assert history.endings[res.run] == f"torch-BFGS: run {res.run}: {res.message}"
        assert res.history.endings == [history.endings[res.run]]


@WAYS
def test_history_counts_what_all_runs_took(together: bool) -> None:
    many = Many()
    optimizer = many.optimizer("BFGS")
    of_runs: list[int] = []
    before = 0.0, 0.0
    for _ in range(2):
        step(optimizer, many, together)
        history, length = optimizer.history, len(optimizer.history.segments)
        ends = [*history.segments[1:], len(history)]
        for run in range(length - len(STARTS), length):
            rows = slice(history.segments[run], ends[run])
            for column, at_least in zip(
                (history.evaluations, history.seconds), before, strict=True
            ):
                assert (np.diff(column[rows]) >= 0).all()
                assert column[rows][0] >= at_least
        before = history.evaluations.max(), history.seconds.max()
        of_runs.append(optimizer.res.evaluations)
        assert sum(of_runs[:-1]) < before[0] <= sum(of_runs)
        if not together:
            assert (np.diff(history.evaluations) > 0).all()
            assert (np.diff(history.seconds) >= 0).all()


@WAYS
@pytest.mark.parametrize("method", ["BFGS", "torch-BFGS"])
def test_history_says_what_ended_runs_that_were_cut_short(method: str, together: bool) -> None:
    def callback(intermediate_result: OptimizeResult) -> None:
        if intermediate_result.run == 2:
            raise KeyboardInterrupt

    many = Many()
    optimizer = many.optimizer(method, arguments={"callback": callback})
    with pytest.raises(KeyboardInterrupt):
        step(optimizer, many, together)
    endings, by_run = optimizer.history.endings, {res.run: res for res in optimizer.results}
    assert len(endings) == (len(STARTS) if together else 3)
    assert 2 not in by_run
    for run, ending in enumerate(endings):
        own = f"run {run}: {by_run[run].message}" if run in by_run else "ended by KeyboardInterrupt"
        assert ending == f"{method}: {own}"


@WAYS
@pytest.mark.parametrize("method", ["L-BFGS-B", "torch-BFGS"])
def test_callbacks_are_told_the_run(method: str, together: bool) -> None:
    many = Many()
    main, seen = threading.get_ident(), []

    def callback(intermediate_result: OptimizeResult) -> None:
        assert threading.get_ident() == main
        assert np.array_equal(many.x, intermediate_result.x)  # the model holds the iterate
        assert optimizer.current_run == intermediate_result.run
        seen.append((intermediate_result.run, intermediate_result.fun))
        if intermediate_result.run == 2:
            raise StopIteration

    optimizer = many.optimizer(method, arguments={"callback": callback})
    step(optimizer, many, together)
    assert optimizer.current_run is None
    for res in optimizer.results:
        mine = [fun for run, fun in seen if run == res.run]
        assert mine == res.history.loss.tolist()
        assert res.nit == len(mine)
        assert (res.status == 99) == (res.run == 2)
    assert not together or [run for run, _ in seen] != sorted(run for run, _ in seen)


def test_a_callback_of_the_older_form_asks_the_optimizer() -> None:
    many, seen = Many(), set()
    optimizer = many.optimizer(
        "BFGS", arguments={"callback": lambda xk: seen.add(optimizer.current_run)}
    )
    step(optimizer, many, True)
    assert seen == set(range(len(STARTS)))


@pytest.mark.parametrize("method", ["L-BFGS-B", "trust-ncg", "torch-trust-ncg"])
def test_a_callback_costs_no_evaluation(method: str) -> None:
    """Curvature at the iterate comes of the graph that its gradient left."""
    silent, asked = Many(n=2), Many(n=2)
    silent.optimizer(method, starts=STARTS[:2, :2]).step(silent.closure)
    optimizer = asked.optimizer(
        method, arguments={"callback": lambda xk: None}, starts=STARTS[:2, :2]
    )
    optimizer.step(asked.closure)
    assert asked.closures == silent.closures
    assert np.array_equal(asked.x, silent.x)


def test_vectorize_of_a_module() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(1, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1)
    ).double()
    inputs = torch.linspace(-1, 1, 20, dtype=torch.float64)[:, None]

    def loss(model: torch.nn.Module) -> torch.Tensor:
        return (model(inputs) - inputs**2).square().mean()

    optimizer = MultiStartWrapper(
        model.parameters(),
        {"method": "SSBroyden", "options": {"maxiter": 60}},
        lambda rng: rng.normal(size=(5, 13)),
        rng=0,
    )
    found = optimizer.step(lambda: loss(model), vectorized=vectorize(model, loss))
    assert float(loss(model).detach()) == pytest.approx(float(found))
    assert float(found) < 1e-5


def test_a_second_step_goes_on_from_the_first() -> None:
    many = Many()
    groups = [{"params": many.params, "bounds": (-2.0, 2.0)}]
    optimizer = MultiStartWrapper(groups, starts=4, rng=0)
    first = float(step(optimizer, many, True))
    second = float(step(optimizer, many, False))
    assert second <= first
    assert len(optimizer.history.segments) == 8
    assert optimizer.results[0].run == 0 or second < first


def test_a_state_and_a_checkpoint_resume_from_the_best_point(tmp_path: Path) -> None:
    file = tmp_path / "run.pt"
    many = Many()
    groups = [{"params": many.params, "bounds": (-2.0, 2.0)}]
    optimizer = MultiStartWrapper(groups, starts=4, rng=0, checkpoint=(file, 0.0))
    step(optimizer, many, True)
    other = Many()
    resumed = MultiStartWrapper([{"params": other.params, "bounds": (-2.0, 2.0)}], starts=4, rng=0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    resumed.load_best()
    assert float(rosenbrock(torch.from_numpy(other.x))) <= optimizer.res.fun
    assert len(resumed.history) == len(optimizer.history)
    assert float(step(resumed, other, True)) <= optimizer.res.fun
    assert np.array_equal(resumed.starts[0], optimizer.res.x)  # type: ignore[index]


def test_a_checkpoint_during_the_run_holds_the_best_of_all_runs(tmp_path: Path) -> None:
    file, best = tmp_path / "run.pt", []

    class Looking(Many):
        def losses(self, stacks: list[torch.Tensor]) -> torch.Tensor:
            if file.exists():
                best.append(torch.load(file, weights_only=True)["run"]["loss"])
            return super().losses(stacks)

    many = Looking()
    step(many.optimizer("BFGS", checkpoint=(file, 0.0)), many, True)
    assert len(best) > 3
    assert best == sorted(best, reverse=True)
    assert best[-1] < best[0]


def test_copies_and_pickles() -> None:
    many = Many()
    optimizer = many.optimizer("torch-BFGS")
    step(optimizer, many, True)
    for twin in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        assert [res.fun for res in twin.results] == [res.fun for res in optimizer.results]
        assert np.array_equal(twin.starts, optimizer.starts)
    assert "method=torch-BFGS" in repr(optimizer)


def test_progress_counts_runs(capsys: pytest.CaptureFixture[str]) -> None:
    many = Many()
    step(many.optimizer("torch-BFGS", progress=True), many, True)
    shown = capsys.readouterr().err
    assert "7/7" in shown
    assert "loss" in shown


def test_the_profile_adds_up() -> None:
    for together in (False, True):
        many = Many()
        optimizer = many.optimizer("L-BFGS-B")
        step(optimizer, many, together)
        profile = optimizer.profile
        assert profile.closure > 0.0
        assert profile.solver > 0.0
        parts = (profile.closure, profile.bridge, profile.curvature, profile.solver)
        assert sum(parts) == pytest.approx(profile.total)
        assert profile.counts["closure"] == many.closures


def test_one_run_ends_where_minimize_wrapper_does() -> None:
    many, alone = Many(), Many()
    optimizer = many.optimizer("BFGS", starts=1)
    step(optimizer, many, True)
    single = MinimizeWrapper(alone.params, {"method": "BFGS"})
    single.step(alone.closure)
    assert np.array_equal(many.x, alone.x)
    named: dict[str, Any] = {name: optimizer.res[name] for name in ("nit", "nfev", "fun")}
    assert named == {name: single.res[name] for name in named}
