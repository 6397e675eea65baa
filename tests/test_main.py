"""``python -m pytorch_minimize``: versions for a bug report, and what the bridge costs here."""

from __future__ import annotations

import subprocess
import sys

import pytest
import scipy
import torch

from pytorch_minimize import _C
from pytorch_minimize import __main__ as program


def test_versions_and_build_as_a_user_asks_for_them() -> None:
    command = [sys.executable, "-m", "pytorch_minimize", "--versions"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    said = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert said["torch"] == torch.__version__
    assert said["scipy"] == scipy.__version__
    assert said["bridge"] == "native"
    assert f"built: compiler  {_C.build_info()['compiler']}" in done.stdout


@pytest.mark.parametrize("has_extension", [True, False])
def test_the_table(
    has_extension: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(program, "ROUND", 0.0)
    monkeypatch.setattr(program, "SIZES", (10, 1000))
    if not has_extension:
        monkeypatch.setattr(program, "native", None)
    assert program.main([]) == 0
    table = capsys.readouterr().out.split("\n\n")[1].splitlines()[2:]
    rows = [line.split() for line in table]
    assert len(rows) == len(program.SIZES) * len(program.DTYPES)
    for n, dtype, native, *_ in rows:
        assert int(n.replace(",", "")) in program.SIZES
        assert getattr(torch, dtype) in program.DTYPES
        assert (native == "-") is not has_extension


def test_the_figures_are_medians_and_their_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"native": 2e-6, "python": 8e-6, "two copies": 1e-6}
    monkeypatch.setattr(program, "_in_turn", lambda cases: {name: found[name] for name in cases})
    monkeypatch.setattr(program, "SIZES", (1000,))
    *_, last = program.costs()
    assert last == ("1,000", "float32", "2.0 us", "8.0 us", "1.0 us", "2.00", "4.00")
