"""Note [caller's data]: what the caller passed is not written to, and counts anew at each step."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse
import torch
from problems import rosenbrock
from scipy.optimize import BFGS, SR1, Bounds, LinearConstraint, NonlinearConstraint
from torch import Tensor, nn

from pytorch_minimize.optim import (
    BasinHoppingWrapper,
    BruteWrapper,
    DifferentialEvolutionWrapper,
    MinimizeWrapper,
    SHGOWrapper,
)

Make = Callable[[Any, dict[str, Any]], Any]


def minimizer(params: Any, given: dict[str, Any]) -> Any:
    return MinimizeWrapper(params, given)


def hopping(params: Any, given: dict[str, Any]) -> Any:
    return BasinHoppingWrapper(params, given, {"niter": 2, "rng": 0})


def evolution(params: Any, given: dict[str, Any]) -> Any:
    return DifferentialEvolutionWrapper(params, {"rng": 0, "maxiter": 2} | given)


def simplicial(params: Any, given: dict[str, Any]) -> Any:
    return SHGOWrapper(params, {"method": "trust-constr", "options": {"maxiter": 9}}, given)


def grid(params: Any, given: dict[str, Any]) -> Any:
    return BruteWrapper(params, given)


SMALL = 0.05 * np.ones((6, 5))
CONE = NonlinearConstraint(lambda x: x[:2] @ x[:2], np.zeros(1), np.full(1, 9.0), hess=BFGS())
HALF = LinearConstraint(np.ones((1, 5)), np.full(1, -9.0), np.full(1, 9.0))
SPARSE = LinearConstraint(scipy.sparse.csr_matrix(np.ones((1, 5))), -9.0, 9.0)
BOX = Bounds(np.full(5, -2.0), np.full(5, 2.0))

GIVEN: dict[str, tuple[Make, dict[str, Any]]] = {
    "direc": (minimizer, {"method": "Powell", "options": {"direc": np.eye(5), "maxfev": 300}}),
    "a tensor": (
        minimizer,
        {"method": "Powell", "options": {"direc": torch.eye(5).double(), "maxfev": 300}},
    ),
    "initial_simplex": (
        minimizer,
        {"method": "Nelder-Mead", "options": {"initial_simplex": SMALL, "maxfev": 20}},
    ),
    "hess_inv0": (
        minimizer,
        {"method": "BFGS", "options": {"hess_inv0": np.eye(5), "maxiter": 3}},
    ),
    "scale and offset": (
        minimizer,
        {
            "method": "TNC",
            "options": {"scale": np.full(5, 2.0), "offset": np.ones(5), "maxfun": 20},
        },
    ),
    **{
        name: (minimizer, {"method": "trust-constr", "options": {"maxiter": 8}} | given)
        for name, given in {
            "BFGS": {"hess": BFGS(init_scale=np.eye(5))},
            "SR1": {"hess": SR1()},
            "NonlinearConstraint": {"constraints": [CONE]},
            "LinearConstraint": {"constraints": HALF},
            "a sparse LinearConstraint": {"constraints": SPARSE},
            "Bounds": {"bounds": BOX},
            "args": {"hess": lambda x, scale: scale * np.eye(5), "args": (np.ones(1),)},
        }.items()
    },
    "a dict": (
        minimizer,
        {
            "method": "SLSQP",
            "constraints": {"type": "ineq", "fun": lambda x, a: a - x, "args": [9]},
        },
    ),
    "direc of a local search": (
        hopping,
        {"method": "Powell", "options": {"direc": np.eye(5), "maxfev": 200}},
    ),
    "init": (evolution, {"bounds": BOX, "init": np.linspace(-1, 1, 35).reshape(7, 5)}),
    "a constraint of evolution": (evolution, {"bounds": BOX, "constraints": (CONE,)}),
    "a constraint of shgo": (simplicial, {"bounds": BOX, "n": 8, "constraints": (CONE,)}),
    "ranges": (grid, {"ranges": [slice(0.0, 1.0, 0.5)] * 5, "finish": None}),
}


def written(value: Any) -> Any:
    """All that could be written to, as bytes; callables by what they are."""
    if callable(value):
        return value
    if isinstance(value, dict):
        return {name: written(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [written(inner) for inner in value]
    if hasattr(value, "__dict__") and not isinstance(value, (Tensor, np.ndarray)):
        return {name: written(inner) for name, inner in vars(value).items()}
    return pickle.dumps(value)


@pytest.mark.parametrize(("make", "given"), GIVEN.values(), ids=GIVEN)
@pytest.mark.filterwarnings("ignore:delta_grad == 0.0")
def test_what_the_caller_passed_stays_as_it_is(make: Make, given: dict[str, Any]) -> None:
    before = written(given)
    instance = rosenbrock()
    optimizer = make(instance.params, given)
    paths: list[Any] = []
    for _ in range(2):
        for tensor, start in zip(instance.params, rosenbrock().params, strict=True):
            tensor.data.copy_(start)
        path: list[Any] = []

        def closure(path: list[Any] = path) -> Tensor:
            path.append(instance.x)
            return instance.closure(2)()

        optimizer.step(closure)
        paths.append(np.array(path))
        assert written(given) == before
    if make is not hopping:  # whose generator goes on
        assert np.array_equal(*paths)


def test_args_and_callables_are_handed_on_as_they_are() -> None:
    """Only the user's own callables see them; what those write there is meant to be written."""
    told: list[int] = []
    x = nn.Parameter(torch.tensor([2.0, 1.0], dtype=torch.float64))

    def hess(flat: Any, told: list[int]) -> Any:
        told.append(1)
        return 2.0 * np.eye(2)

    optimizer = MinimizeWrapper([x], {"method": "trust-exact", "hess": hess, "args": (told,)})
    optimizer.step(lambda: x.square().sum())
    assert told


def test_a_method_of_ones_own_gets_ones_own_options() -> None:
    buffer = np.zeros(2)
    x = nn.Parameter(torch.ones(2, dtype=torch.float64))

    def method(fun: Any, x0: Any, *, buffer: Any, **_: Any) -> Any:
        buffer[:] = x0
        return scipy.optimize.minimize(fun, x0, method="Nelder-Mead")

    optimizer = MinimizeWrapper([x], {"method": method, "options": {"buffer": buffer}})
    optimizer.step(lambda: x.square().sum())
    assert buffer.tolist() == [1.0, 1.0]


def test_local_searches_of_one_run_share_their_options_as_in_scipy() -> None:
    """Note [same path]: scipy's basinhopping goes on with the directions that Powell left."""
    instance = rosenbrock()
    local: dict[str, Any] = {"method": "Powell", "options": {"direc": np.eye(5), "maxfev": 200}}
    theirs = scipy.optimize.basinhopping(
        instance.fun, instance.x0, niter=2, rng=0, minimizer_kwargs=copy.deepcopy(local)
    )
    optimizer = hopping(instance.params, local)
    optimizer.step(instance.closure(2))
    assert optimizer.res.nfev == theirs.nfev
    assert np.array_equal(optimizer.res.x, theirs.x)
