"""What every method of least squares promises: one contract, held against each row of the table."""

from __future__ import annotations

import io
import signal
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from raiser import Abort, ClosureError
from residual_cases import Case, decay, network
from scipy.optimize import OptimizeResult
from torch import Tensor, nn

from pytorch_minimize.bridge.space import TensorSpace
from pytorch_minimize.least_squares import make as make_module
from pytorch_minimize.least_squares import methods as methods_module
from pytorch_minimize.least_squares import optimizer as optimizer_module
from pytorch_minimize.least_squares.methods import METHODS
from pytorch_minimize.optim import LeastSquaresWrapper
from pytorch_minimize.run import limits

FIELDS = {
    *("x", "cost", "fun", "jac", "grad", "optimality", "active_mask", "nfev", "njev", "status"),
    *("message", "success", "nit", "nonfinite", "recovered"),
}
each = pytest.mark.parametrize("method", METHODS)


def made(method: str, case: Case, *, callback: Any = None, **more: Any) -> LeastSquaresWrapper:
    return LeastSquaresWrapper(case.params, {"method": method, "callback": callback}, **more)


def assert_ends_at(case: Case, optimizer: LeastSquaresWrapper, loss: Tensor) -> None:
    res = optimizer.res
    assert np.array_equal(case.x, res.x)
    assert loss.item() == res.cost == pytest.approx(case.cost(res.x), rel=1e-14)
    assert np.allclose(res.fun, case.converted.values(res.x), rtol=0, atol=1e-15)
    gradient = case.jacobian(res.x).T @ res.fun
    held = np.concatenate([p.grad.numpy().reshape(-1) for p in case.params])
    assert np.allclose(held, gradient, rtol=1e-9, atol=1e-12)
    assert np.array_equal(held, res.grad)


@each
def test_it_fits_and_tells_what_scipy_tells(method: str) -> None:
    case = decay()
    optimizer = made(method, case)
    loss = optimizer.step(case)
    assert optimizer.res.success
    assert optimizer.res.keys() >= FIELDS
    assert np.allclose(optimizer.res.x, decay().scipys().x, rtol=1e-3)
    assert_ends_at(case, optimizer, loss)
    profile, history = optimizer.profile, optimizer.history
    assert profile.counts["closure"] == len(case.seen)
    assert len(history) == optimizer.res.nit > 2
    assert history.loss[-1] == optimizer.res.cost
    assert history.grad_norm[-1] == pytest.approx(np.abs(optimizer.res.grad).max())
    assert profile.total == pytest.approx(
        profile.closure + profile.bridge + profile.curvature + profile.solver
    )


@each
def test_the_callback_holds_the_iterate_and_ends_the_run(method: str) -> None:
    case, told = decay(), []

    def callback(intermediate_result: OptimizeResult) -> None:
        assert np.array_equal(case.x, intermediate_result.x)
        assert intermediate_result.fun == pytest.approx(case.cost(case.x), rel=1e-14)
        told.append(intermediate_result.x)
        if len(told) == 3:
            raise StopIteration

    optimizer = made(method, case, callback=callback)
    loss = optimizer.step(case)
    assert (optimizer.res.status, optimizer.res.success) == (99, False)
    assert np.array_equal(optimizer.res.x, told[-1])
    assert_ends_at(case, optimizer, loss)


@each
def test_exceptions_leave_the_best_point(method: str) -> None:
    for kind in (ClosureError, Abort, ZeroDivisionError, StopIteration, KeyboardInterrupt):
        case, raised = decay(), kind("stop here")

        def closure(case: Case = case, raised: BaseException = raised) -> Tensor:
            if len(case.seen) == 4:
                raise raised
            return case()

        optimizer = made(method, case)
        with pytest.raises(kind) as caught:
            optimizer.step(closure)
        assert caught.value is raised
        assert np.array_equal(case.x, case.best)
    best = case.cost(case.best)
    assert optimizer.step(case.__call__).item() < best  # the optimizer can go on


@each
def test_ctrl_c(method: str) -> None:
    case = decay()

    def closure() -> Tensor:
        if len(case.seen) == 4:
            signal.raise_signal(signal.SIGINT)
        return case()

    with pytest.raises(KeyboardInterrupt):
        made(method, case).step(closure)
    assert np.array_equal(case.x, case.best)


@each
@pytest.mark.parametrize(("limit", "status"), [("max_evaluations", 102), ("timeout", 101)])
def test_limits(method: str, limit: str, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    case = decay()
    # A clock that ticks once a run of the closure.
    monkeypatch.setattr(limits, "perf_counter", lambda: float(len(case.seen)))
    optimizer = made(method, case, **{limit: 4})
    loss = optimizer.step(case)
    assert (optimizer.res.status, optimizer.res.success) == (status, False)
    assert optimizer.res.nfev == 4
    assert np.array_equal(case.x, case.best)
    # A Jacobian that was not asked for is not taken, but the closure may run for the residuals.
    assert len(case.seen) - 4 == optimizer.profile.counts.get("reload", 0)
    assert_ends_at(case, optimizer, loss)


@each
def test_rtol(method: str) -> None:
    case = network()  # whose cost falls for hundreds of iterations
    optimizer = made(method, case, rtol=1e3)
    loss = optimizer.step(case)
    assert (optimizer.res.status, optimizer.res.success) == (103, True)
    assert len(optimizer.history) == optimizer.res.nit == 11
    assert loss.item() == optimizer.res.cost == pytest.approx(case.cost(case.x), rel=1e-14)


@each
def test_nan_means_step_back(method: str) -> None:
    x = nn.Parameter(torch.tensor([1.0, 0.4], dtype=torch.float64))
    optimizer = LeastSquaresWrapper([x], {"method": method})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        optimizer.step(lambda: [x.log() + 8.0, 0.01 * x])
    res = optimizer.res
    assert res.nonfinite > 0
    assert np.allclose(res.x, np.exp(-8.0), rtol=1e-3)
    assert np.isfinite(res.fun).all()


@each
def test_nonfinite_raise(method: str) -> None:
    x = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = LeastSquaresWrapper([x], {"method": method}, nonfinite="raise")
    with pytest.raises(FloatingPointError):
        optimizer.step(lambda: x.log() + 8.0)


@each
def test_nothing_finite_at_the_start(method: str) -> None:
    x = nn.Parameter(torch.tensor([-1.0], dtype=torch.float64))
    optimizer = LeastSquaresWrapper([x], {"method": method})
    with pytest.warns(RuntimeWarning, match="a loss of nan"):
        optimizer.step(lambda: x.log())
    assert not optimizer.res.success
    assert x.item() == -1.0


@each
def test_recover_is_counted(method: str) -> None:
    case = decay()

    def closure() -> Tensor:
        if len(case.seen) == 2:
            case.seen.append((np.inf, case.x))
            raise torch.linalg.LinAlgError("not positive definite")
        return case()

    optimizer = made(method, case, recover=torch.linalg.LinAlgError)
    optimizer.step(closure)
    assert (optimizer.res.recovered, optimizer.res.nonfinite) == (1, 0)
    assert np.allclose(optimizer.res.x, decay().scipys().x, rtol=1e-2)


@each
def test_a_state_is_saved_and_resumed(method: str, tmp_path: Any) -> None:
    case, path = decay(), tmp_path / "run.pt"
    made(method, case, max_evaluations=4, checkpoint=(path, 0.0)).step(case)
    twin = decay()
    other = made(method, twin)
    other.load_state_dict(torch.load(path, weights_only=True))
    other.load_best()
    assert np.array_equal(twin.x, case.best)
    before = len(other.history)
    other.step(twin)
    assert other.res.success
    assert len(other.history) == before + other.res.nit


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex128])
@each
def test_other_dtypes(method: str, dtype: torch.dtype) -> None:
    start = torch.tensor([2.0 + 1.0j, -1.0 + 2.0j], dtype=torch.complex128)
    x = nn.Parameter(start if dtype.is_complex else start.real.to(dtype))

    def closure() -> Tensor:
        z = torch.view_as_real(x) if x.is_complex() else x
        return z**3 - 0.5

    optimizer = LeastSquaresWrapper([x], {"method": method})
    loss = optimizer.step(closure)
    assert np.allclose(optimizer.res.x, 0.5 ** (1 / 3), atol=1e-3)
    assert optimizer.res.fun.dtype == optimizer.res.x.dtype == np.float64
    assert loss.dtype == x.dtype.to_real()


@each
def test_verbose_prints_when_asked_alone(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    for verbose in (0, 1):
        case = decay()
        LeastSquaresWrapper(case.params, {"method": method, "verbose": verbose}).step(case)
        assert bool(capsys.readouterr().out.strip()) is bool(verbose)


@each
def test_it_is_pickled(method: str) -> None:
    case = decay()
    optimizer = made(method, case)
    optimizer.step(case)
    file = io.BytesIO()
    torch.save(optimizer, file)
    file.seek(0)
    again = torch.load(file, weights_only=False)
    assert again.res.cost == optimizer.res.cost
    assert repr(again) == repr(optimizer)
    assert f"method={method}" in repr(again)


@each
def test_check_closure_passes_a_right_one_and_finds_a_random_one(method: str) -> None:
    case = decay()
    made(method, case, check_closure=True).step(case)
    assert case.seen
    twin = decay()
    with pytest.raises(RuntimeError, match="two evaluations"):
        made(method, twin, check_closure=True).step(lambda: twin() + torch.rand(30))


@pytest.mark.parametrize("method", [name for name, row in METHODS.items() if row.bounds])
def test_bounds_of_groups_are_kept(method: str) -> None:
    case, outside = decay(), []

    def closure() -> Tensor:
        heights = case.params[0].detach()
        outside.append(bool((heights > 2.5).any() or (heights < 0.5).any()))
        return case()

    groups = [{"params": [case.params[0]], "bounds": (0.5, 2.5)}, {"params": [case.params[1]]}]
    optimizer = LeastSquaresWrapper(groups, {"method": method})
    optimizer.step(closure)
    assert not any(outside)
    assert optimizer.res.success
    assert np.allclose(
        optimizer.res.x,
        decay().scipys(bounds=([0.5, 0.5, -np.inf, -np.inf], [2.5, 2.5, np.inf, np.inf])).x,
        rtol=1e-2,
    )


class Waiting(TensorSpace):
    """As of a device: vectors are not compared by value."""

    def __init__(self, device: Any = "cpu") -> None:
        super().__init__(device)
        self.waits = True


@pytest.mark.parametrize("method", [name for name, row in METHODS.items() if row.native])
def test_tensors_of_a_device_give_the_same(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, host = [], TensorSpace
    for device, space in (
        (None, host),
        (torch.device("cpu"), host),
        (torch.device("cpu"), Waiting),
    ):
        for module in (optimizer_module, make_module):
            monkeypatch.setattr(module, "device_of", lambda bridge, device=device: device)
        for module in (make_module, methods_module):
            monkeypatch.setattr(module, "TensorSpace", space)
        case = decay()
        optimizer = made(method, case)
        optimizer.step(case)
        assert not any(isinstance(value, Tensor) for value in optimizer.res.values())
        if method == "torch-lm":  # the other goes back to the iterate where a step is rejected
            assert len(case.seen) == optimizer.res.nfev
        runs.append(optimizer.res)
    for run in runs[1:]:
        assert runs[0].nfev == run.nfev
        assert np.allclose(runs[0].x, run.x, rtol=1e-9)
        assert np.allclose(runs[0].fun, run.fun, rtol=1e-9, atol=1e-12)
        assert (run.jac is None) == (method == "torch-gauss-newton-cg")
        assert run.optimality == pytest.approx(runs[0].optimality, rel=1e-3)
