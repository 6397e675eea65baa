"""The history, the progress bar and the log of a run."""

from __future__ import annotations

import copy
import itertools
import logging
import pickle
from typing import Any

import numpy as np
import pytest
from instance import Instance
from problems import rosenbrock

from pytorch_minimize.optim import MinimizeWrapper


def minimised(method: str = "BFGS", **more: Any) -> tuple[Instance, MinimizeWrapper]:
    instance = rosenbrock()
    optimizer = MinimizeWrapper(instance.params, {"method": method}, **more)
    optimizer.step(instance.closure(1))
    return instance, optimizer


def test_rows_are_those_of_the_iterates() -> None:
    instance = rosenbrock()
    iterates = [instance.x0]
    optimizer = MinimizeWrapper(
        instance.params, {"method": "L-BFGS-B", "callback": iterates.append}
    )
    optimizer.step(instance.closure(1))
    history = optimizer.history
    assert len(history) == optimizer.res.nit == len(iterates) - 1
    assert history.loss.tolist() == [instance.fun(x) for x in iterates[1:]]
    assert history.grad_norm.tolist() == [np.abs(instance.jac(x)).max() for x in iterates[1:]]
    steps = [np.linalg.norm(b - a) for a, b in itertools.pairwise(iterates)]
    assert np.allclose(history.step_length, steps, rtol=1e-12)
    assert (np.diff(history.evaluations) >= 1).all()
    assert history.evaluations[-1] == optimizer.res.nfev
    assert (np.diff(history.seconds) > 0).all()


def test_it_goes_on_over_steps() -> None:
    instance, optimizer = minimised()
    rows, evaluations = len(optimizer.history), optimizer.res.nfev
    instance.params[0].data.fill_(3.0)
    optimizer.step(instance.closure(1))
    history = optimizer.history
    assert history.segments == [0, rows]
    assert len(history) == rows + optimizer.res.nit
    assert history.evaluations[-1] == evaluations + optimizer.res.nfev
    assert (np.diff(history.seconds) > 0).all()


def test_gradient_free_methods_have_no_gradient_norm() -> None:
    _, optimizer = minimised("Nelder-Mead")
    assert np.isnan(optimizer.history.grad_norm).all()
    assert (optimizer.history.step_length >= 0).all()


def test_it_survives_copies() -> None:
    _, optimizer = minimised()
    for other in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        assert other.history.loss.tolist() == optimizer.history.loss.tolist()


def test_unknown_columns_are_refused() -> None:
    _, optimizer = minimised()
    with pytest.raises(AttributeError, match="losses"):
        optimizer.history.losses  # type: ignore[attr-defined] # noqa: B018
    with pytest.raises(AttributeError):  # what is read cannot be written
        optimizer.history.loss = np.zeros(3)  # type: ignore[misc]


def test_progress_shows_the_run_and_adds_no_evaluation(capsys: pytest.CaptureFixture[str]) -> None:
    _, quiet = minimised()
    assert capsys.readouterr() == ("", "")
    _, optimizer = minimised(progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    for part in ("loss", "|g|", f"evaluations {optimizer.res.nfev}", f"{optimizer.res.nit}it"):
        assert part in shown.err
    assert optimizer.profile.counts == quiet.profile.counts


def test_one_line_at_the_start_and_one_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "pytorch_minimize"):
        _, optimizer = minimised()
    start, end = [record.getMessage() for record in caplog.records]
    for part in ("BFGS", "5 variables", "float64", "cpu", "Bridge"):
        assert part in start
    assert f"nfev={optimizer.res.nfev}" in end


def test_one_line_at_the_end_of_a_run_that_raised(caplog: pytest.LogCaptureFixture) -> None:
    instance = rosenbrock()
    optimizer = MinimizeWrapper(instance.params, {"method": "BFGS"})
    with caplog.at_level(logging.INFO, "pytorch_minimize"), pytest.raises(ZeroDivisionError):
        optimizer.step(lambda: 1 / 0)
    start, end = [record.getMessage() for record in caplog.records]
    assert "5 variables" in start
    assert "BFGS: ended by ZeroDivisionError" in end


def test_progress_of_a_step_without_iterations(capsys: pytest.CaptureFixture[str]) -> None:
    instance, optimizer = minimised(progress=True)
    capsys.readouterr()
    optimizer.step(instance.closure(1))
    assert optimizer.res.nit == 0
    assert f"BFGS: 0it [00:00, ?it/s, loss {optimizer.res.fun:.6g}," in capsys.readouterr().err
