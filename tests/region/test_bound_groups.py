"""What bounds per param group promise besides a bounded minimum, and what is refused."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from instance import flat_copy
from scipy.optimize import Bounds, OptimizeResult
from torch import Tensor, nn

from pytorch_minimize.optim import ClosureConstraint, MinimizeWrapper
from pytorch_minimize.region.bounds import flat_bounds

LOW_PRECISION = [torch.float32, torch.bfloat16, torch.float16]
LBFGSB = {"method": "L-BFGS-B"}


def parameter(*values: float, dtype: torch.dtype = torch.float64) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values, dtype=dtype))


def far_away(*params: Tensor) -> Tensor:
    """Least at 9 in every variable."""
    return sum(((p - 9).abs() ** 2).sum() for p in params)  # type: ignore[return-value]


@pytest.mark.parametrize("dtype", [*LOW_PRECISION, torch.float64])
@settings(max_examples=200, deadline=None)
@given(low=st.floats(-1e4, 1e4), width=st.floats(0, 10))
def test_bounds_are_rounded_to_the_inside(dtype: torch.dtype, low: float, width: float) -> None:
    high, p = low + width, torch.zeros(1, dtype=dtype)
    bounds = flat_bounds([(low, high)], [{"params": [p]}], [p])
    assert bounds is not None
    for limit in (bounds.lb, bounds.ub):
        assert torch.tensor(limit).to(dtype).double().numpy() == limit
    least, greatest = bounds.lb.item(), bounds.ub.item()
    if least == greatest and not low <= least <= high:
        assert torch.tensor(low, dtype=dtype) == torch.tensor(least, dtype=dtype)
        return
    assert low <= least <= greatest <= high
    below, above = (
        torch.nextafter(torch.tensor(x, dtype=dtype), torch.tensor(y, dtype=dtype)).item()
        for x, y in ((least, -torch.inf), (greatest, torch.inf))
    )
    assert below < low
    assert above > high


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rounded_parameters_stay_inside(dtype: torch.dtype) -> None:
    p, high = parameter(0.0, 0.0, 0.0, dtype=dtype), torch.tensor([0.1, 0.3, 0.7]).double()
    optimizer = MinimizeWrapper([{"params": [p], "bounds": (-1.0, high)}], LBFGSB)

    def closure() -> Tensor:
        assert (p.double() <= high).all()
        return far_away(p)

    optimizer.step(closure)
    assert (p.double() <= high).all()
    assert torch.allclose(p.double(), high, rtol=torch.finfo(dtype).eps)
    assert np.array_equal(optimizer.res.x, flat_copy([p]))


def test_complex_parameters_have_bounded_parts() -> None:
    z = nn.Parameter(torch.zeros(2, dtype=torch.complex128))
    high = torch.tensor([1.0, 2.0])
    MinimizeWrapper([{"params": [z], "bounds": (-3, high)}], LBFGSB).step(
        lambda: (z - (9 - 9j)).abs().square().sum()
    )
    assert torch.equal(torch.view_as_real(z.detach()), torch.tensor([[1.0, -3], [2, -3]]).double())


def test_a_start_outside_is_moved_with_one_warning() -> None:
    p, q = parameter(-5.0, 0.5), parameter(7.0)
    groups = [{"params": [p], "bounds": (0, 1)}, {"params": [q]}]
    starts = []

    def closure() -> Tensor:
        starts.append(p.detach().clone())
        return far_away(p, q)

    optimizer = MinimizeWrapper(groups, LBFGSB)
    with pytest.warns(UserWarning, match="outside the bounds in 1 of 3 variables") as caught:
        optimizer.step(closure)
    assert len(caught) == 1
    assert starts[0].tolist() == [0.0, 0.5]
    optimizer.step(closure)


def test_scipy_is_started_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    p, starts = parameter(-5.0, 0.5), []

    def minimize(fun: Any, x0: Any, **_: Any) -> OptimizeResult:
        starts.append(x0.tolist())
        return OptimizeResult(x=x0, fun=fun(x0), success=True)

    monkeypatch.setattr(scipy.optimize, "minimize", minimize)
    optimizer = MinimizeWrapper([{"params": [p], "bounds": (0, 1)}], {"method": "trust-constr"})
    with pytest.warns(UserWarning, match="outside the bounds"):
        optimizer.step(lambda: far_away(p))
    assert starts == [[0.0, 0.5]]


def test_a_float32_start_at_its_bound_is_no_cause_to_warn() -> None:
    p = parameter(0.1, dtype=torch.float32)  # 0.1 rounded up
    MinimizeWrapper([{"params": [p], "bounds": (0, 0.1)}], LBFGSB).step(lambda: far_away(p))
    assert p.double().item() < 0.1


def test_bounds_are_read_at_each_step() -> None:
    p, q, r = parameter(0.0), parameter(0.0), parameter(0.0)
    q.requires_grad_(False)
    optimizer = MinimizeWrapper([{"params": [p, q], "bounds": (None, 1)}], {})

    def step() -> list[float]:
        optimizer.step(lambda: far_away(p, q, r))
        return [round(t.item(), 6) for t in (p, q, r)]

    assert step() == [1, 0, 0]
    added = {"params": [r], "bounds": (0, 2)}
    optimizer.add_param_group(added)
    assert added == {"params": [r], "bounds": (0, 2)}
    q.requires_grad_()
    assert step() == [1, 1, 2]
    optimizer.param_groups[0]["bounds"] = (None, 3)
    optimizer.param_groups[1]["bounds"] = None
    assert step() == [3, 3, 9]
    optimizer.param_groups[0]["bounds"] = None
    assert step() == [9, 9, 9]
    assert "method=BFGS" in repr(optimizer)


def test_loading_leaves_the_bounds_of_groups_alone() -> None:
    """As bounds on the flat vector; what else is in a group is loaded, as torch does."""
    p, high = parameter(0.0), torch.ones(1)
    saved = MinimizeWrapper([{"params": [p], "bounds": (None, high)}], LBFGSB).state_dict()
    saved["param_groups"][0]["initial_lr"] = 0.5
    for bounds, reached in ((None, 9.0), ((None, 2.0), 2.0)):
        q = parameter(0.0)
        optimizer = MinimizeWrapper([{"params": [q], "bounds": bounds}], LBFGSB)
        with pytest.warns(UserWarning, match="bounds of group 0 are not this optimizer's"):
            optimizer.load_state_dict(saved)
        assert optimizer.param_groups[0]["initial_lr"] == 0.5
        optimizer.step(lambda q=q: far_away(q))
        assert q.item() == pytest.approx(reached)
    q, limit = parameter(0.0), high.clone()
    optimizer = MinimizeWrapper([{"params": [q], "bounds": [None, limit]}], LBFGSB)
    optimizer.load_state_dict(saved)  # no warning
    limit.fill_(3.0)  # still read at each step
    optimizer.step(lambda: far_away(q))
    assert q.item() == 3.0


@pytest.mark.parametrize(
    ("method", "jac", "constrained"),
    [
        ("TNC", True, False),
        ("TNC", False, False),
        ("L-BFGS-B", True, False),
        ("SLSQP", True, True),
        ("SLSQP", False, False),
        ("COBYLA", None, False),
        ("COBYLA", None, True),
        ("COBYQA", None, True),
        ("trust-constr", True, True),
        ("trust-constr", False, False),
    ],
)
def test_fixed_variables(
    method: str, jac: bool | None, constrained: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    p, q = parameter(0.25), parameter(0.0, 0.0)
    keywords: dict[str, Any] = {"method": method, "jac": jac}
    if constrained:
        keywords["constraints"] = ClosureConstraint(lambda: q.sum() + p, None, 5.25)
    told = []

    def callback(xk: Any, *state: Any) -> None:
        told.append((xk.shape, p.item()))

    groups = [{"params": [p], "bounds": (0.25, 0.25)}, {"params": [q], "bounds": (0, 4)}]
    optimizer = MinimizeWrapper(groups, keywords | {"callback": callback})
    optimizer.step(lambda: far_away(p, q))
    wanted = [2.5, 2.5] if constrained else [4.0, 4.0]
    assert torch.allclose(q.detach(), torch.tensor(wanted).double(), atol=1e-3)
    assert p.item() == pytest.approx(0.25, abs=1e-7 if method == "trust-constr" else 1e-15)
    assert {shape for shape, _ in told} == {(3,)}
    assert capsys.readouterr().out == ""
    if p.grad is not None:
        assert p.grad.isfinite()


GROUPS: list[tuple[Any, str]] = [
    (5, r"bounds of group 1: expected a pair \(low, high\)"),
    ((0, 1, 2), "expected a pair"),
    ((2, 1), "parameter 0 of group 1.*element 0.*low 2.0 and high 1.0"),
    ((0, torch.tensor([1.0, -1.0])), "parameter 0 of group 1.*element 1.*low 0.0 and high -1.0"),
    ((float("nan"), 1), "group 1.*NaN"),
    ((0, torch.zeros(3)), r"upper bound of parameter 0 of group 1.*\(2,\), got \(3,\)"),
    ((0, torch.zeros(4, 2)), r"broadcasts to the parameter's \(2,\), got \(4, 2\)"),
    ((torch.inf, None), "parameter 0 of group 1"),
    ((0, 1j), "real numbers"),
    ((10**400, None), "expected a number"),
    (("low", "high"), "expected a number"),
]


@pytest.mark.parametrize(("bounds", "message"), GROUPS)
def test_refused_bounds_of_groups(bounds: Any, message: str) -> None:
    p, q = parameter(0.0), parameter(0.0, 0.0)
    with pytest.raises((ValueError, TypeError), match=message):
        MinimizeWrapper([{"params": [p]}, {"params": [q], "bounds": bounds}], {})
    optimizer = MinimizeWrapper([p], {})
    with pytest.raises((ValueError, TypeError), match=message):
        optimizer.add_param_group({"params": [q], "bounds": bounds})
    assert len(optimizer.param_groups) == 1
    assert "method=BFGS" in repr(optimizer)


FLAT: list[tuple[Any, str]] = [
    ([(0, 1)], r"for each of the 3 variables, got something of shape \(1, 2\)"),
    (Bounds([0, 0], [1, 1]), "for each of the 3 variables, got 2"),
    ([(0, 1), (0, 1), (1, 0)], r"parameter 0 of group 0 \(bias\), element 2"),
    ([(0, 1), (0, float("nan")), (0, 1)], "expected numbers, None or infinities"),
    (Bounds([0, 0, float("nan")], 1), r"\(bias\), element 2"),
    ([0, 1, 2], r"a \(low, high\) for each"),
    ("0 to 1", r"a \(low, high\) for each"),
    (7, r"a \(low, high\) for each"),
]


@pytest.mark.parametrize(("bounds", "message"), FLAT)
def test_refused_flat_bounds(bounds: Any, message: str) -> None:
    p = parameter(0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match=message):
        MinimizeWrapper([("bias", p)], LBFGSB | {"bounds": bounds})


def test_bounds_in_two_places_are_refused() -> None:
    p = parameter(0.0)
    with pytest.raises(ValueError, match="got both"):
        MinimizeWrapper([{"params": [p], "bounds": (0, 1)}], LBFGSB | {"bounds": [(0, 1)]})


def test_no_number_of_the_dtype_between_the_bounds() -> None:
    p = parameter(0.0, dtype=torch.float16)
    with pytest.raises(ValueError, match=r"number of torch\.float16 between them"):
        MinimizeWrapper([{"params": [p], "bounds": (1e6, 2e6)}], LBFGSB)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        MinimizeWrapper([{"params": [p], "bounds": (0.1, 0.1)}], LBFGSB).step(lambda: far_away(p))
    assert p.item() == torch.tensor(0.1, dtype=torch.float16).item()
