"""minimizer_args: names, keywords and options; what is translated and what is refused."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import numpy as np
import plain
import pytest
import scipy.optimize
import torch
from instance import Array
from methods import CAPPED, GRADIENT_FREE, LOCAL, arguments
from problems import himmelblau, rosenbrock
from scipy.optimize import _cobyla_py, _cobyqa_py, _lbfgsb_py, _optimize, _slsqp_py, _tnc
from torch import nn

from pytorch_minimize.optim import MinimizeWrapper
from pytorch_minimize.scipy_minimize.methods import METHODS, find_method


def result(minimizer_args: dict[str, Any]) -> Any:
    instance = rosenbrock()
    optimizer = MinimizeWrapper(instance.params, minimizer_args)
    optimizer.step(instance.closure(1))
    return optimizer.res


def test_names_in_any_case() -> None:
    for name in (row.name for row in METHODS.values()):
        assert find_method(name.lower()) is find_method(name.swapcase()) is find_method(name)
    assert_equal(result({"method": "l-bfgs-b"}), result({"method": "L-BFGS-B"}))


def assert_equal(ours: Any, other: Any) -> None:
    assert np.array_equal(ours.x, other.x)
    assert ours.nfev == other.nfev


def test_unknown_methods_are_refused_with_the_list() -> None:
    with pytest.raises(ValueError, match="Nesterov") as caught:
        MinimizeWrapper(rosenbrock().params, {"method": "Nesterov"})
    assert all(method in str(caught.value) for method in LOCAL)


def test_a_method_that_is_no_name_is_refused() -> None:
    with pytest.raises((TypeError, ValueError), match="method"):
        MinimizeWrapper(rosenbrock().params, {"method": 3})


@pytest.mark.parametrize("keyword", ["maxiter", "lr", "gtol"])
def test_unknown_keywords_are_refused_with_the_list(keyword: str) -> None:
    with pytest.raises((TypeError, ValueError), match=keyword) as caught:
        MinimizeWrapper(rosenbrock().params, {"method": "BFGS", keyword: 1})
    for known in ("method", "jac", "tol", "options", "bounds", "constraints", "callback"):
        assert known in str(caught.value)


@pytest.mark.parametrize("keyword", ["fun", "x0"])
def test_what_step_itself_gives_scipy_is_refused(keyword: str) -> None:
    with pytest.raises((TypeError, ValueError), match=keyword):
        MinimizeWrapper(rosenbrock().params, {"method": "BFGS", keyword: 1})


def test_unknown_constructor_keywords_are_refused() -> None:
    with pytest.raises(TypeError):
        MinimizeWrapper(rosenbrock().params, {"method": "BFGS"}, gtol=1e-3)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("nonfinite", "ignore"), ("blas_threads", 0), ("curvature", "guess")],
)
def test_bad_constructor_values_are_refused(keyword: str, value: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=keyword):
        MinimizeWrapper(rosenbrock().params, {"method": "BFGS"}, **{keyword: value})


def test_minimizer_args_must_be_a_mapping() -> None:
    with pytest.raises((TypeError, ValueError), match="minimizer_args"):
        MinimizeWrapper(rosenbrock().params, "BFGS")  # type: ignore[arg-type]


def test_unknown_options_are_refused_by_name() -> None:
    for method in LOCAL:
        options = {"learning_rate": 0.1, "disp": False}
        with pytest.raises(ValueError, match="learning_rate") as caught:
            MinimizeWrapper(rosenbrock().params, arguments(method, options=options))
        assert method in str(caught.value)


SIGNATURES = {
    "Nelder-Mead": _optimize._minimize_neldermead,
    "Powell": _optimize._minimize_powell,
    "CG": _optimize._minimize_cg,
    "BFGS": _optimize._minimize_bfgs,
    "L-BFGS-B": _lbfgsb_py._minimize_lbfgsb,
    "TNC": _tnc._minimize_tnc,
    "SLSQP": _slsqp_py._minimize_slsqp,
    "COBYLA": _cobyla_py._minimize_cobyla,
    "COBYQA": _cobyqa_py._minimize_cobyqa,
}
NOT_OPTIONS = {"func", "fun", "x0", "args", "jac", "callback", "bounds", "constraints", "tol",
               "iprint", "unknown_options"}  # fmt: skip


def test_every_option_of_scipy_is_known() -> None:
    for method in LOCAL:
        names = inspect.signature(SIGNATURES[method]).parameters.keys() - NOT_OPTIONS
        assert len(names) > 3
        for name in names:
            MinimizeWrapper(rosenbrock().params, arguments(method, options={name: None}))


# (method, what the user wrote, what scipy calls it)
ALIASES = [
    ("L-BFGS-B", {"maxfev": 6}, {"maxfun": 6}),
    ("TNC", {"maxfev": 6}, {"maxfun": 6}),
    ("Nelder-Mead", {"maxfun": 40}, {"maxfev": 40}),
    ("Powell", {"maxfun": 90}, {"maxfev": 90}),
    ("COBYQA", {"maxfun": 30}, {"maxfev": 30}),
]


@pytest.mark.parametrize(("method", "ours", "scipys"), ALIASES)
def test_exact_counterparts_are_translated(
    method: str, ours: dict[str, Any], scipys: dict[str, Any]
) -> None:
    assert_equal(result(arguments(method, options=ours)), result(arguments(method, options=scipys)))
    assert result(arguments(method, options=ours)).nfev < result(arguments(method)).nfev


@pytest.mark.parametrize(
    ("method", "option"),
    [("BFGS", "maxfun"), ("CG", "maxfev"), ("SLSQP", "maxfun"), ("BFGS", "maxcor")],
)
def test_options_without_a_counterpart_are_refused(method: str, option: str) -> None:
    with pytest.raises(ValueError, match=option):
        MinimizeWrapper(rosenbrock().params, arguments(method, options={option: 5}))


def test_a_name_and_its_alias_together_are_refused() -> None:
    with pytest.raises(ValueError, match="maxfev"):
        MinimizeWrapper(rosenbrock().params, arguments("TNC", options={"maxfun": 5, "maxfev": 6}))


@pytest.mark.parametrize("maxiter", [1, 8])
def test_tnc_takes_maxiter(maxiter: int) -> None:
    instance = rosenbrock()
    optimizer = MinimizeWrapper(instance.params, {"method": "TNC", "options": {"maxiter": maxiter}})
    loss = optimizer.step(instance.closure(1))
    assert 0 < optimizer.res.nit <= maxiter
    assert not optimizer.res.success
    assert np.array_equal(instance.x, optimizer.res.x)
    assert loss.item() == optimizer.res.fun < instance.fun(instance.x0)


def test_tnc_with_room_to_spare_goes_its_own_way() -> None:
    assert_equal(result(arguments("TNC", options={"maxiter": 1000})), result(arguments("TNC")))


@pytest.mark.parametrize(("method", "jac"), [("BFGS", True), ("Nelder-Mead", False)])
def test_jac_may_be_said_or_absent(method: str, jac: bool) -> None:
    options = CAPPED.get(method, {})
    assert_equal(
        result(arguments(method, jac=jac, options=options)),
        result(arguments(method, options=options)),
    )


def test_jac_true_is_refused_without_a_use_for_it() -> None:
    for method in GRADIENT_FREE:
        with pytest.raises(ValueError, match=f"jac.*{method}|{method}.*jac"):
            MinimizeWrapper(rosenbrock().params, arguments(method, jac=True))


def test_no_wish_for_a_gradient_means_no_backward() -> None:
    instance = himmelblau()
    optimizer = MinimizeWrapper(instance.params, {"method": "BFGS", "jac": False})
    optimizer.step(lambda: instance.fun(instance.x))
    assert optimizer.res.fun < 1e-8


@pytest.mark.parametrize("method", ["TNC", "L-BFGS-B", "COBYLA", "Powell"])
def test_the_callers_dict_is_not_changed(method: str) -> None:
    alias = {"TNC": "maxiter", "L-BFGS-B": "maxfev"}.get(method, "maxiter")
    options = {"disp": False, alias: 9}
    given = {"method": method.lower(), "options": options, "tol": 1e-3, "callback": None}
    kept = copy.deepcopy(given)
    optimizer = MinimizeWrapper(rosenbrock().params, given)
    assert given == kept
    instance = rosenbrock()
    optimizer = MinimizeWrapper(instance.params, given)
    optimizer.step(instance.closure(1))
    assert given == kept
    assert given["options"] is options


def steepest_descent(fun: Any, x0: Array, args: tuple[Any, ...] = (), **kwargs: Any) -> Any:
    """A solver of the user's own, with the signature that scipy documents."""
    x, jac = x0, kwargs["jac"]
    for _ in range(kwargs["maxiter"]):
        x = x - kwargs["rate"] * jac(x, *args)
    return scipy.optimize.OptimizeResult(
        x=x, fun=fun(x, *args), nit=kwargs["maxiter"], success=True
    )


def test_a_callable_method() -> None:
    instance, twin = himmelblau(), himmelblau()
    options = {"maxiter": 50, "rate": 0.01}
    optimizer = MinimizeWrapper(instance.params, {"method": steepest_descent, "options": options})
    optimizer.step(instance.closure(2))
    scipys = plain.minimize(
        twin.fun, twin.x0, jac=twin.jac, method=steepest_descent, options=options
    )
    assert np.array_equal(optimizer.res.x, scipys.x)
    assert np.array_equal(instance.x, optimizer.res.x)
    assert optimizer.res.fun == scipys.fun < 1e-3
    assert "steepest_descent" in repr(optimizer)


@pytest.mark.parametrize(
    "args", [np.array([1.0, 2.0]), torch.ones(2), 0, None, [], False, "", (), 3]
)
def test_args_that_are_no_tuple_are_the_only_one(args: Any) -> None:
    """As scipy takes them, whatever their truth value is."""
    x, given = nn.Parameter(torch.tensor([3.0, -1.0], dtype=torch.float64)), []

    def hessp(x: Any, v: Any, *more: Any) -> Any:
        given.append(more)
        return 2.0 * v

    for method, keywords in (("BFGS", {}), ("trust-ncg", {"hessp": hessp})):
        with torch.no_grad():
            x.fill_(3.0)
        optimizer = MinimizeWrapper([x], {"method": method, "args": args, **keywords})
        optimizer.step(lambda: x.square().sum())
        assert optimizer.res.success
    assert all(len(more) == (0 if isinstance(args, tuple) else 1) for more in given)
    assert all(more[0] is args for more in given if more)
