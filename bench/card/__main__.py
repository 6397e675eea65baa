"""Everything that a card is to show, in one go and in minutes; see docs/gpu.md.

    python -m bench.card [--out build/card] [--steps build smoke ...]

Builds the extension in place with the Python that runs this, compares the kernels with the host's
own loops, runs the tests that need a card in processes side by side, looks for wrong accesses of
memory, measures the machine and the bridge, and draws. Each step is a process with a time limit;
none stops another. The folder gets a log of each, machine.json with card, driver and versions,
what was measured as JSON, and summary.json. Nothing is fetched.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .machine import describe
from .steps import Done, Step, run, steps

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/card"), help="an empty folder")
    parser.add_argument("--place", choices=("card", "emulated"), help="by default what is there")
    parser.add_argument(
        "--tiny",
        action="store_true",
        help="shows that all works, no figures: so it always is without a card",
    )
    parser.add_argument("--steps", nargs="*", help="these alone, by the names of their logs")
    arguments = parser.parse_args(argv)
    folder = arguments.out.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    machine = describe(folder / "machine.log")
    _write(folder / "machine.json", machine)
    # torch itself is not asked: that the steps do, each in a process that may break.
    place = arguments.place or ("card" if machine["cards"] else "emulated")
    table = steps(folder, place, tiny=arguments.tiny or place == "emulated")
    unknown = {*(arguments.steps or ())} - {step.name for step in table}
    if unknown:
        parser.error(f"no step is called {', '.join(sorted(unknown))}")
    chosen = [step for step in table if not arguments.steps or step.name in arguments.steps]
    print(f"{place}: {machine['cards'] or 'no card'}", flush=True)
    return _tell(folder, _run_all(chosen, folder, place))


def _run_all(table: Sequence[Step], folder: Path, place: str) -> list[Done]:
    """One group after the other; summary.json has what there is, should this process be ended."""
    start = time.monotonic()
    done: list[Done] = []
    for together in _groups(table):
        for one in run(together, folder):
            done.append(one)
            passed = time.monotonic() - start
            print(
                f"[{passed:5.0f} s] {one.name:9} {one.seconds:5.0f} s  {one.note}: {one.last}",
                flush=True,
            )
        _write(folder / "summary.json", _summary(place, start, done))
    return done


def _tell(folder: Path, done: Sequence[Done]) -> int:
    """What failed; the exit status."""
    failed = [one for one in done if one.status not in (0, None)]
    for one in failed:
        print(f"\n{one.name}: {one.note}", *one.failed[:20], sep="\n  ")
    missing = [one.name for one in done if one.status is None]
    print(
        f"\n{len(done) - len(failed) - len(missing)} of {len(done)} steps passed, "
        f"{len(failed)} failed, {len(missing)} not run; all of it is in {folder.name}/"
    )
    return 1 if failed else 0


def _groups(table: Sequence[Step]) -> Iterator[list[Step]]:
    """Steps that run at the same time."""
    group: list[Step] = []
    for step in table:
        if group and not step.beside:
            yield group
            group = []
        group.append(step)
    if group:
        yield group


def _summary(place: str, start: float, done: Sequence[Done]) -> dict[str, Any]:
    return {
        "place": place,
        "seconds": round(time.monotonic() - start, 1),
        "steps": [one.to_json() for one in done],
    }


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
