"""What a closure may do and return, and what is refused."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import plain
import pytest
import torch
from instance import Instance
from methods import CAPPED, KINDS, arguments
from problems import himmelblau, matrix, rosenbrock
from torch import Tensor, nn

from pytorch_minimize.optim import MinimizeWrapper

REFUSED = (ValueError, TypeError, RuntimeError)


def run(instance: Instance, closure: Callable[[], Any], method: str = "BFGS") -> MinimizeWrapper:
    optimizer = MinimizeWrapper(instance.params, arguments(method, options=CAPPED.get(method, {})))
    optimizer.step(closure)
    return optimizer


def expected(instance: Instance, method: str = "BFGS") -> Any:
    return plain.minimize(instance.fun, instance.x0, jac=instance.jac, method=method)


@pytest.mark.parametrize("method", KINDS)
def test_a_float_may_be_returned(method: str) -> None:
    floats, tensors = himmelblau(), himmelblau()
    evaluate = floats.closure(1)
    by_float = run(floats, lambda: evaluate().item(), method)
    by_tensor = run(tensors, tensors.closure(1), method)
    assert np.array_equal(by_float.res.x, by_tensor.res.x)
    assert by_float.res.nfev == by_tensor.res.nfev


def test_a_float_comes_back_as_a_tensor() -> None:
    instance = himmelblau()
    optimizer = MinimizeWrapper(instance.params, {"method": "Powell"})
    loss = optimizer.step(lambda: instance.fun(instance.x))
    assert isinstance(loss, Tensor)
    assert loss.dim() == 0
    assert loss.item() == pytest.approx(0.0, abs=1e-8)


def test_a_model_may_be_compiled() -> None:
    """What torch.compile imports warns of torch's own code, at the first import in a process."""
    compiled = torch.compile(nn.Linear(2, 1))
    assert "torch._inductor.compile_fx" in sys.modules
    assert isinstance(compiled, torch._dynamo.OptimizedModule)


@pytest.mark.parametrize("kind", [int, np.float64, np.float32])
def test_gradient_free_methods_take_any_real_number(kind: type) -> None:
    x = nn.Parameter(torch.tensor([5.3, -4.2], dtype=torch.float64))
    optimizer = MinimizeWrapper([x], {"method": "Nelder-Mead"})
    optimizer.step(lambda: kind(10 * float(x.detach().abs().sum())))
    assert optimizer.res.fun == kind(10 * np.abs(optimizer.res.x).sum())
    assert x.detach().abs().sum() < 9.5


def test_a_detached_loss_may_be_returned_after_backward() -> None:
    instance = rosenbrock()
    evaluate = instance.closure(1)
    assert run(instance, lambda: evaluate().detach()).res.nfev == expected(instance).nfev


@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("form", [1, 2])
@pytest.mark.parametrize("method", ["L-BFGS-B", "Powell"])
def test_step_without_grad_mode(method: str, form: int, guard: Any) -> None:
    instance, other = rosenbrock(), rosenbrock()
    optimizer = MinimizeWrapper(instance.params, arguments(method, options=CAPPED.get(method, {})))
    modes = []

    def closure() -> Tensor:
        modes.append((torch.is_grad_enabled(), torch.is_inference_mode_enabled()))
        return evaluate()

    evaluate = instance.closure(form)
    with guard():
        loss = optimizer.step(closure)
        assert not torch.is_grad_enabled()
    assert set(modes) == {(True, False)}
    assert loss.item() < 1e-3
    assert np.array_equal(optimizer.res.x, run(other, other.closure(form), method).res.x)
    # The parameters must still be ordinary leaves.
    assert all(p.is_leaf and p.requires_grad and not p.is_inference() for p in instance.params)
    instance.closure(1)()


def test_a_closure_may_leave_grad_mode_off() -> None:
    """As one does that evaluates on other data at its end, and forgets."""
    instance = himmelblau()

    def closure() -> Tensor:
        loss = instance.closure(2)()
        torch.set_grad_enabled(False)
        return loss

    assert run(instance, closure).res.nfev == expected(himmelblau()).nfev
    assert torch.is_grad_enabled()


def test_grad_mode_is_as_before_after_an_exception() -> None:
    optimizer = MinimizeWrapper(rosenbrock().params, {"method": "BFGS"})
    with torch.no_grad():
        with pytest.raises(ZeroDivisionError):
            optimizer.step(lambda: 1 / 0)
        assert not torch.is_grad_enabled()


@pytest.mark.parametrize("method", ["L-BFGS-B", "SLSQP", "trust-ncg"])
def test_a_closure_need_not_zero_gradients(method: str) -> None:
    instance, clean = rosenbrock(), rosenbrock()

    def closure() -> Tensor:
        loss = instance.loss(instance.params)
        loss.backward()
        return loss

    for p in instance.params:
        p.grad = torch.full_like(p, 1e3)
    assert np.array_equal(
        run(instance, closure, method).res.x, run(clean, clean.closure(1), method).res.x
    )
    assert np.array_equal(instance.grad, instance.jac(instance.x))


@pytest.mark.parametrize("method", ["L-BFGS-B", "trust-ncg"])
def test_old_gradients_do_not_leak_into_form_2(method: str) -> None:
    instance, clean = rosenbrock(), rosenbrock()
    for p in instance.params:
        p.grad = torch.full_like(p, 1e3)
    ours = run(instance, instance.closure(2), method)
    assert np.array_equal(ours.res.x, run(clean, clean.closure(2), method).res.x)


@pytest.mark.parametrize("form", [1, 2])
def test_a_parameter_that_drops_out_has_a_zero_gradient(form: int) -> None:
    """b counts at some points only; its gradient from before must not stay in force."""
    a = nn.Parameter(torch.tensor(2.0, dtype=torch.float64))
    b = nn.Parameter(torch.tensor(1.0, dtype=torch.float64))

    def loss_of(a: Tensor, b: Tensor) -> Tensor:
        loss = (a - 1) ** 2
        return loss + (b - a) ** 2 if a > 1.5 else loss

    def closure() -> Tensor:
        loss = loss_of(a, b)
        if form == 1:
            loss.backward()
        return loss

    twin = Instance([a.detach().clone(), b.detach().clone()], lambda ab: loss_of(*ab))

    def jac(x: np.ndarray) -> np.ndarray:
        leaves = [torch.tensor(v, requires_grad=True) for v in x]
        grads = torch.autograd.grad(loss_of(*leaves), leaves, allow_unused=True)
        return np.array([0.0 if g is None else g.item() for g in grads])

    scipys = plain.minimize(twin.fun, twin.x0, jac=jac, method="BFGS")
    optimizer = MinimizeWrapper([a, b], {"method": "BFGS"})
    optimizer.step(closure)
    assert np.array_equal(optimizer.res.x, scipys.x)
    assert np.array_equal(optimizer.res.jac, scipys.jac)


def test_micro_batches_accumulate() -> None:
    whole, batched = matrix(), matrix()
    batches = [0.125, 0.25, 0.625]

    def closure() -> float:
        total = 0.0
        for share in batches:
            part = share * batched.loss(batched.params)
            part.backward()
            total += part.item()
        return total

    ours, reference = run(batched, closure), run(whole, whole.closure(1))
    np.testing.assert_allclose(ours.res.x, reference.res.x, rtol=1e-8)
    assert ours.res.nit == reference.res.nit


REFUSALS: dict[str, tuple[Callable[[Instance], Any], str]] = {
    "vector": (lambda i: torch.stack([p.sum() for p in i.params]), r"scalar.*3|3.*scalar"),
    "complex": (lambda i: i.loss(i.params) * 1j, "complex"),
    "no graph": (lambda i: i.loss(i.params).detach(), "graph|backward|grad"),
    "float without backward": (lambda i: i.fun(i.x), "graph|backward|grad"),
    "nothing": (lambda i: None, "None"),
    "text": (lambda i: "1.0", "str"),
}


@pytest.mark.parametrize("method", ["TNC", "SLSQP", "trust-exact"])
@pytest.mark.parametrize("case", REFUSALS)
def test_refused_losses(case: str, method: str) -> None:
    make, message = REFUSALS[case]
    instance = rosenbrock()
    optimizer = MinimizeWrapper(instance.params, {"method": method})
    with pytest.raises(REFUSED, match=message):
        optimizer.step(lambda: make(instance))
    assert np.array_equal(instance.x, instance.x0)
    optimizer.step(instance.closure(1))
    assert optimizer.res.success


@pytest.mark.parametrize("method", ["Nelder-Mead", "COBYLA"])
@pytest.mark.parametrize("case", ["vector", "complex", "nothing", "text"])
def test_refused_losses_without_gradient(case: str, method: str) -> None:
    make, message = REFUSALS[case]
    instance = rosenbrock()
    optimizer = MinimizeWrapper(instance.params, {"method": method})
    with pytest.raises(REFUSED, match=message):
        optimizer.step(lambda: make(instance))
    assert np.array_equal(instance.x, instance.x0)


def test_a_nested_step_is_refused() -> None:
    instance = himmelblau()
    optimizer = MinimizeWrapper(instance.params, {"method": "BFGS"})

    def closure() -> Tensor:
        return optimizer.step(instance.closure(1))

    with pytest.raises(RuntimeError, match="closure"):
        optimizer.step(closure)
    assert np.array_equal(instance.x, instance.x0)
    assert optimizer.step(instance.closure(1)).item() < 1e-8


def test_another_optimizer_may_step_inside_the_closure() -> None:
    """Bilevel: the inner variable is always at its optimum, here y = x / 2."""
    x = nn.Parameter(torch.tensor(3.0, dtype=torch.float64))
    y = nn.Parameter(torch.tensor(0.0, dtype=torch.float64))
    inner = MinimizeWrapper([y], {"method": "BFGS"})
    outer = MinimizeWrapper([x], {"method": "Powell"})

    def closure() -> float:
        inner.step(lambda: (y - x.detach() / 2) ** 2)
        return float((x.detach() - 1) ** 2 + y.detach() ** 2)

    outer.step(closure)
    assert x.item() == pytest.approx(0.8, abs=1e-4)
