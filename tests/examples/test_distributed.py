"""examples/distributed.py: two processes come to the losses of one."""

from __future__ import annotations

import contextlib
import io
import re
import sys

import pytest
from example import FOLDER, load_example
from ranks import Ranks, answered

pytest.importorskip("matplotlib", reason="the extra 'plot' is not installed")


def compared(rank: int, argv: list[str]) -> str:
    """What the example prints in a rank."""
    sys.path.insert(0, str(FOLDER))  # it builds on other examples
    distributed = load_example("distributed")
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        distributed.compare(distributed.parse(argv))
    return out.getvalue()


def test_the_losses_are_those_of_one_process() -> None:
    short = ["--points", "101", "--width", "5", "--iterations", "10"]
    with Ranks(2) as ranks:
        printed, other = answered(ranks.run(compared, short, within=90.0))
    assert other == ""
    assert "PINN: 101 rows, 2 processes" in printed
    lines = re.findall(r"loss, \w+ +(\S+)  evaluations (\d+)", printed)
    assert len(lines) == 4
    for (together, evaluations), (alone, evaluations_alone) in zip(
        lines[::2], lines[1::2], strict=True
    ):
        assert float(together) == pytest.approx(float(alone), rel=1e-9)
        assert evaluations == evaluations_alone
