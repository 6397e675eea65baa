"""What disp says, and what is silent; that each method obeys it is in the methods' contract."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from methods import KINDS, arguments
from problems import himmelblau

from pytorch_minimize.optim import MinimizeWrapper


def printed(capfd: pytest.CaptureFixture[str], method: str | None, options: Any) -> str:
    instance = himmelblau()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer = MinimizeWrapper(instance.params, arguments(method, options=options))
        optimizer.step(instance.closure(1))
    assert optimizer.res.success
    # TNC's C code writes to the file descriptor of stderr, past Python.
    captured = capfd.readouterr()
    return captured.out + captured.err


def test_scipys_choice_of_method_prints(capfd: pytest.CaptureFixture[str]) -> None:
    assert printed(capfd, None, {"disp": True}).strip()


@pytest.mark.parametrize("options", [{}, {"disp": False}, None])
@pytest.mark.parametrize("method", ["TNC", "L-BFGS-B", None])
def test_nothing_is_printed_unasked(
    capfd: pytest.CaptureFixture[str], method: str | None, options: Any
) -> None:
    assert printed(capfd, method, options) == ""


def test_disp_does_not_change_the_path(capfd: pytest.CaptureFixture[str]) -> None:
    for method in KINDS:
        counts = []
        for disp in (True, False):
            instance = himmelblau()
            optimizer = MinimizeWrapper(instance.params, arguments(method, options={"disp": disp}))
            optimizer.step(instance.closure(1))
            counts.append((optimizer.res.nfev, optimizer.res.x.tobytes()))
        assert counts[0] == counts[1]
