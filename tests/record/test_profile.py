"""Where the time of a run went: parts, counts, and the ranges in torch.profiler's traces."""

from __future__ import annotations

import pickle
import time
from collections import Counter
from typing import Any

import pytest
import torch
from profiled import profiler
from scipy.optimize import OptimizeResult
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, record_function

from pytorch_minimize.extension import native
from pytorch_minimize.optim import ClosureConstraint, DualAnnealingWrapper, MinimizeWrapper
from pytorch_minimize.record import clock as clock_module
from pytorch_minimize.record.clock import PythonClock
from pytorch_minimize.record.profile import PARTS, RANGES, Profile

CLOCK_STEP = 1.0


class Clock:
    """Moves on by one second whenever it is looked at, and when told to."""

    now = 0.0

    def __call__(self) -> float:
        self.now += CLOCK_STEP
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(clock_module, "native", None)
    monkeypatch.setattr(clock_module, "perf_counter", made)
    return made


@pytest.fixture
def open_ranges(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Those of the profile that have not been closed."""
    found: list[object] = []

    class Noted(record_function):
        def __enter__(self) -> Any:
            found.append(self)
            return super().__enter__()

        def __exit__(self, *error: Any) -> None:
            found.remove(self)
            super().__exit__(*error)

    monkeypatch.setattr(clock_module, "record_function", Noted)
    return found


def bowl(centre: float = 0.3) -> tuple[nn.Parameter, Any]:
    x = nn.Parameter(torch.tensor([1.5, -1.0], dtype=torch.float64))

    def closure() -> Tensor:
        return (x - centre).square().sum() + (x**4).sum()

    return x, closure


def traced(optimizer: Any, closure: Any) -> Counter[str]:
    """How often each range was shown in a trace of one step."""
    with profiler([ProfilerActivity.CPU]) as trace:
        optimizer.step(closure)
    return Counter({event.key: event.count for event in trace.key_averages()})


def test_a_stretch_goes_to_the_part_that_began_it(clock: Clock) -> None:
    profile = Profile()
    profile.start()
    for part, seconds in (("bridge", 1.0), ("closure", 4.0), ("bridge", 2.0), ("solver", 8.0)):
        profile.begin(part)
        clock.now += seconds
    profile.stop()
    assert (profile.closure, profile.bridge, profile.solver) == (5.0, 5.0, 10.0)
    assert profile.curvature == 0.0
    assert profile.total == 20.0


def test_time_before_the_start_and_after_the_stop_belongs_to_no_part(clock: Clock) -> None:
    profile = Profile()
    clock.now += 100.0
    profile.start()
    profile.stop()
    clock.now += 100.0
    assert profile.total == CLOCK_STEP


def test_table_and_dict_hold_the_same(clock: Clock) -> None:
    profile = Profile()
    profile.start()
    profile.begin("closure")
    clock.now += 2.0
    profile.count("fun", 3)
    profile.stop()
    head, *rows, counts = str(profile).splitlines()
    assert head.split() == ["part", "seconds", "share"]
    shown = {name: (float(seconds), share) for name, seconds, share in map(str.split, rows)}
    assert list(shown) == [*PARTS, "total"]
    assert shown["closure"] == (3.0, "75.0%")
    assert shown["total"] == (4.0, "100.0%")
    assert counts == "counts: fun 3"
    record = profile.as_dict()
    assert record["counts"] == {"fun": 3}
    assert {name: record[name] for name in shown} == {k: v for k, (v, _) in shown.items()}


# One look at the clock more or less per evaluation would go unseen in a test that takes time.
@pytest.mark.parametrize("method", ["L-BFGS-B", "BFGS", "CG", "TNC", "SLSQP"])
def test_an_evaluation_is_six_looks_at_the_clock(method: str, clock: Clock) -> None:
    x, closure = bowl()
    optimizer = MinimizeWrapper([x], {"method": method})
    optimizer.step(closure)
    counts, nit = optimizer.profile.counts, optimizer.res.nit
    # fun: in, and out; the closure: in, out; jac and the callback: in, out; the start and the end.
    requests = counts["fun"] + counts["jac"] + counts["closure"] + nit + 1
    assert clock.now <= 2 * requests + 2


@pytest.mark.parametrize("method", ["L-BFGS-B", "Nelder-Mead", "trust-exact", "trust-ncg"])
def test_parts_are_those_of_the_code_that_ran(method: str) -> None:
    """The closure sleeps; nothing else may be charged with it, and it with nothing else."""
    x, evaluate = bowl()
    asleep = []

    def closure() -> Tensor:
        start = time.perf_counter()
        time.sleep(2e-3)
        asleep.append(time.perf_counter() - start)
        return evaluate()

    optimizer = MinimizeWrapper([x], {"method": method, "options": {"maxiter": 5}})
    start = time.perf_counter()
    optimizer.step(closure)
    elapsed = time.perf_counter() - start
    profile = optimizer.profile
    assert sum(asleep) <= profile.closure
    assert sum(getattr(profile, part) for part in PARTS) == pytest.approx(profile.total, rel=1e-2)
    assert profile.total <= elapsed
    assert (profile.curvature > 0) == method.startswith("trust")


def test_time_in_the_solver_is_the_solvers(clock: Clock) -> None:
    """Whatever was asked of the objective last."""
    x, closure = bowl()

    def slow(fun: Any, x0: Any, args: Any = (), jac: Any = None, hess: Any = None, **_: Any) -> Any:
        for request in (fun, jac):
            request(x0)
            clock.now += 20.0
        return OptimizeResult(x=x0, fun=fun(x0), jac=jac(x0), success=True, status=0)

    optimizer = MinimizeWrapper([x], {"method": slow})
    optimizer.step(closure)
    assert optimizer.profile.solver >= 40.0
    assert sum(getattr(optimizer.profile, part) for part in PARTS) < 40.0 + 20.0


def test_ranges_of_a_gradient_method() -> None:
    x, closure = bowl()
    optimizer = MinimizeWrapper([x], {"method": "BFGS"})
    shown = traced(optimizer, closure)
    res = optimizer.res
    # Before and after the closure, in jac, and in the callback of each iteration.
    assert shown[RANGES["bridge"]] == 2 * res.nfev + res.njev + res.nit
    assert shown[RANGES["solver"]] > res.nfev
    assert shown[RANGES["curvature"]] == 0


@pytest.mark.parametrize("strategy", ["graph", "replay"])
def test_ranges_of_a_curvature_method(strategy: str) -> None:
    x, closure = bowl()
    optimizer = MinimizeWrapper([x], {"method": "trust-ncg"}, curvature=strategy)
    shown = traced(optimizer, closure)
    assert shown[RANGES["curvature"]] >= optimizer.profile.counts["hessp"] > 0


def test_ranges_close_before_those_of_the_closure() -> None:
    """backward() inside a range of the user's: the curvature range is in it, and ends in it."""
    x, evaluate = bowl()

    def closure() -> Tensor:
        with record_function("mine"):
            loss = evaluate()
            loss.backward()
            return loss

    optimizer = MinimizeWrapper([x], {"method": "trust-ncg"}, curvature="replay")
    with profiler([ProfilerActivity.CPU]) as trace:
        optimizer.step(closure)
    ranges = [e for e in trace.events() if e.name == "mine" or e.name in RANGES.values()]
    spans = [(e.time_range.start, e.time_range.end, e.name) for e in ranges]
    inside = 0
    for start, end, name in spans:
        for other_start, other_end, other in spans:
            overlap = min(end, other_end) - max(start, other_start)
            nested = (start >= other_start and end <= other_end) or (
                other_start >= start and other_end <= end
            )
            assert overlap <= 0 or nested, (name, other)
            inside += name == RANGES["curvature"] and other == "mine" and overlap > 0
    assert inside == optimizer.profile.counts["hessp"]


def test_ranges_of_constraints_and_global_searches() -> None:
    x, closure = bowl()
    constrained = MinimizeWrapper(
        [x], {"method": "SLSQP", "constraints": [ClosureConstraint(lambda: x.sum(), 0.0, 0.0)]}
    )
    assert traced(constrained, closure)[RANGES["bridge"]] > 0
    annealed = DualAnnealingWrapper(
        [x], {"method": "L-BFGS-B"}, {"bounds": [(-2, 2)] * 2, "maxiter": 3, "rng": 0}
    )
    assert traced(annealed, closure)[RANGES["bridge"]] > 0


def test_a_profiler_that_comes_and_goes_during_a_run(open_ranges: list[object]) -> None:
    x, evaluate = bowl()
    trace = profiler([ProfilerActivity.CPU])
    calls = 0

    def closure() -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 2:
            trace.start()
        if calls == 4:
            trace.stop()
        return evaluate()

    optimizer = MinimizeWrapper([x], {"method": "BFGS"})
    optimizer.step(closure)
    shown = {event.key: event.count for event in trace.key_averages()}
    whole = optimizer.profile.counts["fun"] + optimizer.profile.counts["jac"]
    assert 0 < shown[RANGES["solver"]] < whole
    assert not open_ranges


def test_the_range_is_closed_when_the_closure_raises(open_ranges: list[object]) -> None:
    x, _ = bowl()

    def closure() -> Tensor:
        raise KeyError("mine")

    optimizer = MinimizeWrapper([x], {"method": "BFGS"})
    with profiler([ProfilerActivity.CPU]), pytest.raises(KeyError):
        optimizer.step(closure)
    assert not open_ranges


def test_no_range_is_made_where_no_profiler_is_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    x, closure = bowl()
    optimizer = MinimizeWrapper([x], {"method": "BFGS"})
    monkeypatch.setattr(clock_module, "record_function", refuse)
    optimizer.step(closure)
    assert optimizer.profile.counts["closure"] > 0


@pytest.mark.parametrize("make", [native.Clock, None], ids=["native", "python"])
def test_both_clocks_count_and_add_up(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Note [oracle]."""
    if make is None:
        monkeypatch.setattr(clock_module, "native", None)
    profile = Profile()
    assert isinstance(profile.clock, make or PythonClock)
    profile.start()
    before = time.perf_counter()
    profile.begin("closure", "closure")
    time.sleep(0.02)
    profile.begin("".join(["bri", "dge"]), "fun")  # a name that is not interned
    profile.attribute("closure", 0.005)
    profile.begin("solver", "fun")
    elapsed = time.perf_counter() - before
    assert profile.clock.part == "solver"
    assert profile.counts == {"closure": 1, "fun": 2}
    assert 0.025 <= profile.closure < elapsed + 0.005
    assert profile.closure + profile.bridge <= elapsed + 1e-4
    with pytest.raises(KeyError, match="nowhere"):
        profile.begin("nowhere")
    copy = pickle.loads(pickle.dumps(profile))
    assert (copy.counts, copy.closure, copy.bridge) == (
        profile.counts,
        profile.closure,
        profile.bridge,
    )
