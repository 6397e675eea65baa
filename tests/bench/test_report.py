"""The benchmark: it runs as a user runs it, and its figures are what they are said to be."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from bench import __main__ as program
from bench import fits, problems, runner
from bench.cases import CASES, Case
from bench.figure import Figure
from bench.goals import goals
from bench.overhead import FreeProblem, Questions
from bench.pages import __main__ as pages_module
from bench.peers import OURS, PEERS, Peer, Rule, why_not
from bench.problems import FITS
from bench.rows import compared, from_json, merged, to_json

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(autouse=True, scope="module")
def _found_by_processes() -> Iterator[None]:
    """Those that are started find bench/ too, after any other build of the package."""
    before = os.environ.get("PYTHONPATH")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (before, str(ROOT)))))
        yield


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[pathlib.Path, str]:
    """Where a quick report was written, and what it printed."""
    out = tmp_path_factory.mktemp("report")
    command = [sys.executable, "-m", "bench", "--quick", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_the_report_says_where_and_when_it_was_measured(quick: tuple[pathlib.Path, str]) -> None:
    out, printed = quick
    report = json.loads((out / "report.json").read_text())
    here = report["environment"]
    assert here["date"][:2] == "20"
    assert here["machine"]["cpu"]
    assert here["machine"]["cores"] > 0
    assert here["versions"]["torch"] == torch.__version__
    assert here["versions"]["botorch"]  # a version, or that there is none
    assert report["cases"].keys() == {name for name, case in CASES.items() if case.quick}
    for name, case in report["cases"].items():
        assert case["rows"], name
        assert case["threads"]["torch"] > 0
        assert f"{CASES[name].title} [{name}]" in printed


def test_the_report_draws_its_pictures(quick: tuple[pathlib.Path, str]) -> None:
    pytest.importorskip("matplotlib", reason="the extra 'report' is not installed")
    out, _ = quick
    for name in ("overhead", "memory", "fits"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_every_table_of_the_pages_is_made_from_a_report(
    quick: tuple[pathlib.Path, str],
) -> None:
    from bench.pages import tables as tables_module

    report = json.loads((quick[0] / "report.json").read_text())
    # A quick report leaves out what is long by nature, and what has a file of its own.
    there = report["cases"].keys()
    tables = {
        name: make for name, (needed, make) in tables_module.TABLES.items() if needed <= there
    }
    elsewhere = {"dense", *pages_module.ALONE}
    assert tables_module.TABLES.keys() - tables.keys() == {
        name for name, (needed, _) in tables_module.TABLES.items() if needed & elsewhere
    }
    made = {name: make(report) for name, make in tables.items()}
    for page in pages_module.PAGES:
        new = pages_module.rewritten((ROOT / page).read_text(), report)
        assert all(
            f"<!-- {name} -->\n\n{table}" in new
            for name, table in made.items()
            if f"<!-- {name} -->" in new
        )
    pages = "".join((ROOT / page).read_text() for page in pages_module.PAGES)
    for name, table in made.items():
        assert f"<!-- {name} -->" in pages
        assert table
    assert "not installed" in made["fits"] or why_not(PEERS["botorch"], lambda: None) is None


@pytest.mark.parametrize("page", pages_module.PAGES)
def test_a_page_has_the_tables_of_today(page: str) -> None:
    """Of methods, options and statuses, which no report is needed for."""
    text = (ROOT / page).read_text()
    assert pages_module.rewritten(text, {"cases": {}}) == text


@pytest.mark.parametrize("name", [name for name in PEERS if name != "straightforward"])
def test_peers_that_are_there_reach_the_minimum(name: str) -> None:
    problem = FITS["digits, logistic"]()
    peer = PEERS[name]
    refusal = why_not(peer, lambda: peer.run(problem, Rule(gtol=1e-4, maxiter=500)))
    if refusal is not None:
        assert refusal == "not installed"
        pytest.skip(f"{peer.module} is not installed")
    assert 0 < problem.evaluations < 1000
    loss, gradient = problem.end()
    assert gradient <= 1e-4
    problem.reset()
    assert problem.end()[0] > loss


@pytest.mark.parametrize("name", list(FITS))
def test_a_problem_is_the_same_in_all_its_forms(name: str) -> None:
    if name == "Poisson network":
        pytest.importorskip("matplotlib", reason="examples/pinn.py draws")
    try:
        problem = FITS[name]()
    except FileNotFoundError as error:
        pytest.skip(f"{error}, and is not beside this package")
    loss = problem.closure()
    grads = [p.grad for p in problem.params]
    tensors = [p.detach().clone().requires_grad_() for p in problem.params]
    again = problem.loss_of(*tensors)
    torch.testing.assert_close(again.detach(), loss)
    torch.testing.assert_close(list(torch.autograd.grad(again, tensors)), grads)
    torch.testing.assert_close(problem.loss_to_differentiate().detach(), loss)
    assert problem.evaluations == 3
    assert problem.numel == sum(p.numel() for p in problem.params)


def test_questions_are_asked_through_scipys_front_door() -> None:
    questions = Questions(10, 6)
    problem = FreeProblem(10, 3, torch.float32, 6)
    with questions.in_place_of_scipy():
        PEERS[OURS].run(problem, Rule())
    assert problem.evaluations == 6
    assert questions.seconds > 0
    assert all(p.eq(0.75).all() for p in problem.params)  # the last point asked for


def test_what_an_installed_package_lacks_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problems, "__file__", "/elsewhere/bench/problems.py")
    (row,) = fits.fit("Poisson network", maxiter=1, gtol=0.0, rounds=1)
    assert row["note"] == "examples/pinn.py of the source tree is needed"


def test_what_a_peer_cannot_do_is_said() -> None:
    def fails() -> None:
        raise NotImplementedError("no such method\nand more")

    here = Peer("torch", "torch", lambda problem, rule: None)
    assert why_not(here, fails) == "cannot: NotImplementedError: no such method"
    assert why_not(here, lambda: None) is None
    missing = Peer("none", "there_is_no_such_module", lambda problem, rule: None)
    assert why_not(missing, fails) == "not installed"


class Cases:
    """Cases that end as they are told to; each has a process of its own."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, folder: pathlib.Path, **bodies: str
    ) -> None:
        lines = "\n".join(
            f"def {name}():\n    yield {{'n': 1, 'us': 1.5}}\n    {body}"
            for name, body in bodies.items()
        )
        cases = ", ".join(f"{name!r}: Case({name!r}, {name}, {{}}, {{}})" for name in bodies)
        (folder / "fake_report.py").write_text(
            "import os, runpy, signal, sys\n"
            "from bench import cases as _cases\n"
            "from bench.cases import Case\n"
            f"{lines}\n_cases.CASES = {{{cases}}}\n"
            "runpy.run_module('bench', run_name='__main__')\n"
        )
        self.command = [sys.executable, str(folder / "fake_report.py")]
        case = Case("", dict, {}, {})
        monkeypatch.setattr(runner, "CASES", dict.fromkeys(bodies, case))
        monkeypatch.setattr(program, "CASES", dict.fromkeys(bodies, case))
        monkeypatch.setattr(runner, "COMMAND", self.command)


def test_a_case_that_fails_leaves_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Cases(
        monkeypatch,
        tmp_path,
        first="print('[1, 2]')",  # what packages print is no answer
        raises="raise KeyError('mine')",
        killed="os.kill(os.getpid(), signal.SIGKILL)",
        last="pass",
    )
    names = ["first", "raises", "killed", "last"]
    assert program.report(tmp_path, names, quick=True, repeats=1) == program.FAILED
    cases = json.loads((tmp_path / "report.json").read_text())["cases"]
    assert {name: case["errors"] for name, case in cases.items()} == {
        "first": [],
        "raises": ["KeyError: 'mine'"],
        "killed": [f"killed by SIGKILL: out of memory, or {runner.LIMIT:g} s are over"],
        "last": [],
    }
    for case in cases.values():  # what came before the end is there
        (row,) = from_json(case["rows"])
        assert row == {"n": 1, "us": Figure((1.5,))}
    assert "raises failed in 1 of its processes: KeyError: 'mine'" in capsys.readouterr().err


def test_a_process_that_never_ends_is_killed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    Cases(monkeypatch, tmp_path, hangs="signal.pause()")
    monkeypatch.setattr(runner, "LIMIT", 0.2)
    (run,) = runner.in_a_process(["hangs"], quick=False)
    assert run.error == "killed by SIGKILL: out of memory, or 0.2 s are over"


def test_ctrl_c_keeps_what_was_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def runs(names: Sequence[str], quick: bool) -> Iterator[runner.Run]:
        if names == ("last",):
            raise KeyboardInterrupt
        yield runner.Run(rows=[{"n": 1, "us": 2.0}])

    case = Case("", dict, {}, {})
    for module in (runner, program):
        monkeypatch.setattr(module, "CASES", {"first": case, "last": case})
    monkeypatch.setattr(runner, "in_a_process", runs)
    assert program.report(tmp_path, ["first", "last"], False, 1) == program.INTERRUPTED
    made = json.loads((tmp_path / "report.json").read_text())
    assert made["environment"]["interrupted"]
    assert made["cases"].keys() == {"first"}
    assert "interrupted" in capsys.readouterr().err


def test_processes_become_one_figure() -> None:
    runs: list[list[dict[str, Any]]] = [
        [{"n": 3, "us": 1.0, "peer us": "cannot"}, {"n": 4, "us": 2.0}],
        [{"n": 3, "us": 3.0, "peer us": 7.0}],
        [{"n": 3, "us": 1.5, "peer us": "cannot"}, {"n": 4, "us": 2.0}],
    ]
    rows = merged(runs)
    assert [row["n"] for row in rows] == [3, 4]
    assert rows[0]["us"].values == (1.0, 3.0, 1.5)
    assert rows[0]["us"].median == 1.5
    assert rows[0]["peer us"] == Figure((7.0,))
    assert rows[1]["us"].values == (2.0, 2.0)
    assert from_json(json.loads(json.dumps(to_json(rows)))) == rows
    assert str(Figure((1.5,), 0.75)) == "1.5 ±50%"
    assert str(Figure((0.0,))) == "0"


def test_noise_is_that_of_a_figure_and_of_its_kind() -> None:
    """One that varied little by chance is not trusted more than twice its column's typical."""
    calm = Figure.of([1.0, 1.0, 1.0], typical=0.05)
    assert calm.noise is not None
    assert 0.05 < calm.noise < 0.15
    assert Figure.of([1.0, 1.1, 1.2], typical=0.05).share > calm.share
    assert Figure.of([1.0]).noise is None
    once = Figure.of([1.0])
    assert once.agrees(calm) is None
    assert Figure.of([2.0, 2.0]).agrees(Figure.of([2.0, 2.0]))


@pytest.mark.parametrize("repeats", [2, 3, 5])
def test_honest_reports_seldom_disagree(repeats: int) -> None:
    """Reports of one machine: noise from 1 to 10 %, now and then a disturbed process."""
    rng = np.random.default_rng(repeats)
    scales = np.exp(rng.uniform(np.log(0.01), np.log(0.1), size=(200, 1)))

    def report(change: float = 1.0) -> list[dict[str, Any]]:
        runs = []
        for _ in range(repeats):
            logs = scales * rng.standard_normal((200, 6))
            logs += rng.exponential(0.3, logs.shape) * (rng.random(logs.shape) < 0.02)
            runs.append(change * np.exp(logs))
        tables = [
            merged([[{"n": n, "us": float(run[k, n])} for n in range(6)] for run in runs])
            for k in range(200)
        ]
        return [{**row, "table": k} for k, table in enumerate(tables) for row in table]

    same = compared(report(), report())
    assert same.agree + same.unclear + len(same.apart) == 1200
    assert len(same.apart) <= 12
    assert same.agree >= 0.7 * 1200
    assert len(compared(report(), report(change=2.0)).apart) >= 0.8 * 1200


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.4, 3.0])
def test_a_change_by_half_never_passes_for_agreement(noise: float) -> None:
    before, after = Figure((2.0,), 2.0 * noise), Figure((3.01,), 3.01 * noise)
    assert not before.agrees(after)
    assert not after.agrees(before)
    assert before.agrees(before) is (True if noise < 0.4 else None)


def test_reports_disagree_where_they_are_further_apart_than_their_noise(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = [{"n": 3, "us": Figure((1.5,), 0.2), "ms": Figure((1.5,), 0.2), "note": "x"}]
    new = [{"n": 3, "us": Figure((1.7,), 0.1), "ms": Figure((2.0,), 0.2), "note": "y"}]
    old[0]["s"] = new[0]["s"] = Figure((1.0,))
    assert compared(old, new) == (1, 1, ["3: ms 1.5 ±13% and 2 ±10%"])
    for name, rows in (("old", old), ("new", new)):
        report = {"cases": {"bridge": {"rows": to_json(rows)}}}
        (tmp_path / name).write_text(json.dumps(report))
    assert program.main(["--compare", str(tmp_path / "old"), str(tmp_path / "new")]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "bridge: 3: ms 1.5 ±13% and 2 ±10%",
        "1 of 2 repeated figures agree within noise; "
        "1 more were measured once, or their noise would hide 1.5 times",
    ]


def test_what_must_hold_is_told_from_the_figures() -> None:
    def fit(peer: str, seconds: float, loss: float) -> dict[str, Any]:
        figures = {"seconds": seconds, "loss": loss, "/ ours": seconds / 2.0}
        return {"peer": peer} | {key: Figure((value,)) for key, value in figures.items()}

    place = {"n": 100, "tensors": 1000, "dtype": "float32"}
    cases: dict[str, list[dict[str, Any]]] = {
        "overhead-float64": [place | {"botorch / ours": "cannot: Error"}],
        "overhead-tensors": [
            place | {"Python bridge / ours": Figure((19.0,)), "botorch / ours": Figure((0.9,))},
            place | {"Python bridge / ours": Figure((30.0,)), "tensors": 10},
        ],
        "fit-digits, MLP": [
            fit(OURS, 2.0, 1.0),
            fit("botorch", 2.1, 1.001),
            fit("torchmin, scipy", 1.0, 1.5),  # fast, but not there
            fit("torch LBFGS", 1.0, 1.0),  # by another method
        ],
        "memory": [
            {"method": "CG", "n": 10, "peer": OURS, "MB": Figure((1.0,))}
            | {"vectors beyond scipy": Figure((3.2,))}
        ],
        "fixed": [{"what": "the profile, per evaluation", "us": Figure((1.2,))}],
    }
    assert [(row["measured"], row["kept"]) for row in goals(cases)] == [
        ("19 at n = 100, 1000 tensors, float32", "yes"),
        ("0.9 at n = 100, 1000 tensors, float32", "no"),
        ("19", "no"),
        ("0.952 ±0% of botorch", "yes"),
        ("2.000 ±0% of torch LBFGS", "-"),
        ("3.20 at n = 10", "no"),
        ("1.2", "yes"),
    ]
    assert goals({}) == []
