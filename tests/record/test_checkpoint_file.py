"""Where a checkpoint may be written, and what a killed process leaves there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from problems import rosenbrock

from pytorch_minimize.optim import DirectWrapper, MinimizeWrapper


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "expected the path of a file, got ''"),
        ("n" * 300, "File name too long"),
        ("n" * 250, "File name too long"),  # for what is written beside it
        ("not/yet/there/" + "n" * 250, "File name too long"),
        ("d/" * 3000 + "run.pt", "File name too long"),
        ("run\0.pt", "null"),
        ("/", "empty name"),
    ],
)
def test_a_path_that_can_be_none_is_refused_at_construction(
    path: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    params = [torch.zeros(2, requires_grad=True)]
    with pytest.raises(ValueError, match="checkpoint: ") as caught:
        MinimizeWrapper(params, {}, checkpoint=(path, 1.0))
    assert message in str(caught.value)
    assert len(str(caught.value)) < 200
    with pytest.raises(ValueError, match="checkpoint: "):
        DirectWrapper(params, {"bounds": [(0, 1)] * 2}, checkpoint=(path, 1.0))


def test_a_folder_may_be_made_after_construction(tmp_path: Path) -> None:
    instance = rosenbrock()
    file = tmp_path / "later" / ("n" * 240)
    optimizer = MinimizeWrapper(instance.params, {"method": "BFGS"}, checkpoint=(file, 0))
    file.parent.mkdir()
    optimizer.step(instance.closure(1))
    assert list(file.parent.iterdir()) == [file]


KILLED = """
import os, signal, sys
from problems import rosenbrock
from pytorch_minimize.optim import MinimizeWrapper

instance = rosenbrock()
os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
MinimizeWrapper(instance.params, {}, checkpoint=(sys.argv[1], 0)).step(instance.closure(1))
"""


def test_what_a_killed_process_left_is_taken_away_by_the_next_write(tmp_path: Path) -> None:
    file = tmp_path / "run.pt"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(file)],
        cwd=Path(__file__).parents[1],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1  # written whole, but not renamed
    seen: list[Any] = []
    instance = rosenbrock()

    def closure() -> Any:
        seen.append(list(tmp_path.iterdir()))
        return instance.closure(1)()

    MinimizeWrapper(instance.params, {}, checkpoint=(file, 0)).step(closure)
    assert seen[0] == []
    assert all(files == [file] for files in seen[1:])
