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
from torch import Tensor, nn

from pytorch_minimize.optim import BasinHoppingWrapper, MinimizeWrapper
from pytorch_minimize.scipy_minimize import optimizer as optimizer_module
from pytorch_minimize.solvers.methods import ROWS

WITH_H = [row.name for row in ROWS.values() if "hess_inv0" in row.options]
each = pytest.mark.parametrize("method", [row.name for row in ROWS.values()])
each_with_h = pytest.mark.parametrize("method", WITH_H)


def stepped(method: str, instance: Instance, **more: Any) -> MinimizeWrapper:
    args = {"method": method, "options": more.pop("options", {})}
    optimizer = MinimizeWrapper(instance.params, args, **more)
    optimizer.step(instance.closure(1))
    return optimizer


@each_with_h
def test_a_result_that_is_written_into_leaves_the_best_point(method: str) -> None:
    instance = rosenbrock()
    optimizer = stepped(method, instance, options={"return_all": True})
    end = instance.x
    optimizer.res.x[:] = 7.0
    optimizer.res.allvecs[-1][:] = 7.0
    optimizer.load_best()
    assert np.array_equal(instance.x, end)


@each_with_h
@pytest.mark.parametrize("twin_of", [copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))])
def test_copies_of_an_optimizer_go_on(method: str, twin_of: Any) -> None:
    optimizer = stepped(method, rosenbrock(), options={"maxiter": 5}, warm_start=method in WITH_H)
    twin = twin_of(optimizer)
    params = twin.param_groups[0]["params"]
    assert params[0] is not optimizer.param_groups[0]["params"][0]
    loss = rosenbrock().loss
    before = loss(params).item()
    assert twin.step(lambda: loss(params)) < before
    assert twin.res.nit == 5


@each_with_h
def test_a_warm_start_goes_before_hess_inv0_as_with_bfgs(method: str) -> None:
    instance, twin = rosenbrock(), rosenbrock()
    options = {"hess_inv0": np.eye(5) / 10, "maxiter": 6}
    state = stepped(method, instance, options=options, warm_start=True).state_dict()
    warm = stepped(method, twin, options=options | {"maxiter": 0}, warm_start=True)
    assert np.array_equal(warm.res.hess_inv, np.eye(5) / 10)
    warm.load_state_dict(state)
    warm.step(twin.closure(1))
    assert np.array_equal(warm.res.hess_inv, state["run"]["hess_inv"].numpy())


@each_with_h
def test_options_as_bfgs_takes_them(method: str) -> None:
    expected = stepped(method, rosenbrock(), options={"return_all": True}).res
    for stated in (1, np.True_, torch.tensor(1)):
        options = {"return_all": stated, "maxiter": math.inf, "norm": torch.tensor(math.inf)}
        res = stepped(method, rosenbrock(), options=options).res
        assert (res.nit, len(res.allvecs)) == (expected.nit, len(expected.allvecs))


@each_with_h
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


@each_with_h
def test_the_default_device_is_not_asked(method: str) -> None:
    instance = rosenbrock()
    with torch.device("meta"):
        warm = method in WITH_H
        options = {"maxiter": 4} | ({"hess_inv0": np.eye(5)} if warm else {})
        optimizer = stepped(method, instance, options=options, warm_start=warm)
        optimizer.step(instance.closure(1))
    assert optimizer.res.nit == 4


@each_with_h
def test_lists_of_a_device_come_to_the_host(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimizer_module, "_device", lambda bridge: torch.device("cpu"))
    res = stepped(method, rosenbrock(), options={"return_all": True, "maxiter": 3}).res
    assert [type(x) for x in res.allvecs] == [np.ndarray] * 4


@each_with_h
def test_a_tolerance_that_nothing_meets_ends_where_the_gradient_is_zero(method: str) -> None:
    x = nn.Parameter(torch.tensor([3.0, -1.0], dtype=torch.float64))
    options = dict.fromkeys(ROWS[method.lower()].tolerances, -1.0)
    optimizer = MinimizeWrapper([x], {"method": method, "options": options})
    optimizer.step(lambda: (x**2).sum())
    res = optimizer.res
    assert res.success
    assert res.nit < 100  # of 400; how many it takes hangs on roundings
    assert np.abs(res.x).max() < 1e-160


@each
def test_a_closure_that_gives_nan_from_some_day_on(method: str) -> None:
    instance, calls = rosenbrock(), []
    closure = instance.closure(1)

    def spoilt() -> Tensor:
        calls.append(instance.x)
        return closure() if len(calls) <= 5 else torch.tensor(math.nan)

    optimizer = MinimizeWrapper(instance.params, {"method": method})
    with pytest.warns(RuntimeWarning, match="a loss of nan"):
        optimizer.step(spoilt)
    res = optimizer.res
    assert not res.success
    assert res.fun == instance.fun(res.x)
    if ROWS[method.lower()].curvature:
        return  # it is run again at the iterate, for products
    assert res.status == 2
    assert res.nfev == res.njev == len(calls) - 1  # the last for the gradient at the end
    # It is not asked again where it gave a loss, however far it is stepped back.
    assert not any(np.array_equal(x, known) for x in calls[5:-1] for known in calls[:5])


@pytest.mark.parametrize("method", [*(row.name for row in ROWS.values()), "BFGS", "SLSQP"])
def test_local_searches_that_are_ended_count_their_own_evaluations(method: str) -> None:
    instance, calls = rosenbrock(), []
    closure = instance.closure(1)

    def counted() -> Tensor:
        calls.append(1)
        return closure()

    def stop(x: np.ndarray) -> None:
        raise StopIteration

    optimizer = BasinHoppingWrapper(
        instance.params, {"method": method, "callback": stop}, {"niter": 3, "rng": 0}
    )
    optimizer.step(counted)
    assert 0 <= len(calls) - optimizer.res.nfev <= 1  # once more for the gradient at the end
