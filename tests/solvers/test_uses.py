"""Our own methods where users write into results, pickle, stop searches, and state odd options."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from instance import Instance
from problems import rosenbrock

from pytorch_minimize.optim import MinimizeWrapper
from pytorch_minimize.solvers.methods import ROWS

each = pytest.mark.parametrize("method", [row.name for row in ROWS.values()])


def stepped(method: str, instance: Instance, **more: Any) -> MinimizeWrapper:
    args = {"method": method, "options": more.pop("options", {})}
    optimizer = MinimizeWrapper(instance.params, args, **more)
    optimizer.step(instance.closure(1))
    return optimizer


@each
def test_a_result_that_is_written_into_leaves_the_best_point(method: str) -> None:
    instance = rosenbrock()
    optimizer = stepped(method, instance, options={"return_all": True})
    end = instance.x
    optimizer.res.x[:] = 7.0
    optimizer.res.allvecs[-1][:] = 7.0
    optimizer.load_best()
    assert np.array_equal(instance.x, end)


@each
@pytest.mark.parametrize("twin_of", [copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))])
def test_copies_of_an_optimizer_go_on(method: str, twin_of: Any) -> None:
    optimizer = stepped(method, rosenbrock(), options={"maxiter": 5}, warm_start=True)
    twin = twin_of(optimizer)
    params = twin.param_groups[0]["params"]
    assert params[0] is not optimizer.param_groups[0]["params"][0]
    loss = rosenbrock().loss
    before = loss(params).item()
    assert twin.step(lambda: loss(params)) < before
    assert twin.res.nit == 5


@each
def test_a_warm_start_goes_before_hess_inv0_as_with_bfgs(method: str) -> None:
    instance, twin = rosenbrock(), rosenbrock()
    options = {"hess_inv0": np.eye(5) / 10, "maxiter": 6}
    state = stepped(method, instance, options=options, warm_start=True).state_dict()
    warm = stepped(method, twin, options=options | {"maxiter": 0}, warm_start=True)
    assert np.array_equal(warm.res.hess_inv, np.eye(5) / 10)
    warm.load_state_dict(state)
    warm.step(twin.closure(1))
    assert np.array_equal(warm.res.hess_inv, state["run"]["hess_inv"].numpy())


@each
def test_options_as_bfgs_takes_them(method: str) -> None:
    expected = stepped(method, rosenbrock(), options={"return_all": True}).res
    for stated in (1, np.True_, torch.tensor(1)):
        options = {"return_all": stated, "maxiter": math.inf, "norm": torch.tensor(math.inf)}
        res = stepped(method, rosenbrock(), options=options).res
        assert (res.nit, len(res.allvecs)) == (expected.nit, len(expected.allvecs))


@each
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"norm": 0}, "norm: expected a number other than 0"),
        ({"hess_inv0": 2.0}, r"expected an array of shape \(n, n\), got one of shape \(\)"),
    ],
)
def test_what_would_fail_in_the_run_is_refused_before(
    method: str, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        MinimizeWrapper(rosenbrock().params, {"method": method, "options": options})


@each
def test_the_default_device_is_not_asked(method: str) -> None:
    instance = rosenbrock()
    with torch.device("meta"):
        options = {"hess_inv0": np.eye(5), "maxiter": 4}
        optimizer = stepped(method, instance, options=options, warm_start=True)
        optimizer.step(instance.closure(1))
    assert optimizer.res.nit == 4
