"""What an optimizer's first step warns of: random numbers in the closure, gradients thrown away."""

from __future__ import annotations

import copy
import math
import random
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from problems import rosenbrock
from replayed import Replayed
from scipy.optimize import OptimizeResult
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from pytorch_minimize.closure import draws
from pytorch_minimize.optim import DifferentialEvolutionWrapper, MinimizeWrapper

DATA = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(12, 2)
RANDOM = r"draws random numbers.*A shuffled pass over all of the data is harmless; check_closure="
LOST = r"gradients were accumulated in .grad before step, and are thrown away"


class Regression:
    """A closure over two weights, whose rows of data ``rows`` chooses at each run."""

    def __init__(self, rows: Callable[[], Any] = lambda: DATA) -> None:
        self.x = nn.Parameter(torch.tensor([0.5, 0.25], dtype=torch.float64))
        self.rows = rows

    def __call__(self) -> Tensor:
        return (self.rows() @ self.x - 1).square().mean() + self.x.square().sum()

    def optimizer(self, method: Any = "L-BFGS-B", **keywords: Any) -> MinimizeWrapper:
        arguments = {"method": method, "options": {"maxiter": 3}}
        return MinimizeWrapper([self.x], arguments, **keywords)


def all_rows(**keywords: Any) -> Callable[[], Tensor]:
    loader = DataLoader(TensorDataset(DATA), batch_size=5, **keywords)
    return lambda: torch.cat([rows for (rows,) in loader])


def first_rows() -> Tensor:
    (rows,) = next(iter(DataLoader(TensorDataset(DATA), batch_size=5, shuffle=True)))
    return rows


DRAWS: dict[str, Callable[[], Tensor]] = {
    "dropout": lambda: nn.functional.dropout(DATA),
    "torch": lambda: DATA[torch.randint(12, (4,))],
    "numpy": lambda: DATA[np.random.permutation(12)[:4].tolist()],  # noqa: NPY002
    "python": lambda: DATA[[random.randrange(12)]],
    "mini-batch": first_rows,
    "shuffled pass": all_rows(shuffle=True),
}


@pytest.mark.parametrize("kind", DRAWS)
def test_random_numbers_are_told_once(kind: str) -> None:
    closure = Regression(DRAWS[kind])
    optimizer = closure.optimizer()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            optimizer.step(closure)
    assert sum(re.search(RANDOM, str(w.message)) is not None for w in caught) == 1


@pytest.mark.parametrize("method", ["Nelder-Mead", "trust-exact"])
def test_any_method_tells(method: str) -> None:
    closure = Regression(DRAWS["torch"])
    with pytest.warns(RuntimeWarning, match=RANDOM):
        closure.optimizer(method).step(closure)


def test_a_global_optimiser_tells() -> None:
    closure = Regression(DRAWS["torch"])
    keywords = {"bounds": [(-1, 1)] * 2, "maxiter": 1, "popsize": 2, "rng": 0, "polish": False}
    with pytest.warns(RuntimeWarning, match=RANDOM):
        DifferentialEvolutionWrapper([closure.x], keywords).step(closure)


def seeded_each_time() -> Tensor:
    torch.manual_seed(3)
    return DATA[torch.randint(12, (4,))]


def in_a_fork() -> Tensor:
    with torch.random.fork_rng(devices=[]):
        return seeded_each_time()


class DrawnOnce:
    rows: Tensor | None = None

    def __call__(self) -> Tensor:
        if self.rows is None:
            self.rows = DATA[torch.randint(12, (4,))]
        return self.rows


@pytest.mark.parametrize(
    "rows",
    [lambda: DATA, all_rows(), seeded_each_time, in_a_fork, DrawnOnce()],
    ids=["all", "loader", "seeded", "forked", "drawn once"],
)
def test_what_is_a_function_is_not(rows: Callable[[], Tensor]) -> None:
    closure = Regression(rows)
    closure.optimizer().step(closure)


def test_a_shuffled_pass_that_was_checked_is_not() -> None:
    closure = Regression(all_rows(shuffle=True))
    closure.optimizer(check_closure=True).step(closure)


def test_what_the_solver_draws_is_its_own() -> None:
    def solver(fun: Any, x0: Any, **_: Any) -> OptimizeResult:
        x = x0 + np.random.rand(2)  # noqa: NPY002
        torch.rand(()), fun(x0), torch.rand(()), fun(x), random.random()
        return OptimizeResult(x=x, fun=fun(x), success=True)

    closure = Regression()
    MinimizeWrapper([closure.x], {"method": solver}).step(closure)


def test_a_device_has_a_generator_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator()
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "default_generators", (torch.Generator(), generator))
    closure = Regression(lambda: DATA[torch.randint(12, (4,), generator=generator)])
    with pytest.warns(RuntimeWarning, match=RANDOM):
        closure.optimizer().step(closure)


def test_only_two_runs_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    looks, states = 0, draws._states

    def counted() -> Any:
        nonlocal looks
        looks += 1
        return states()

    monkeypatch.setattr(draws, "_states", counted)
    for rows, expected in ((lambda: DATA, 2), (DrawnOnce(), 4)):
        looks = 0
        closure = Regression(rows)
        closure.optimizer().step(closure)
        assert looks == expected


# Gradients that are in ``.grad`` when a step begins.


def accumulate(closure: Regression) -> None:
    """What a loop over micro-batches would have left."""
    for rows in DATA.split(4)[:2]:
        (rows @ closure.x - 1).square().mean().backward()


@pytest.mark.parametrize("method", ["L-BFGS-B", "trust-exact"])
@pytest.mark.parametrize("form", [1, 2])
def test_accumulated_gradients_are_told_once(form: int, method: str) -> None:
    closure = Regression()
    optimizer = closure.optimizer(method)

    def of_form() -> Tensor:
        loss = closure()
        if form == 1:
            loss.backward()
        return loss

    accumulate(closure)
    with pytest.warns(RuntimeWarning, match=LOST) as caught:
        optimizer.step(of_form)
    assert len(caught) == 1
    accumulate(closure)
    optimizer.step(of_form)


def test_added_to_those_that_were_there() -> None:
    closure = Regression()
    closure().backward()
    optimizer = closure.optimizer()
    accumulate(closure)
    with pytest.warns(RuntimeWarning, match=LOST):
        optimizer.step(closure)


def asked_for_the_loss(closure: Regression, optimizer: Any) -> None:
    closure().backward()


def accumulated_all(closure: Regression, optimizer: Any) -> None:
    """Harmless: the closure computes the same once more."""
    for rows in DATA.split(3):
        ((rows @ closure.x - 1).square().sum() / 12).backward()
    closure.x.square().sum().backward()


def zeroed(closure: Regression, optimizer: Any) -> None:
    accumulate(closure)
    optimizer.zero_grad()


def zeroed_in_place(closure: Regression, optimizer: Any) -> None:
    accumulate(closure)
    optimizer.zero_grad(set_to_none=False)


def after(make: Callable[..., Any], **keywords: Any) -> Callable[[Regression, Any], None]:
    def phase(closure: Regression, optimizer: Any) -> None:
        other = make([closure.x], lr=0.1, **keywords)
        for _ in range(3):
            other.zero_grad()
            closure().backward()
            other.step()

    return phase


def by_hand(closure: Regression, optimizer: Any) -> None:
    closure().backward()
    assert closure.x.grad is not None
    closure.x.data.add_(closure.x.grad, alpha=-0.1)


HARMLESS: dict[str, Callable[[Regression, Any], None]] = {
    "nothing": lambda closure, optimizer: None,
    "the closure was run": asked_for_the_loss,
    "all of the loss": accumulated_all,
    "zeroed": zeroed,
    "zeroed in place": zeroed_in_place,
    "Adam": after(torch.optim.Adam),
    "fused Adam": after(torch.optim.Adam, fused=True),
    "SGD": after(torch.optim.SGD),
    "by hand": by_hand,
}


@pytest.mark.parametrize("kind", HARMLESS)
def test_where_nothing_is_lost_nothing_is_told(kind: str) -> None:
    """Whether it happened before the optimizer was made or after."""
    closure = Regression()
    optimizer = closure.optimizer()
    HARMLESS[kind](closure, optimizer)
    optimizer.step(closure)
    closure = Regression()
    HARMLESS[kind](closure, closure.optimizer())
    closure.optimizer().step(closure)


def test_gradients_from_before_the_optimizer_are_anothers() -> None:
    closure = Regression()
    accumulate(closure)
    closure.optimizer().step(closure)


def test_those_of_our_own_steps_are_ours() -> None:
    closure = Regression()
    optimizer = closure.optimizer()
    for _ in range(2):
        optimizer.step(closure)
    optimizer, closure = copy.deepcopy((optimizer, closure))
    optimizer.step(closure)


def test_a_replayed_graph_may_fill_them() -> None:
    instance = rosenbrock()
    optimizer = MinimizeWrapper(instance.params, {"method": "BFGS"}, captured_graph=True)
    replayed = Replayed(instance)
    for param in instance.params:
        assert param.grad is not None
        param.grad += 1
    optimizer.step(replayed)
    replayed.assert_in_place()


@pytest.mark.parametrize("bounds", [(1.0, 2.0), None])
def test_at_another_point_nothing_can_be_told(bounds: Any) -> None:
    """Where the start was moved inside bounds, or a method evaluates elsewhere first."""
    x = nn.Parameter(torch.tensor([0.5], dtype=torch.float64))

    def solver(fun: Any, x0: Any, **_: Any) -> OptimizeResult:
        return OptimizeResult(x=x0 + 1, fun=fun(x0 + 1), success=True)

    method = "L-BFGS-B" if bounds else solver
    optimizer = MinimizeWrapper([{"params": [x], "bounds": bounds}], {"method": method})
    (3 * x.square().sum()).backward()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the start is outside")
        optimizer.step(lambda: x.square().sum())


def test_without_gradients_none_is_lost() -> None:
    closure = Regression()
    optimizer = closure.optimizer("Nelder-Mead")
    accumulate(closure)
    optimizer.step(closure)


def test_a_first_loss_that_is_not_finite_defers_it() -> None:
    runs = 0

    def spoilt() -> Any:
        nonlocal runs
        runs += 1
        return math.nan if runs == 1 else closure()

    def solver(fun: Any, x0: Any, **_: Any) -> OptimizeResult:
        fun(x0), fun(x0 + 1)
        return OptimizeResult(x=x0, fun=fun(x0), success=True)

    closure = Regression()
    optimizer = MinimizeWrapper([closure.x], {"method": solver, "jac": True})
    accumulate(closure)
    with pytest.warns(RuntimeWarning, match="a loss of nan") as caught:
        optimizer.step(spoilt)
    assert len(caught) == 1  # the gradient that was made first is of another point
