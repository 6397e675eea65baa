"""check_closure=True holds the gradient against the loss, and names what is wrong with it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from instance import Instance
from methods import CURVATURE, GRADIENT
from replayed import Replayed
from torch import Tensor, nn
from walls import WITHOUT_GRAPH, Walled

from pytorch_minimize.bridge.make import make_bridge
from pytorch_minimize.closure.runner import ClosureRunner
from pytorch_minimize.curvature.check_closure import check_closure
from pytorch_minimize.optim import BasinHoppingWrapper, MinimizeWrapper

Params = list[nn.Parameter]
LossOf = Callable[[], Tensor]
Make = Callable[[torch.dtype], tuple[Params, LossOf]]
DTYPES = [torch.float32, torch.float64]


def param(*values: float, dtype: torch.dtype = torch.float64) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values, dtype=dtype))


def check(params: Params, closure: Callable[[], Any], bounds: Any = None) -> None:
    check_closure(ClosureRunner(closure, make_bridge(params)), True, None, bounds)


# What a closure may do to the gradients of f, and what it is told.


def scaled(params: Params, f: Tensor) -> None:
    (f * 1024).backward()


def averaged(params: Params, f: Tensor) -> None:
    (f / 8).backward()


def negated(params: Params, f: Tensor) -> None:
    (-f).backward()


def zeroed(params: Params, f: Tensor) -> None:
    f.backward()
    grad = params[len(params) // 2].grad
    assert grad is not None
    grad[0] = 0


def forgotten(params: Params, f: Tensor) -> None:
    f.backward()
    for p in params:
        p.grad = torch.zeros_like(p)


def clipped(params: Params, f: Tensor) -> None:
    f.backward()
    nn.utils.clip_grad_norm_(params, 0.1)


def clamped(params: Params, f: Tensor) -> None:
    f.backward()
    nn.utils.clip_grad_value_(params, 1e-3)


def other(params: Params, f: Tensor) -> None:
    sum((i * p).square().sum() for i, p in enumerate(params, 1)).backward()  # type: ignore[union-attr]


WRONG: dict[Callable[[Params, Tensor], None], str] = {
    scaled: r"is 102\d times that of the loss: by a GradScaler",
    averaged: r"the loss's direction and is 0.12\d* times as long: it was\s+clipped",
    negated: r"is -(1|1.00\d|0.999\d?) times that of the loss: by a factor",
    zeroed: r"is zero in \d+ of \d+ variables, though the loss changes with them",
    forgotten: r"is zero in (\d+) of \1 variables",
    clipped: r"the loss's direction and is 0.\d+ times as long: it was\s+clipped",
    clamped: r"equally large, and none is larger: it was clipped, as by clip_grad_value_",
    other: r"is of another function: backward\(\) was called on something else",
}


def network(dtype: torch.dtype) -> tuple[Params, LossOf]:
    model = nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 1)).to(dtype)
    inputs, targets = torch.randn(20, 4, dtype=dtype), torch.randn(20, 1, dtype=dtype)
    return list(model.parameters()), lambda: (model(inputs) - targets).square().mean()


def quartic(dtype: torch.dtype) -> tuple[Params, LossOf]:
    x, y = param(3.0, -1.0, dtype=dtype), param(0.5, dtype=dtype)
    return [x, y], lambda: ((x - 1) ** 4).sum() + ((y - x[0]) ** 2).sum()


def at_kinks(dtype: torch.dtype) -> tuple[Params, LossOf]:
    """Every variable is where its slope jumps."""
    w = nn.Parameter(torch.zeros(8, dtype=dtype))
    a, b = torch.randn(12, 8, dtype=dtype), torch.randn(12, dtype=dtype)
    return [w], lambda: (a @ w - b).square().mean() + 0.5 * w.abs().sum()


def at_a_minimum(dtype: torch.dtype) -> tuple[Params, LossOf]:
    w = nn.Parameter(torch.ones(4, dtype=dtype))
    return [w], lambda: ((w - 1) ** 2).sum()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("make", [network, at_kinks, at_a_minimum])
@pytest.mark.parametrize("wrong", WRONG)
def test_the_cause_is_named(
    wrong: Callable[[Params, Tensor], None], make: Make, dtype: torch.dtype
) -> None:
    params, loss_of = make(dtype)
    bridge = make_bridge(params)
    x = bridge.flatten_params()

    def closure() -> Tensor:
        f = loss_of()
        wrong(params, f)
        return f

    with pytest.raises(RuntimeError, match=f"predict that its loss changes.*{WRONG[wrong]}"):
        check(params, closure)
    assert np.array_equal(bridge.flatten_params(), x)


@pytest.mark.parametrize("method", [*GRADIENT, *CURVATURE])
def test_every_gradient_method_checks_it(method: str) -> None:
    x = param(3.0, -1.0)

    def closure() -> Tensor:
        f = ((x - 1) ** 4).sum()
        scaled([x], f)
        return f

    optimizer = MinimizeWrapper([x], {"method": method}, check_closure=True)
    with pytest.raises(RuntimeError, match="1024 times that of the loss"):
        optimizer.step(closure)


def test_a_replayed_graph_is_checked() -> None:
    for wrong in (False, True):
        x = param(3.0, -1.0)
        replayed = Replayed(Instance([x], lambda params: ((params[0] - 1) ** 4).sum()))

        def closure(replayed: Replayed = replayed, wrong: bool = wrong) -> Tensor:
            loss = replayed()
            if wrong:
                (grad,) = replayed.grads
                assert grad is not None
                grad.mul_(2)
            return loss

        optimizer = MinimizeWrapper(
            [x], {"method": "BFGS"}, check_closure=True, captured_graph=True
        )
        if wrong:
            with pytest.raises(RuntimeError, match="2 times that of the loss"):
                optimizer.step(closure)
        else:
            optimizer.step(closure)


def test_a_loss_of_whole_numbers_rises_in_stairs() -> None:
    x = param(33.3, -11.0)

    def closure() -> Tensor:
        loss = x.square().sum()
        loss.backward()
        return loss.round().long()

    check([x], closure)


def test_local_searches_check_it() -> None:
    x = param(3.0, -1.0)

    def closure() -> Tensor:
        f = ((x - 1) ** 2).sum()
        other([x], f)
        return f

    optimizer = BasinHoppingWrapper([x], {}, {"niter": 1}, check_closure=True)
    with pytest.raises(RuntimeError, match="of another function"):
        optimizer.step(closure)


# Functions whose gradients are right, each hard to differentiate by differences.


def near_an_edge(dtype: torch.dtype) -> tuple[Params, LossOf]:
    w = nn.Parameter(torch.rand(5, dtype=dtype) * 1e-6 + 1e-9)
    return [w], lambda: (w - w.log() - (w - 1e-9).clamp(min=0).sqrt()).sum()


def huge(dtype: torch.dtype) -> tuple[Params, LossOf]:
    w, scale = nn.Parameter(torch.randn(5, dtype=dtype)), torch.finfo(dtype).max / 1e6
    return [w], lambda: (w - 1).square().sum() * scale


def tiny(dtype: torch.dtype) -> tuple[Params, LossOf]:
    w, scale = nn.Parameter(torch.randn(5, dtype=dtype)), torch.finfo(dtype).tiny * 1e2
    return [w], lambda: (w - 1).square().sum() * scale


def cancelling(dtype: torch.dtype) -> tuple[Params, LossOf]:
    """Rounded to the coarse grid of what it passes through."""
    w = nn.Parameter(torch.randn(5, dtype=dtype))
    return (
        [w],
        lambda: (
            ((w - 1).square().sum() / 100 + torch.finfo(dtype).eps ** -0.75)
            - 1 / (torch.finfo(dtype).eps)
        ),
    )


def rapid(dtype: torch.dtype) -> tuple[Params, LossOf]:
    """Its waves are shorter than the first step."""
    w, wave = nn.Parameter(torch.randn(3, dtype=dtype)), torch.finfo(dtype).eps ** -0.5
    return [w], lambda: w.square().sum() + (wave * w).sin().sum()


def of_many_sizes(dtype: torch.dtype) -> tuple[Params, LossOf]:
    sizes = torch.logspace(-8, 6, 6, dtype=dtype)
    w = nn.Parameter(torch.randn(6, dtype=dtype) * sizes)
    return [w], lambda: (w / sizes - 1).square().sum()


def half_inside(dtype: torch.dtype) -> tuple[Params, LossOf]:
    params, _ = network(dtype)
    inputs = torch.randn(20, 4, dtype=dtype)

    def loss() -> Tensor:
        a, b, c, d = (p.bfloat16() for p in params)
        return (torch.relu(inputs.bfloat16() @ a.T + b) @ c.T + d).float().square().mean()

    return params, loss


def flat(dtype: torch.dtype) -> tuple[Params, LossOf]:
    w = nn.Parameter(torch.randn(4, dtype=dtype))
    return [w], lambda: w.clamp(10, 20).sum()


def complex_numbers(dtype: torch.dtype) -> tuple[Params, LossOf]:
    z = nn.Parameter(torch.randn(4, dtype=dtype.to_complex()))
    return [z], lambda: (z**2 - 1j).abs().square().sum()


HARD = (
    network, at_kinks, at_a_minimum, near_an_edge, huge, tiny, cancelling, rapid, of_many_sizes,
    half_inside, flat, complex_numbers,
)  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("make", HARD)
def test_right_gradients_pass(make: Make, dtype: torch.dtype) -> None:
    for _ in range(5):
        params, loss_of = make(dtype)
        check(params, loss_of)


def test_a_gradient_that_fits_costs_eight_runs() -> None:
    runs = 0

    def closure() -> Tensor:
        nonlocal runs
        runs += 1
        return loss_of()

    params, loss_of = complex_numbers(torch.float64)
    check(params, closure)
    assert runs <= 2 + 8


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_it_stays_inside_the_bounds(dtype: torch.dtype) -> None:
    """Some variables are on a bound, some next to one, and one is fixed; outside is an error."""
    low, high = torch.tensor([0.0, 0.0, 0.5, 1.0, -2.0]), torch.tensor([1.0, 1e-3, 0.5, 2.0, 9.0])
    start = torch.tensor([0.0, 1e-3, 0.5, 1.0 + 1e-6, 3.0])
    low, high = low.to(dtype), high.to(dtype)
    for wrong in (False, True):
        w = nn.Parameter(start.to(dtype))

        def closure(w: nn.Parameter = w, wrong: bool = wrong) -> Tensor:
            assert (low <= w).all()
            assert (w <= high).all()
            loss = (w + 1).log().sum() + (w - 3).square().sum()
            (2 * loss if wrong else loss).backward()
            return loss

        groups = [{"params": [w], "bounds": (low, high)}]
        for method in ("L-BFGS-B", "trust-constr"):
            arguments = {"method": method, "options": {"maxiter": 1}}
            optimizer = MinimizeWrapper(groups, arguments, check_closure=True)
            if wrong:
                with pytest.raises(RuntimeError, match=r"2(\.00\d)? times that of the loss"):
                    optimizer.step(closure)
            elif method == "L-BFGS-B":
                optimizer.step(closure)


def test_runs_that_raise_are_taken_for_nan() -> None:
    def raises(x: Tensor) -> Tensor:
        raise ZeroDivisionError

    for beyond in (raises, WITHOUT_GRAPH["NaN"]):
        closure = Walled(beyond)
        with torch.no_grad():
            closure.x[0] = 1e-12  # beyond the wall are most of the points nearby
        arguments = {"method": "trust-ncg"}
        optimizer = MinimizeWrapper(
            [closure.x], arguments, recover=ZeroDivisionError, check_closure=True
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            optimizer.step(closure)
        assert closure.met > 0
