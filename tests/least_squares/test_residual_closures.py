"""What closures of residuals may return, and what is refused; terms and their weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from residual_cases import decay
from torch import Tensor, nn

from pytorch_minimize.least_squares.methods import METHODS
from pytorch_minimize.optim import ClosureResiduals, LeastSquaresWrapper

each = pytest.mark.parametrize("method", METHODS)


def parameter() -> nn.Parameter:
    return nn.Parameter(torch.tensor([3.0, 1.0], dtype=torch.float64))


@pytest.mark.parametrize(
    "shaped",
    [
        lambda r: r.reshape(2, 1, 3),
        lambda r: [r[:2], r[2:]],
        lambda r: (r[0], r[1:].reshape(5, 1)),
        lambda r: r.reshape(2, 3).T.contiguous().T,
    ],
)
@each
def test_one_tensor_of_any_shape_or_several(method: str, shaped: Any) -> None:
    weights = torch.arange(1.0, 7.0, dtype=torch.float64)
    runs = []
    for form in (lambda r: r, shaped):
        x = parameter()
        optimizer = LeastSquaresWrapper([x], {"method": method})

        def closure(x: nn.Parameter = x, form: Any = form) -> Any:
            return form(torch.cat([x**2 - 1, x + 1, x**3]) * weights)

        optimizer.step(closure)
        runs.append(optimizer.res)
    assert runs[0].fun.shape == (6,)
    assert np.allclose(runs[0].x, runs[1].x, rtol=1e-12)
    assert np.allclose(runs[0].fun, runs[1].fun, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("returned", "error", "match"),
    [
        (lambda x: None, TypeError, "Does it end with 'return residuals'"),
        (lambda x: 1.5, TypeError, "a tensor or a list of tensors, got 1.5"),
        (lambda x: [x, 2.0], TypeError, "a tensor or a list of tensors"),
        (lambda x: x * 1j, TypeError, "real residuals, got a tensor of torch.complex128"),
        (lambda x: x.long(), TypeError, "floating dtype, got a tensor of torch.int64"),
        (lambda x: x[:0], ValueError, "at least one residual"),
        (lambda x: [], ValueError, "at least one residual"),
        (lambda x: x.detach(), RuntimeError, "require(s)? no grad|require no"),
        (lambda x: torch.ones(2, requires_grad=True) * 2, RuntimeError, "none of the parameters"),
    ],
)
@each
def test_what_is_no_residuals_is_refused(
    method: str, returned: Any, error: type[Exception], match: str
) -> None:
    x = parameter()
    before = x.detach().clone()
    with pytest.raises(error, match=match):
        LeastSquaresWrapper([x], {"method": method}).step(lambda: returned(x))
    assert torch.equal(x.detach(), before)


@each
def test_a_count_that_changes_is_refused(method: str) -> None:
    x, calls = parameter(), []

    def closure() -> Tensor:
        calls.append(1)
        return torch.cat([x**2 - 1] * (2 if len(calls) < 3 else 3))

    with pytest.raises(ValueError, match="4 as at the start, got 6"):
        LeastSquaresWrapper([x], {"method": method}).step(closure)


@each
def test_one_number_is_asked_whether_it_is_a_loss(method: str) -> None:
    x = nn.Parameter(torch.full((1,), 3.0, dtype=torch.float64))  # lm: no more than residuals
    optimizer = LeastSquaresWrapper([x], {"method": method}, max_evaluations=2)
    with pytest.warns(UserWarning, match="one number, which is squared"):
        optimizer.step(lambda: (x**2 - 1).sum())
    optimizer.step(lambda: [(x**2 - 1).sum()])


@each
def test_a_closure_that_calls_backward_is_refused(method: str) -> None:
    x = parameter()

    def closure() -> Tensor:
        residuals = x**2 - 1
        residuals.square().sum().backward(retain_graph=True)
        return residuals

    with pytest.raises(RuntimeError, match="called backward"):
        LeastSquaresWrapper([x], {"method": method}).step(closure)


@each
def test_a_number_that_is_not_finite_stands_for_residuals(method: str) -> None:
    case = decay()

    def closure() -> Any:
        case()
        return float("nan") if len(case.seen) == 2 else case.residuals(case.params)

    optimizer = LeastSquaresWrapper(case.params, {"method": method})
    with pytest.warns(RuntimeWarning, match="a loss of nan"):
        optimizer.step(closure)
    assert optimizer.res.nonfinite == 1
    assert np.allclose(optimizer.res.x, decay().scipys().x, rtol=1e-2)


def test_differences_need_no_graph() -> None:
    x = parameter()
    optimizer = LeastSquaresWrapper([x], {"jac": "2-point"})
    optimizer.step(lambda: x.detach() ** 2 - 4.0)
    assert np.allclose(optimizer.res.x, 2.0, rtol=1e-5)


def test_terms_with_weights_are_products() -> None:
    x, sigma = parameter(), torch.tensor([0.5, 2.0], dtype=torch.float64)
    closure = ClosureResiduals(
        {"data": lambda: x**2 - 2.0, "prior": lambda: x.sum(), "free": lambda: x - 1},
        weights={"data": 1 / sigma, "prior": 0.3},
    )
    optimizer = LeastSquaresWrapper([x])
    optimizer.step(closure)
    y = parameter()
    plain = LeastSquaresWrapper([y])
    plain.step(lambda: [(y**2 - 2.0) / sigma, 0.3 * y.sum(), y - 1])
    assert np.allclose(optimizer.res.x, plain.res.x, rtol=1e-12)
    assert closure.places == {"data": slice(0, 2), "prior": slice(2, 3), "free": slice(3, 5)}
    assert np.allclose(optimizer.res.fun[closure.places["prior"]], 0.3 * x.sum().item())


def test_terms_in_a_list() -> None:
    x = parameter()
    closure = ClosureResiduals([lambda: x, lambda: x[0]], weights=[2.0, 3.0])
    assert closure().tolist() == [6.0, 2.0, 9.0]
    assert closure.places == {0: slice(0, 2), 1: slice(2, 3)}


@pytest.mark.parametrize(
    ("terms", "weights", "error", "match"),
    [
        (lambda: None, None, TypeError, "got a function alone"),
        ([], None, ValueError, "at least one function"),
        ([1.0], None, TypeError, "functions without arguments, got 1.0 as 0"),
        ([lambda: None], [1.0, 2.0], ValueError, "one for each of the 1 terms, got 2"),
        ({"a": lambda: None}, [1.0], ValueError, "a dict by the terms' names"),
        ({"a": lambda: None}, {"b": 1.0}, ValueError, r"the terms are a, got weights of \['b'\]"),
    ],
)
def test_terms_that_do_not_fit_are_refused(
    terms: Any, weights: Any, error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        ClosureResiduals(terms, weights)


def test_a_term_that_is_no_tensor_and_a_weight_that_does_not_broadcast() -> None:
    x = parameter()
    with pytest.raises(TypeError, match="term a: expected residuals as a tensor, got float"):
        ClosureResiduals({"a": lambda: 1.0})()  # type: ignore[dict-item, return-value]
    with pytest.raises(ValueError, match="expected that of term 0 to broadcast"):
        ClosureResiduals([lambda: x], weights=[torch.ones(3, 1)])()
