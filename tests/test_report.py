"""The benchmark: it runs as a user runs it, and its figures are what they are said to be."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from typing import Any

import pytest
import torch

from pytorch_minimize.report import _fits, _problems
from pytorch_minimize.report._cases import CASES
from pytorch_minimize.report._overhead import FreeProblem, Questions
from pytorch_minimize.report._peers import OURS, PEERS, Peer, Rule, why_not
from pytorch_minimize.report._problems import FITS
from pytorch_minimize.report._rows import Figure, disagreements, from_json, merged

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[pathlib.Path, str]:
    """Where a quick report was written, and what it printed."""
    out = tmp_path_factory.mktemp("report")
    command = [sys.executable, "-m", "pytorch_minimize.report", "--quick", "--out", str(out)]
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
    quick: tuple[pathlib.Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ROOT / "bench")
    import _tables
    import readme

    report = json.loads((quick[0] / "report.json").read_text())
    made = {name: make(report) for name, (_, make) in _tables.TABLES.items()}
    for page in readme.PAGES:
        new = readme.rewritten((ROOT / page).read_text(), report)
        assert "Not measured yet" not in new
    pages = "".join((ROOT / page).read_text() for page in readme.PAGES)
    for name, table in made.items():
        assert f"<!-- {name} -->" in pages
        assert table
    assert "not installed" in made["fits"] or why_not(PEERS["botorch"], lambda: None) is None


def test_the_readme_has_the_method_table_of_today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "bench")
    import readme

    text = (ROOT / "README.md").read_text()
    assert readme.rewritten(text, {"cases": {}}) == text


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
    monkeypatch.setattr(_problems, "__file__", "/elsewhere/site-packages/report/_problems.py")
    (row,) = _fits.fit("Poisson network", maxiter=1, gtol=0.0, rounds=1)
    assert row["note"] == "examples/pinn.py of the source tree is needed"


def test_what_a_peer_cannot_do_is_said() -> None:
    def fails() -> None:
        raise NotImplementedError("no such method\nand more")

    here = Peer("torch", "torch", lambda problem, rule: None)
    assert why_not(here, fails) == "cannot: NotImplementedError: no such method"
    assert why_not(here, lambda: None) is None
    missing = Peer("none", "there_is_no_such_module", lambda problem, rule: None)
    assert why_not(missing, fails) == "not installed"


def test_processes_become_one_figure() -> None:
    runs: list[list[dict[str, Any]]] = [
        [{"n": 3, "us": 1.0, "what": "a"}],
        [{"n": 3, "us": 3.0, "what": "a"}],
        [{"n": 3, "us": 1.5, "what": "a"}],
    ]
    rows = merged(runs)
    assert rows == [{"n": 3, "us": Figure(1.5, 1.0, 3.0), "what": "a"}]
    assert from_json(json.loads(json.dumps(rows))) == rows
    assert str(Figure(1.5, 1.0, 3.0)) == "1.5 ±67%"
    assert str(Figure(0.0, 0.0, 0.0)) == "0"


def test_reports_disagree_where_they_are_further_apart_than_their_noise() -> None:
    old = [{"n": 3, "us": Figure(1.5, 1.4, 1.6), "ms": Figure(1.5, 1.4, 1.6), "note": "x"}]
    new = [{"n": 3, "us": Figure(1.8, 1.7, 1.9), "ms": Figure(2.0, 1.9, 2.1), "note": "x"}]
    assert disagreements(old, new) == (2, ["3, x: ms 1.5 ±7% and 2 ±5%"])
