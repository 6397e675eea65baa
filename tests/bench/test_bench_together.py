"""What is made of the parts of an evaluation in several processes."""

from __future__ import annotations

from bench.pages.tables import TABLES
from bench.together import overhead

ALONE = {"rows": 9, "processes": 1, "closure": 100.0, "bridge": 5.0, "communication": 0.0}
SHARED = {"rows": 9, "processes": 2, "closure": 52.0, "bridge": 8.0, "communication": 10.0}
ENVIRONMENT = {
    "date": "2026-01-01",
    "machine": {"cpu": "a CPU", "cores": 2, "load": 0.5},
    "versions": {"torch": "2", "scipy": "1", "numpy": "2"},
}


def test_overhead_is_what_half_a_closure_does_not_explain() -> None:
    assert overhead(ALONE, SHARED) == (52.0 + 8.0 + 10.0 - 5.0 - 50.0) / 100.0


def test_the_table() -> None:
    rows = [ALONE | {"solver": 1.0, "collectives": 0.0}, SHARED | {"solver": 1.0, "collectives": 6}]
    report = {"cases": {"together": {"environment": ENVIRONMENT, "rows": rows, "repeats": 3}}}
    lines = TABLES["together"][1](report).splitlines()
    assert lines[2] == "| 9 | 1 | 100 | 5 | 0 | 1 | - | - |"
    assert lines[3] == "| 9 | 2 | 52 | 8 | 10 | 1 | 6 | 15% |"
    assert lines[-1].endswith("the best evaluation of 3 runs; the machine's load was 0.5.")
