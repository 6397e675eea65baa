"""MinimizeWrapper keeps the contract of torch.optim.Optimizer."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any, cast

import numpy as np
import pytest
import torch
from instance import Instance
from problems import himmelblau, rosenbrock
from scipy.optimize import OptimizeResult
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from pytorch_minimize.optim import MinimizeWrapper


def make(instance: Instance, **more: Any) -> MinimizeWrapper:
    return MinimizeWrapper(instance.params, {"method": "BFGS"} | more)


def test_is_an_optimizer_with_param_groups() -> None:
    instance = rosenbrock()
    optimizer = make(instance)
    assert isinstance(optimizer, torch.optim.Optimizer)
    (group,) = optimizer.param_groups
    assert all(a is b for a, b in zip(group["params"], instance.params, strict=True))


@pytest.mark.parametrize("set_to_none", [True, False])
def test_zero_grad(set_to_none: bool) -> None:
    instance = rosenbrock()
    optimizer = make(instance)
    instance.closure(1)()
    optimizer.zero_grad(set_to_none=set_to_none)
    if set_to_none:
        assert all(p.grad is None for p in instance.params)
    else:
        assert not instance.grad.any()


def test_step_needs_a_closure() -> None:
    optimizer = make(rosenbrock())
    with pytest.raises((TypeError, ValueError, RuntimeError), match="closure"):
        optimizer.step()  # type: ignore[call-arg]
    with pytest.raises((TypeError, ValueError, RuntimeError), match="closure"):
        optimizer.step(None)  # type: ignore[arg-type]


def test_the_closure_may_be_named() -> None:
    instance = himmelblau()
    assert make(instance).step(closure=instance.closure(1)).item() < 1e-8


def test_step_hooks_run_once_a_step() -> None:
    instance = himmelblau()
    optimizer = make(instance)
    events: list[str] = []
    optimizer.register_step_pre_hook(lambda *_: events.append("before"))
    optimizer.register_step_post_hook(lambda *_: events.append("after"))
    everywhere = register_optimizer_step_post_hook(lambda *_: events.append("everywhere"))
    try:
        optimizer.step(instance.closure(1))
    finally:
        everywhere.remove()
    assert sorted(events) == ["after", "before", "everywhere"]
    assert events[0] == "before"


def test_repr_names_class_and_method() -> None:
    text = repr(make(rosenbrock()))
    assert "MinimizeWrapper" in text
    assert "BFGS" in text


def test_state_dict_round_trip() -> None:
    first, second = rosenbrock(), rosenbrock()
    source, target = make(first), make(second)
    source.step(first.closure(1))
    stored = io.BytesIO()
    torch.save(source.state_dict(), stored)
    stored.seek(0)
    # torch.load unpickles nothing but tensors and plain containers unless told to.
    target.load_state_dict(torch.load(stored))
    target.load_best()
    assert np.array_equal(first.x, second.x)


def test_state_dict_hooks_see_all_of_a_state() -> None:
    first, second = rosenbrock(), rosenbrock()
    source, target = make(first), make(second)
    source.step(first.closure(1))
    events: list[Any] = []

    def improve(_: Any, state: dict[str, Any]) -> dict[str, Any]:
        return state | {"run": state["run"] | {"loss": 0.5}}

    def saved(_: Any, state: dict[str, Any]) -> None:
        events.append(state["run"]["loss"])

    source.register_state_dict_post_hook(saved)
    target.register_load_state_dict_pre_hook(improve)
    target.register_load_state_dict_post_hook(lambda _: events.append(len(target.history)))
    target.load_state_dict(source.state_dict())
    assert events == [first.fun(first.x), len(source.history)]
    assert target.state_dict()["run"]["loss"] == 0.5


def test_state_dict_of_other_groups_is_refused() -> None:
    with pytest.raises(ValueError, match="parameter group"):
        make(rosenbrock()).load_state_dict(make(himmelblau()).state_dict())


def rosenbrock_of(optimizer: MinimizeWrapper) -> Tensor:
    params = optimizer.param_groups[0]["params"]
    return rosenbrock().loss(params)


@pytest.mark.parametrize("stepped", [False, True])
@pytest.mark.parametrize("how", ["pickle", "deepcopy"])
def test_copies_keep_their_configuration(how: str, stepped: bool) -> None:
    def duplicate(optimizer: MinimizeWrapper) -> MinimizeWrapper:
        if how == "deepcopy":
            return copy.deepcopy(optimizer)
        return cast(MinimizeWrapper, pickle.loads(pickle.dumps(optimizer)))

    instance = rosenbrock()
    options = {"maxiter": 5}
    original = MinimizeWrapper(
        instance.params,
        {"method": "L-BFGS-B", "options": options},
        blas_threads=2,
        nonfinite="raise",
    )
    if stepped:
        original.step(lambda: rosenbrock_of(original))
    twin = duplicate(original)
    assert repr(twin) == repr(original)
    assert twin.param_groups[0]["params"][0] is not instance.params[0]

    before = instance.x
    twin.step(lambda: rosenbrock_of(twin))
    assert np.array_equal(instance.x, before)
    original.step(lambda: rosenbrock_of(original))
    assert np.array_equal(twin.res.x, original.res.x)
    assert twin.res.nit == original.res.nit <= 5
    with pytest.raises((ArithmeticError, RuntimeError, ValueError), match="finite"):
        twin.step(lambda: rosenbrock_of(twin) * float("nan"))


def test_a_model_and_its_optimizer_are_copied_together() -> None:
    model = nn.Linear(2, 1)
    optimizer = MinimizeWrapper(model.parameters(), {"method": "BFGS"})
    twin_model, twin = copy.deepcopy((model, optimizer))
    kept = model.weight.detach().clone()
    loss = twin.step(lambda: twin_model(torch.ones(1, 2)).square().sum())
    assert loss.item() < 1e-6
    assert torch.equal(model.weight, kept)


def test_steps_repeat() -> None:
    instance, whole = rosenbrock(), rosenbrock()
    optimizer = make(instance, options={"maxiter": 4})
    losses = [optimizer.step(instance.closure(1)).item() for _ in range(4)]
    assert losses == sorted(losses, reverse=True)
    assert len(set(losses)) == 4
    assert losses[-1] < whole.fun(whole.x0)


def test_the_objective_may_change_between_steps() -> None:
    x = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    target = torch.ones(2, dtype=torch.float64)
    optimizer = MinimizeWrapper([x], {"method": "L-BFGS-B"})
    for goal in (1.0, -3.0):
        target.fill_(goal)
        loss = optimizer.step(lambda: (x - target).square().sum())
        torch.testing.assert_close(x.detach(), target)
        assert loss.item() < 1e-10


def test_adam_and_minimize_take_turns_on_one_model() -> None:
    instance = rosenbrock()
    adam = torch.optim.Adam(instance.params, lr=1e-2)
    optimizer = make(instance, options={"maxiter": 3})
    losses = []
    for _ in range(3):
        adam.step(instance.closure(1))
        losses.append(optimizer.step(instance.closure(1)).item())
    assert losses == sorted(losses, reverse=True)


def test_compat_names_for_existing_users() -> None:
    instance = rosenbrock()
    optimizer = make(instance)
    flat = optimizer.ravel_pack(instance.params)
    assert np.array_equal(np.asarray(flat), instance.x0)
    parts = optimizer.np_unravel_unpack(instance.x0 + 1)
    for part, p in zip(parts, instance.params, strict=True):
        assert part.shape == p.shape
        assert part.dtype == p.dtype
        assert torch.equal(part, p + 1)
    assert np.array_equal(instance.x, instance.x0)


def test_bridge_is_open_to_users() -> None:
    instance = rosenbrock()
    optimizer = make(instance)
    optimizer.step(instance.closure(1))
    assert np.array_equal(optimizer.bridge.flatten_params(), optimizer.res.x)
    assert np.array_equal(optimizer.bridge.flatten_grads(), instance.grad)
    optimizer.bridge.load_params(instance.x0)
    assert np.array_equal(instance.x, instance.x0)


def test_a_method_of_ones_own_may_pass_lists() -> None:
    param = torch.tensor([4.0, 4.0], dtype=torch.float64, requires_grad=True)

    def method(fun: Any, x0: Any, *, jac: Any, **_: Any) -> OptimizeResult:
        for x in ([3.0, 3.0], [1.0, 2.0]):
            assert fun(x) == x[0] ** 2 + x[1] ** 2
            assert jac(x).tolist() == jac(tuple(x)).tolist() == [2 * x[0], 2 * x[1]]
        return OptimizeResult(x=[1, 2], fun=5.0, success=True, status=0, message="", nit=1, nfev=2)

    MinimizeWrapper([param], {"method": method}).step(lambda: param.square().sum())
    assert param.tolist() == [1.0, 2.0]


def test_a_method_of_ones_own_may_write_into_its_x() -> None:
    """Note [points stay]: only scipy's methods are known to hand over copies."""
    param = torch.tensor([4.0, 4.0], dtype=torch.float64, requires_grad=True)
    values = [4.0, 1.0, 3.0, 2.0]

    def method(fun: Any, x0: Any, *, jac: Any, **_: Any) -> OptimizeResult:
        for value in values:
            x0[:] = value
            assert fun(x0) == 2 * value**2
            assert jac(x0).tolist() == [2 * value] * 2
        raise RuntimeError("no more")

    optimizer = MinimizeWrapper([param], {"method": method})
    with pytest.raises(RuntimeError, match="no more"):
        optimizer.step(lambda: param.square().sum())
    assert param.tolist() == [1.0, 1.0]
