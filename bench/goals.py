"""What the project promises of its figures, and whether a report keeps it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from .figure import Figure
from .overhead import OVERHEAD
from .peers import OURS, PEERS, SCIPY_PEERS
from .problems import FITS
from .rows import Row

__all__ = ["SAME_LOSS", "TOLERATED", "fit_rows", "goals"]

Cases = Mapping[str, Sequence[Row]]

SAME_LOSS = 1e-2  # relative: what counts as having reached as low a loss
TOLERATED = 1.02  # the time of a fit, relative to the fastest peer's
FASTER = 20  # than the Python bridge, at 1000 tensors
VECTORS = 3.0  # of float64, beyond scipy's own
PROFILE_US = 2.0


def goals(cases: Cases) -> list[Row]:
    """A row for each promise: what was promised, what was measured, and whether it is kept.

    Promises whose cases were not measured are left out.
    """
    return [row for check in _CHECKS for row in check(cases)]


def fit_rows(rows: Sequence[Row]) -> tuple[Row, list[Row]] | None:
    """Of one fit: our own row, and those of the peers that reached as low a loss."""
    known = {row["peer"]: row for row in rows if "seconds" in row}
    ours = known.pop(OURS, None)
    if ours is None:
        return None
    limit = ours["loss"].median + SAME_LOSS * abs(ours["loss"].median)
    return ours, [row for row in known.values() if row["loss"].median <= limit]


def _row(what: str, goal: str, measured: object, kept: bool | None) -> Row:
    """``kept`` is None for what is told beside the promises, and has no goal."""
    words = {True: "yes", False: "no", None: "-"}
    return {"must": what, "goal": goal, "measured": str(measured), "kept": words[kept]}


def _overhead(cases: Cases) -> Iterator[Row]:
    rows = [row for case in OVERHEAD for row in cases.get(case, ())]
    for name in SCIPY_PEERS:
        ratios = [
            (row[f"{name} / ours"], row)
            for row in rows
            if isinstance(row.get(f"{name} / ours"), Figure)
        ]
        if ratios:
            least, where = min(ratios, key=lambda found: found[0].median)
            place = f"n = {where['n']:,}, {where['tensors']} tensors, {where['dtype']}"
            what = f"overhead of {name} over ours, the least of {len(ratios)} cases"
            yield _row(what, "> 1", f"{least} at {place}", least.median > 1)


def _thousand_tensors(cases: Cases) -> Iterator[Row]:
    for row in cases.get("overhead-tensors", ()):
        ratio = row.get("Python bridge / ours")
        if row["tensors"] == 1000 and isinstance(ratio, Figure):
            what = "overhead of Python bridge over ours at 1000 tensors"
            yield _row(what, f">= {FASTER}", ratio, ratio.median >= FASTER)


def _fits(cases: Cases) -> Iterator[Row]:
    for problem in FITS:
        _, peers = fit_rows(cases.get(f"fit-{problem}", ())) or (None, [])
        same = [row for row in peers if PEERS[row["peer"]].uses_scipy]
        if same:
            what = f"time of {problem}, relative to the fastest peer by scipy's L-BFGS-B"
            ratio, measured = _to_the_fastest(same)
            yield _row(what, f"<= {TOLERATED}", measured, ratio <= TOLERATED)
        if peers:
            what = f"time of {problem}, relative to the fastest peer by any solver"
            yield _row(what, "-", _to_the_fastest(peers)[1], None)


def _to_the_fastest(peers: Sequence[Row]) -> tuple[float, str]:
    """Our time / theirs, and how it is told."""
    fastest = min(peers, key=lambda row: float(row["/ ours"].median))
    ratio = 1 / fastest["/ ours"].median
    return ratio, f"{ratio:.3f} ±{fastest['/ ours'].share:.0%} of {fastest['peer']}"


def _memory(cases: Cases) -> Iterator[Row]:
    rows = [r for r in cases.get("memory", ()) if r["peer"] == OURS and "MB" in r]
    for method in dict.fromkeys(row["method"] for row in rows):
        most = max(
            (row for row in rows if row["method"] == method),
            key=lambda row: float(row["vectors beyond scipy"].median),
        )
        vectors = most["vectors beyond scipy"]
        what = f"float64 vectors beyond scipy's own, {method}"
        measured = f"{vectors.median:.2f} at n = {most['n']:,}"
        yield _row(what, f"<= {VECTORS:g}", measured, vectors.median <= VECTORS + 0.005)


def _profile(cases: Cases) -> Iterator[Row]:
    for row in cases.get("fixed", ()):
        if row["what"].startswith("the profile"):
            what = "microseconds per evaluation of the profile"
            yield _row(what, f"< {PROFILE_US:g}", row["us"], row["us"].median < PROFILE_US)


_CHECKS: Sequence[Callable[[Cases], Iterator[Row]]] = (
    _overhead,
    _thousand_tensors,
    _fits,
    _memory,
    _profile,
)
