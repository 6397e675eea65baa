"""The problems are what they say: their twins agree and their minima are minima."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
import torch
from instance import Array
from problems import PROBLEMS, Problem


def points(problem: Problem) -> list[Array]:
    """The start, and three points about it."""
    x0 = problem.make(torch.float64).x0
    return [x0, *(x0 + np.random.default_rng(7).standard_normal((3, x0.size)))]


@pytest.mark.parametrize("problem", [p for p in PROBLEMS if p.twin], ids=str)
def test_numpy_twin_agrees_with_torch(problem: Problem) -> None:
    instance, twin = problem.make(torch.float64), problem.twin
    assert twin is not None
    for x in points(problem):
        np.testing.assert_allclose(instance.fun(x), twin.fun(x), rtol=1e-13, atol=1e-12)
        np.testing.assert_allclose(instance.jac(x), twin.jac(x), rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_derivatives_agree_with_differences(problem: Problem) -> None:
    instance = problem.make(torch.float64)
    for x in points(problem):
        slope = scipy.optimize.approx_fprime(x, instance.fun)
        np.testing.assert_allclose(instance.jac(x), slope, rtol=1e-4, atol=1e-4)
        curvature = scipy.optimize.approx_fprime(x, instance.jac)
        np.testing.assert_allclose(instance.hess(x), curvature, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_minimum_is_a_minimum(problem: Problem) -> None:
    instance = problem.make(torch.float64)
    found = scipy.optimize.minimize(
        instance.fun, instance.x0, jac=instance.jac, method="BFGS", options={"gtol": 1e-8}
    )
    assert found.fun == pytest.approx(instance.minimum, abs=1e-9)
    assert np.linalg.eigvalsh(instance.hess(found.x))[0] > 0


@pytest.mark.parametrize("form", [1, 2, 3])
@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_closures_agree_with_the_flat_function(problem: Problem, form: int) -> None:
    instance = problem.make(torch.float64)
    loss = instance.closure(form)()
    if form == 2:
        assert all(p.grad is None for p in instance.params)
        loss.backward()
    assert loss.item() == instance.fun(instance.x0)
    assert np.array_equal(instance.grad, instance.jac(instance.x0))
