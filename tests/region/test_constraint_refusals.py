"""Constraints that are refused, or taken with a warning, and what is said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from batches import raising_in_a_batch
from constrained import HS71
from methods import EQUALITIES
from torch import Tensor, nn

from pytorch_minimize.closure.explain import OUT_OF_MEANS
from pytorch_minimize.optim import ClosureConstraint, MinimizeWrapper
from pytorch_minimize.scipy_minimize.methods import METHODS

CONSTRAINED = [row.name for row in METHODS.values() if row.constraints]
OTHERS = [row.name for row in METHODS.values() if not row.constraints]


def parameter() -> nn.Parameter:
    return nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((3.0,), TypeError, "expected fun to be a callable"),
        ((parameter,), ValueError, "expected a finite limit"),
        ((parameter, 2.0, 1.0), ValueError, "expected lb <= ub"),
        ((parameter, np.inf, None), ValueError, "expected lb <= ub"),
        ((parameter, np.nan, None), ValueError, "lb"),
        ((parameter, "low", None), TypeError, "lb"),
        ((parameter, np.zeros(2), np.ones(3)), ValueError, r"shapes \(2,\) and \(3,\)"),
    ],
)
def test_statements(arguments: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ClosureConstraint(*arguments)


@pytest.mark.parametrize("given", [3.0, [parameter], [{"type": "eq"}]])
def test_what_is_no_constraint(given: Any) -> None:
    with pytest.raises(TypeError, match=r"constraints|not iterable"):
        MinimizeWrapper([parameter()], {"method": "SLSQP", "constraints": given})


@pytest.mark.parametrize("method", OTHERS)
def test_methods_without_constraints(method: str) -> None:
    stated = ClosureConstraint(parameter, 0.0)
    with pytest.raises(ValueError, match=f"{method}.*constraints|constraints.*{method}"):
        MinimizeWrapper([parameter()], {"method": method, "constraints": stated})


@pytest.mark.parametrize(
    ("fun", "error", "message"),
    [
        (lambda w: 1.0, TypeError, "constraint 0: expected fun to return a real floating-point"),
        (lambda w: w.to(torch.complex128), TypeError, "got a tensor of torch.complex128"),
        (lambda w: w[:0], TypeError, "at least one element"),
        (lambda w: w.detach(), RuntimeError, "carries no graph"),
        (lambda w: w.repeat(2), ValueError, r"expected lb to broadcast to the shape \(4,\)"),
    ],
)
def test_what_fun_returns(
    fun: Callable[[Tensor], Any], error: type[Exception], message: str
) -> None:
    w = parameter()
    stated = ClosureConstraint(lambda: fun(w), np.zeros(2), 1.0)
    optimizer = MinimizeWrapper([w], {"method": "SLSQP", "constraints": stated})
    with pytest.raises(error, match=message):
        optimizer.step(lambda: w.square().sum())
    assert w.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("method", CONSTRAINED)
def test_a_shape_that_changes(method: str) -> None:
    w, shapes = parameter(), iter([2] + [1] * 100)
    stated = ClosureConstraint(lambda: w[: next(shapes)], 0.5)
    optimizer = MinimizeWrapper([w], {"method": method, "constraints": stated})
    with pytest.raises(ValueError, match="the same shape every time"):
        optimizer.step(lambda: w.square().sum())


@pytest.mark.parametrize("method", ["COBYLA", "COBYQA"])
def test_gradient_free_methods_need_no_graph(method: str) -> None:
    w = parameter()
    stated = ClosureConstraint(lambda: w.detach(), 0.5)
    MinimizeWrapper([w], {"method": method, "constraints": stated}).step(lambda: w.square().sum())
    assert torch.allclose(w.detach(), torch.full((2,), 0.5, dtype=torch.float64), atol=1e-3)


class Unbatched(torch.autograd.Function):
    """x -> 2x, which torch cannot batch."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return torch.tensor(2 * grads[0].numpy())


def test_a_jacobian_row_by_row_is_told_once() -> None:
    w = nn.Parameter(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))

    def doubled() -> Tensor:
        product: Tensor = Unbatched.apply(w)  # type: ignore[no-untyped-call]
        return product

    optimizer = MinimizeWrapper(
        [w], {"method": "SLSQP", "constraints": ClosureConstraint(doubled, 1.0)}
    )
    with pytest.warns(RuntimeWarning, match="constraint 0 is computed one row at a time") as told:
        optimizer.step(lambda: w.square().sum())
    assert len(told) == 1
    assert torch.allclose(w.detach(), torch.full((3,), 0.5, dtype=torch.float64))


@pytest.mark.parametrize("error", OUT_OF_MEANS)
def test_a_jacobian_without_memory_is_not_tried_row_by_row(error: type[Exception]) -> None:
    w = nn.Parameter(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))

    def squares() -> Tensor:
        squared = w.square()
        squared.register_hook(raising_in_a_batch(error))
        return squared * 1.0

    optimizer = MinimizeWrapper(
        [w], {"method": "SLSQP", "constraints": ClosureConstraint(squares, 1.0)}
    )
    with pytest.raises(error, match="no more"):
        optimizer.step(lambda: w.square().sum())


@pytest.mark.parametrize("method", EQUALITIES)
def test_float32(method: str) -> None:
    tensors = [nn.Parameter(torch.tensor(part)) for part in HS71.start]
    keywords: dict[str, Any] = {"method": method, "bounds": [HS71.bounds] * 4}
    stated = ClosureConstraint(
        lambda: torch.stack(list(HS71.constraints(tensors[0].flatten().unbind()))),
        HS71.lb,
        HS71.ub,
    )
    optimizer = MinimizeWrapper(tensors, keywords | {"constraints": stated})
    optimizer.step(lambda: HS71.loss(tensors[0].flatten().unbind()))
    assert optimizer.res.fun == pytest.approx(HS71.minimum, rel=1e-3)


@pytest.mark.parametrize("method", ["SLSQP", "trust-constr"])
def test_a_constraint_on_other_parameters(method: str) -> None:
    w, other = parameter(), parameter()
    stated = ClosureConstraint(lambda: other.sum(), 1.0)
    optimizer = MinimizeWrapper([w], {"method": method, "constraints": stated})
    with pytest.raises(RuntimeError, match=r"constraint 0: .*depends on none of the parameters"):
        optimizer.step(lambda: w.square().sum())
    assert w.tolist() == [1.0, 2.0]


def test_a_constraint_may_be_flat() -> None:
    w = parameter()
    flat = ClosureConstraint(lambda: 0 * w, None, 1.0)
    optimizer = MinimizeWrapper([w], {"method": "SLSQP", "constraints": flat})
    optimizer.step(lambda: w.square().sum())
    assert optimizer.res.success
