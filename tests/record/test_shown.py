"""What a person sees: in a notebook, at ``print``, in the progress bar."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from instance import Instance
from landscapes import RASTRIGIN
from problems import rosenbrock
from torch import nn

from pytorch_minimize.optim import (
    BruteWrapper,
    DifferentialEvolutionWrapper,
    DirectWrapper,
    MinimizeWrapper,
)
from pytorch_minimize.record.bar import ProgressBar
from pytorch_minimize.record.history import History


def fitted(method: str = "BFGS", **more: Any) -> MinimizeWrapper:
    instance = rosenbrock()
    optimizer = MinimizeWrapper(instance.params, {"method": method}, **more)
    optimizer.step(instance.closure(1))
    optimizer.step(instance.closure(1))
    return optimizer


def test_columns_are_plain_lists_of_one_length() -> None:
    history = fitted().history
    columns = history.to_dict()
    assert json.loads(json.dumps(columns)) == columns
    assert {len(column) for column in columns.values()} == {len(history)}
    for name in ("loss", "grad_norm", "step_length", "evaluations", "seconds"):
        assert columns[name] == getattr(history, name).tolist()
    assert columns["step"] == [0] * history.segments[1] + [1] * (len(history) - history.segments[1])


def test_what_completion_offers() -> None:
    offered = dir(History())
    for name in ("loss", "grad_norm", "step_length", "evaluations", "seconds", "plot", "to_dict"):
        assert name in offered


def test_a_history_says_why_each_step_ended() -> None:
    optimizer = fitted()
    message = f"BFGS: {optimizer.res.message}"
    assert optimizer.history.endings == [message, message]
    assert repr(optimizer.history).endswith(f"{message}>")
    with pytest.raises(ZeroDivisionError):
        optimizer.step(lambda: 1 / 0)
    assert optimizer.history.endings[2] == "BFGS: ended by ZeroDivisionError"
    other = MinimizeWrapper(rosenbrock().params, {"method": "BFGS"})
    other.load_state_dict(optimizer.state_dict())
    assert other.history.endings == optimizer.history.endings


def test_a_state_of_an_older_version_does_not_say_why() -> None:
    optimizer = fitted()
    state = optimizer.state_dict()
    del state["run"]["history"]["endings"]
    optimizer.load_state_dict(state)
    assert optimizer.history.endings == ["", ""]
    assert "terminated" not in repr(optimizer.history)


def test_a_pickle_of_an_older_version_does_not_say_why() -> None:
    history = fitted().history
    del history.endings
    assert pickle.loads(pickle.dumps(history)).endings == ["", ""]


@pytest.mark.parametrize("endings", [["one"], [1, 2], "ab"])
def test_spoilt_endings_are_refused(endings: Any) -> None:
    optimizer = fitted()
    state = optimizer.state_dict()
    state["run"]["history"]["endings"] = endings
    with pytest.raises(ValueError, match="endings to be a list of 2 strings"):
        optimizer.load_state_dict(state)


def test_notebooks_show_a_row_for_each_step() -> None:
    history = fitted().history
    html = history._repr_html_()
    assert html.count("<tr>") == 3
    assert f"<td>{history.loss[-1]:.4g}</td>" in html
    assert History()._repr_html_().count("<tr>") == 1


def test_notebooks_show_what_is_no_markup_of_ours() -> None:
    history = History()
    history.begin_segment()
    history.note_ending("<b>mine</b>")
    assert "&lt;b&gt;mine&lt;/b&gt;" in history._repr_html_()


def test_notebooks_show_the_profile_as_print_does() -> None:
    profile = fitted().profile
    html, text = profile._repr_html_(), str(profile)
    for line in text.splitlines()[:-1]:
        for word in line.split():
            assert word in html
    assert text.splitlines()[-1] in html


def test_print_gives_what_it_was_made_of() -> None:
    x = nn.Parameter(torch.zeros(3, dtype=torch.complex128))
    y = nn.Parameter(torch.zeros(1200))
    optimizer = MinimizeWrapper(
        [x, y],
        {"method": "l-bfgs-b", "options": {"maxiter": 200}, "tol": None},
        timeout=10.0,
        warm_start=False,
    )
    first, second, *groups = repr(optimizer).splitlines()
    assert first == "MinimizeWrapper(method=L-BFGS-B, options={'maxiter': 200}, timeout=10.0)"
    assert second == "n = 1,206 variables in 2 tensors (torch.complex128, torch.float32 on cpu)"
    assert any("Parameter Group 0" in line for line in groups)
    assert repr(pickle.loads(pickle.dumps(optimizer))) == repr(optimizer)


def bars(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.replace("\r", "\n").splitlines()


def test_the_bar_has_a_total_where_the_user_gave_one(capsys: pytest.CaptureFixture[str]) -> None:
    instance = rosenbrock()
    arguments = {"method": "L-BFGS-B", "options": {"maxiter": 7}}
    MinimizeWrapper(instance.params, arguments, progress=True).step(instance.closure(1))
    *_, last = shown = bars(capsys)
    assert last.startswith("L-BFGS-B: 100%")
    assert "7/7" in last
    assert "STOP: TOTAL NO. OF ITERATIONS REACHED LIMIT" in last  # why it ended
    assert not any("inf" in line or "nan" in line for line in shown)


@pytest.mark.parametrize(("method", "known"), [("TNC", True), ("COBYLA", False), ("SSBFGS", True)])
def test_a_total_is_of_iterations(
    method: str, known: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    instance = rosenbrock()
    arguments = {"method": method, "options": {"maxiter": 50}}
    MinimizeWrapper(instance.params, arguments, progress=True).step(instance.closure(1))
    assert ("/50" in bars(capsys)[-1]) is known


@pytest.mark.parametrize("kind", [DifferentialEvolutionWrapper, DirectWrapper])
def test_global_searches_have_a_total(kind: Any, capsys: pytest.CaptureFixture[str]) -> None:
    instance = RASTRIGIN.instance(2)
    keywords = {"bounds": RASTRIGIN.bounds(2), "maxiter": 4}
    kind(instance.params, keywords, progress=True).step(instance.closure(2))
    assert "/4 [" in bars(capsys)[-1]


def test_no_gradient_norm_where_there_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    fitted("Nelder-Mead", progress=True)
    last = bars(capsys)[-1]
    assert last.startswith("Nelder-Mead: ")
    assert "inf" not in last
    assert "nan" not in last
    assert "|g|" not in last


def test_evaluations_where_there_are_no_iterations(capsys: pytest.CaptureFixture[str]) -> None:
    instance = RASTRIGIN.instance(2)
    keywords = {"bounds": RASTRIGIN.bounds(2), "Ns": 5, "finish": None}
    optimizer = BruteWrapper(instance.params, keywords, progress=True, max_evaluations=40)
    optimizer.step(instance.closure(2))
    last = bars(capsys)[-1]
    assert last.startswith("brute: ")
    assert f"{optimizer.res.nfev}/40" in last
    assert "evaluations/s" in last


def test_the_bar_moves_within_an_iteration() -> None:
    """A line search of many slow evaluations is progress too."""
    bar = ProgressBar("BFGS", None, counts_iterations=True)
    interval = 0.25
    assert bar.rest(0.0) == 0.0
    assert [bar.is_due(seconds) for seconds in (0.0, interval / 2, interval, 1.5 * interval)] == [
        *(True, False, True, False),
    ]
    assert bar.rest(1.5 * interval) == pytest.approx(interval / 2)
    bar.close("")


def of_raise(instance: Instance, at: int) -> tuple[MinimizeWrapper, int]:
    optimizer = MinimizeWrapper(instance.params, {"method": "BFGS"})
    closure, calls = instance.closure(1), 0

    def interrupted() -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == at:
            raise KeyboardInterrupt
        return closure()

    with pytest.raises(KeyboardInterrupt):
        optimizer.step(interrupted)
    return optimizer, calls


def test_the_result_after_an_interrupt_is_of_the_best_point() -> None:
    instance = rosenbrock()
    optimizer, calls = of_raise(instance, at=8)
    res = optimizer.res
    assert calls == 8  # nothing was evaluated for it
    assert np.array_equal(res.x, instance.x)
    assert res.fun == instance.fun(res.x) == min(instance.fun(instance.x0), res.fun)
    assert (res.success, res.status, res.nfev) == (False, 108, calls)
    assert res.nit == len(optimizer.history) > 0
    assert "KeyboardInterrupt" in res.message
    assert res.jac.shape == res.x.shape
    assert np.isnan(res.jac).all()


def test_the_result_of_a_step_that_evaluated_nothing_is_its_start() -> None:
    instance = rosenbrock()
    optimizer, _ = of_raise(instance, at=1)
    assert np.array_equal(optimizer.res.x, instance.x0)
    assert np.isnan(optimizer.res.fun)
    assert not optimizer.res.success
