"""Populations evaluated in one forward pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import plain
import pytest
import torch
from instance import Instance
from landscapes import ACKLEY, RASTRIGIN, Landscape
from scipy.optimize import NonlinearConstraint
from torch import Tensor, nn

from pytorch_minimize.closure.explain import OUT_OF_MEANS
from pytorch_minimize.closure.population import stack_parameters
from pytorch_minimize.optim import ClosureConstraint, DifferentialEvolutionWrapper, vectorize

BOUNDS = RASTRIGIN.bounds(3)
KEYWORDS: dict[str, Any] = {"bounds": BOUNDS, "popsize": 8, "maxiter": 25, "rng": 2}


def losses(landscape: Landscape = RASTRIGIN) -> Any:
    """The losses of an instance at many points."""

    def vectorized(stacked: list[Tensor]) -> Tensor:
        first, others = stacked
        return landscape.surface(torch.cat([first[:, None], others], dim=1))

    return vectorized


@pytest.mark.parametrize("landscape", [ACKLEY, RASTRIGIN], ids=str)
def test_the_path_is_scipys_vectorized_one(landscape: Landscape) -> None:
    instance, twin = landscape.instance(3), landscape.instance(3)
    keywords = KEYWORDS | {"bounds": landscape.bounds(3)}
    surface = landscape.surface

    def at_columns(columns: Any) -> Any:
        return surface(torch.tensor(np.ascontiguousarray(columns.T))).numpy()

    theirs = plain.call(
        "differential_evolution",
        at_columns,
        x0=twin.x0,
        polish=False,
        vectorized=True,
        updating="deferred",
        **keywords,
    )
    optimizer = DifferentialEvolutionWrapper(instance.params, keywords | {"polish": False})
    optimizer.step(instance.closure(2), vectorized=losses(landscape))
    assert np.array_equal(optimizer.res.population, theirs.population)
    assert np.array_equal(instance.x, theirs.x)
    assert optimizer.res.nfev == theirs.nfev
    counts = optimizer.profile.counts
    assert counts["vectorized"] == theirs.nfev
    assert counts["points"] == theirs.nfev * 24
    assert counts["closure"] == 1  # at the start, where both must agree


def test_a_module_by_functional_call() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)).double()
    inputs = torch.randn(20, 2, dtype=torch.float64)
    targets = torch.sin(inputs.sum(1, keepdim=True))

    def loss(module: nn.Module) -> Tensor:
        return ((module(inputs) - targets) ** 2).mean()

    vectorized = vectorize(model, loss)
    points = [torch.randn(7, *p.shape, dtype=torch.float64) for p in model.parameters()]
    before = [p.detach().clone() for p in model.parameters()]
    together = vectorized(points)
    assert together.shape == (7,)
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))
    names = [name for name, _ in model.named_parameters()]
    for i in range(7):
        weights = dict(zip(names, (stacked[i] for stacked in points), strict=True))
        alone = torch.func.functional_call(model, weights, inputs)
        assert together[i].item() == pytest.approx(((alone - targets) ** 2).mean().item())
    optimizer = DifferentialEvolutionWrapper(
        [{"params": model.parameters(), "bounds": (-3.0, 3.0)}], {"maxiter": 20, "rng": 0}
    )
    start = loss(model).item()
    final = optimizer.step(lambda: loss(model), vectorized=vectorized)
    assert final.item() == loss(model).item() < start / 10
    assert optimizer.profile.counts["jac"] > 0  # the polish


@pytest.mark.parametrize("error", OUT_OF_MEANS)
def test_vectorize_lets_through_that_memory_is_at_its_end(error: type[Exception]) -> None:
    def loss(model: nn.Module) -> Tensor:
        raise error("no more of it")

    with pytest.raises(error, match=r"^no more of it"):
        vectorize(nn.Linear(2, 1), loss)([torch.ones(3, 1, 2), torch.ones(3, 1)])


def test_vectorize_takes_the_parameters_that_are_optimised() -> None:
    model = nn.Linear(2, 1)
    model.bias.requires_grad_(False)
    inputs = torch.ones(3, 2)
    vectorized = vectorize(model, lambda m: m(inputs).square().sum())
    optimizer = DifferentialEvolutionWrapper(
        [{"params": model.parameters(), "bounds": (-1.0, 1.0)}], {"maxiter": 3, "rng": 0}
    )
    bias = model.bias.clone()
    optimizer.step(lambda: model(inputs).square().sum(), vectorized=vectorized)
    assert torch.equal(model.bias, bias)


def test_vectorize_in_the_optimizers_order_and_in_chunks() -> None:
    model = nn.Linear(2, 1)
    inputs = torch.randn(5, 2)

    def loss(m: nn.Module) -> Tensor:
        return m(inputs).square().sum()

    swapped = vectorize(model, loss, params=[model.bias, model.weight], chunk_size=2)
    weights, biases = torch.randn(5, 1, 2), torch.randn(5, 1)
    assert torch.allclose(swapped([biases, weights]), vectorize(model, loss)([weights, biases]))
    with pytest.raises(ValueError, match=r"positions \[1\]"):
        vectorize(model, loss, params=[model.bias, torch.zeros(1)])


def test_values_in_another_order_than_vectorize_was_told() -> None:
    model = nn.Linear(2, 1)
    inputs = torch.ones(3, 2)
    optimizer = DifferentialEvolutionWrapper(
        [{"params": [model.bias, model.weight], "bounds": (-1.0, 1.0)}], {"rng": 0}
    )
    start = [p.detach().clone() for p in model.parameters()]
    message = r"shapes \[\(1, 2\), \(1,\)\], got \[\(1,\), \(1, 2\)\]. Give params="
    with pytest.raises(ValueError, match=message):
        optimizer.step(
            lambda: model(inputs).square().sum(),
            vectorized=vectorize(model, lambda m: m(inputs).square().sum()),
        )
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), start, strict=True))


def test_each_stacked_tensor_is_like_its_parameter() -> None:
    params = [
        torch.zeros(2, dtype=torch.float32),
        torch.zeros((), dtype=torch.complex128),
        torch.zeros(2, 1, dtype=torch.bfloat16),
    ]
    points = np.arange(12, dtype=np.float64).reshape(2, 6)
    first, second, third = stack_parameters(points, params)
    assert torch.equal(first, torch.tensor([[0.0, 1.0], [6.0, 7.0]]))
    assert torch.equal(second, torch.tensor([2 + 3j, 8 + 9j], dtype=torch.complex128))
    assert third.shape == (2, 2, 1)
    assert [t.dtype for t in (first, second, third)] == [p.dtype for p in params]


def step(instance: Instance, vectorized: Any, **more: Any) -> Any:
    optimizer = DifferentialEvolutionWrapper(instance.params, KEYWORDS | more)
    optimizer.step(instance.closure(2), vectorized=vectorized)
    return optimizer


def test_values_may_be_written_into() -> None:
    """The points that scipy and the best one are kept from are others."""

    def in_place(stacked: list[Tensor]) -> Tensor:
        values = losses()(stacked)
        for tensor in stacked:
            tensor.fill_(7.0)
        return values

    results = []
    for vectorized in (losses(), in_place):
        instance = RASTRIGIN.instance(3)
        optimizer = DifferentialEvolutionWrapper(instance.params, KEYWORDS, max_evaluations=100)
        optimizer.step(instance.closure(2), vectorized=vectorized)
        assert instance.fun(instance.x) == optimizer.res.fun
        results.append(optimizer.res.x)
    assert np.array_equal(*results)


def test_losses_that_disagree_with_the_closure() -> None:
    instance = RASTRIGIN.instance(3)
    with pytest.raises(ValueError, match=r"expected the closure's loss at the start, .*; got"):
        step(instance, lambda stacked: losses()(stacked) + 1.0)
    assert np.array_equal(instance.x, instance.x0)


@pytest.mark.parametrize(
    ("answer", "got"),
    [
        (lambda s: losses()(s).sum(), r"got \(\)"),
        (lambda s: losses()(s)[:, None], r"got \(1, 1\)"),
        (lambda s: losses()(s).tolist(), "got list"),
    ],
)
def test_losses_of_another_shape(answer: Any, got: str) -> None:
    with pytest.raises(ValueError, match=rf"one loss for each point; {got}"):
        step(RASTRIGIN.instance(3), answer)


def test_an_exception_in_a_batch_comes_out_and_the_best_point_stays() -> None:
    instance = RASTRIGIN.instance(3)
    seen: list[Tensor] = []

    def failing(stacked: list[Tensor]) -> Tensor:
        if len(seen) == 4:
            raise ZeroDivisionError("mine")
        seen.append(torch.cat([stacked[0][:, None], stacked[1]], dim=1))
        return losses()(stacked)

    with pytest.raises(ZeroDivisionError, match="mine"):
        step(instance, failing)
    points = torch.cat(seen)
    best = points[RASTRIGIN.surface(points).argmin()]
    assert np.array_equal(instance.x, best.numpy())


def test_limits_are_looked_at_before_each_batch() -> None:
    instance = RASTRIGIN.instance(3)
    optimizer = DifferentialEvolutionWrapper(instance.params, KEYWORDS, max_evaluations=60)
    optimizer.step(instance.closure(2), vectorized=losses())
    assert optimizer.res.status == 102
    assert optimizer.profile.counts["points"] == 72  # three batches of 24
    assert optimizer.res.fun == instance.fun(instance.x)


def test_the_callback_sees_the_model_at_the_best_point_and_ends_the_run() -> None:
    instance = RASTRIGIN.instance(3)
    told: list[float] = []

    def callback(x: Any, convergence: float) -> bool:
        assert np.array_equal(instance.x, x)
        told.append(instance.fun(x))
        return len(told) == 3

    optimizer = step(instance, losses(), callback=callback, polish=False)
    res = optimizer.res
    assert (len(told), res.status) == (3, 99)
    assert res.fun == told[-1] == instance.fun(instance.x)
    assert np.array_equal(instance.x, res.x)


@pytest.mark.parametrize("error", [ValueError, TypeError, StopIteration, KeyboardInterrupt])
def test_errors_that_scipy_makes_something_else_of(error: type[BaseException]) -> None:
    instance = RASTRIGIN.instance(3)
    raised, calls = error("mine"), 0

    def failing(stacked: list[Tensor]) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise raised
        return losses()(stacked)

    with pytest.raises(error) as caught:
        step(instance, failing)
    assert caught.value is raised
    assert instance.fun(instance.x) <= instance.fun(instance.x0)


def test_points_that_are_not_finite() -> None:
    instance = RASTRIGIN.instance(3)

    def holes(stacked: list[Tensor]) -> Tensor:
        values = losses()(stacked)
        return torch.where(stacked[0] > 2.0, torch.nan, values)

    with torch.no_grad():
        instance.params[0].fill_(-1.0)
    with pytest.warns(RuntimeWarning, match="nonfinite"):
        optimizer = step(instance, holes)
    assert optimizer.res.nonfinite > 0
    assert np.isfinite(optimizer.res.fun)


def test_updating_at_once_is_refused() -> None:
    with pytest.raises(ValueError, match="updating"):
        step(RASTRIGIN.instance(3), losses(), updating="immediate")


def test_constraints_of_one_point_at_a_time_are_refused() -> None:
    instance = RASTRIGIN.instance(3)
    constraint = ClosureConstraint(lambda: instance.params[0] ** 2, 0.0, 4.0)
    with pytest.raises(ValueError, match="one point at a time"):
        step(instance, losses(), constraints=constraint)


def test_constraints_on_the_flat_vector_bound_the_best_point() -> None:
    """The start is infeasible: it is compared with the closure, but not kept."""
    instance = RASTRIGIN.instance(3)
    constraint = NonlinearConstraint(lambda x: x[:1] + x[1:2], -9.0, -4.0)
    optimizer = DifferentialEvolutionWrapper(
        instance.params, KEYWORDS | {"constraints": constraint}, max_evaluations=80
    )
    optimizer.step(instance.closure(2), vectorized=losses())
    assert optimizer.res.status == 102
    assert instance.x[0] + instance.x[1] <= -4.0
