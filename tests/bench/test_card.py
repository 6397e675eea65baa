"""The check on a card: without one, over the emulated kernels; its steps, and how one is ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from emulated import testing as needs_the_tests_extension

from bench import gpu
from bench.card import __main__ as card
from bench.card.build import ROOT, source, toolkit
from bench.card.steps import Step, run, steps
from bench.place import place


def test_everything_runs_without_a_card(tmp_path: Path) -> None:
    """But for the build, and memcheck, which needs one."""
    needs_the_tests_extension()
    names = ["smoke", "memcheck", "rates", "bench", "pictures"]
    command = [sys.executable, "-m", "bench.card", "--place", "emulated"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path), "--steps", *names],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([*sys.path, str(ROOT)])},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 of 5 steps passed, 0 failed, 1 not run" in done.stdout
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert {step["name"]: step["status"] for step in summary["steps"]} == {
        name: None if name == "memcheck" else 0 for name in names
    }
    assert "differences: 0" in (tmp_path / "smoke.log").read_text()
    machine = json.loads((tmp_path / "machine.json").read_text())
    assert machine["versions"]["torch"]
    report = json.loads((tmp_path / "gpu.json").read_text())
    assert not report["failed"]
    assert all(report[part] for part in gpu.PARTS)
    assert {"floor", "floor float32", "foreach", "python", "direct"} <= report["trips"][0].keys()
    methods = [row["method"] for row in report["fits"]]
    assert {"L-BFGS-B", "CG", "torch-L-BFGS", "torch.optim.LBFGS"} <= {*methods}
    rates = json.loads((tmp_path / "rates.json").read_text())
    assert not rates["failed"]
    assert {"link", "staging", "slabs", "small_trips", "rows"} <= rates.keys()


def test_what_fails_and_what_hangs_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hangs = "import time; print('at work', flush=True); time.sleep(99)"
    table = [
        Step("fails", [sys.executable, "-c", "print('FAILED a test'); raise SystemExit(3)"], 60),
        Step("hangs", [sys.executable, "-c", hangs], 4, beside=True),
        Step("is missing", None, 60),
        Step("passes", [sys.executable, "-c", "print('fine')"], 60),
    ]
    monkeypatch.setattr(card, "steps", lambda *_, **__: table)
    assert card.main(["--out", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "1 of 4 steps passed, 2 failed, 1 not run" in printed
    assert "fails: FAILED, status 3\n  FAILED a test" in printed
    found = json.loads((tmp_path / "summary.json").read_text())["steps"]
    assert [(step["name"], step["status"]) for step in found] == [
        ("fails", 3),
        ("hangs", 124),
        ("is missing", None),
        ("passes", 0),
    ]
    assert "at work\nFatal Python error: Aborted" in (tmp_path / "hangs.log").read_text()


def test_steps_beside_each_other_run_at_once(tmp_path: Path) -> None:
    """Each waits for what the other writes."""
    code = """
import sys, time
from pathlib import Path
mine, other = map(Path, sys.argv[1:])
mine.touch()
while not other.exists():
    time.sleep(0.01)
"""
    files = [str(tmp_path / name) for name in "ab"]
    pair = [Step(f"{k}", [sys.executable, "-c", code, *files[:: 1 - 2 * k]], 60) for k in (0, 1)]
    assert [done.status for done in run(pair, tmp_path)] == [0, 0]


def test_the_table_for_a_card(tmp_path: Path) -> None:
    table = steps(tmp_path, "card", tiny=False)
    assert [step.name for step in table] == [
        "build", "smoke", "tests-1", "tests-2", "tests-3", "tests-4",
        "memcheck", "rates", "bench", "pictures",
    ]  # fmt: skip
    tests = [step for step in table if step.name.startswith("tests")]
    assert [step.beside for step in tests] == [False, True, True, True]
    command = tests[0].command
    assert command is not None
    assert "tests/bridge/test_gpu_bridge.py" in command
    assert "tests/scipy_minimize/test_gpu_fit.py" in command
    assert all(step.command == command for step in tests)


def test_the_shares_are_all_tests_once(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(
        "import pytest\n@pytest.mark.parametrize('k', range(5))\ndef test_it(k): assert True\n"
    )
    ran = []
    for k in range(2):
        command = [sys.executable, "-m", "pytest", "-v", "-p", "bench.card.share"]
        done = subprocess.run(
            [*command, "-p", "no:cacheprovider", "-n", "0", "--rootdir", ".", "test_some.py"],
            cwd=tmp_path,
            env=os.environ | {"CARD_SHARE": f"{k}/2", "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        ran.append([k for k in range(5) if f"test_it[{k}] PASSED" in done.stdout])
    assert ran == [[0, 2, 4], [1, 3]]


def test_an_old_setuptools_is_given_a_folder_without_the_metadata(tmp_path: Path) -> None:
    assert source(tmp_path, "77.0.3") == ROOT
    linked = source(tmp_path, "68.1.2")
    assert source(tmp_path, "68.1.2") == linked  # a second time too
    assert not (linked / "pyproject.toml").exists()
    assert (linked / "setup.py").samefile(ROOT / "setup.py")
    assert (linked / "csrc").is_dir()


def test_the_toolkit_is_where_nvcc_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    top = tmp_path / "cuda"
    (top / "include").mkdir(parents=True)
    (top / "include/cuda_runtime_api.h").touch()
    said = f"#$ _NVVM_BRANCH_=nvvm\n#$ TOP={top}/bin/..\n"
    (top / "bin").mkdir()
    monkeypatch.setattr("bench.card.build.output", lambda _: said)
    assert toolkit() == str(top.resolve())


def test_a_place_that_is_not_there() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a card")
    with pytest.raises(SystemExit, match="there is no CUDA card that this torch finds"):
        place("card")


def test_the_ways_of_a_block_end_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTORCH_MINIMIZE_SLAB", "5")
    with gpu.ways(slab=7, direct=3):
        assert os.environ["PYTORCH_MINIMIZE_SLAB"] == "7"
        assert os.environ["PYTORCH_MINIMIZE_DIRECT"] == "3"
    assert os.environ["PYTORCH_MINIMIZE_SLAB"] == "5"
    assert "PYTORCH_MINIMIZE_DIRECT" not in os.environ
