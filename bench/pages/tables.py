"""The tables of README.md and of the pages in docs/, in Markdown, from a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pytorch_minimize.least_squares.methods import METHODS as OF_RESIDUALS
from pytorch_minimize.row import Row as Solver
from pytorch_minimize.scipy_minimize.methods import METHODS
from pytorch_minimize.signatures import keyword_list
from pytorch_minimize.solvers.methods import ROWS

from ..environment import headline
from ..figure import Figure
from ..goals import TOLERATED, fit_rows, goals
from ..overhead import FLOOR, OVERHEAD
from ..peers import OURS, PEERS, SCIPY_PEERS
from ..problems import FITS
from ..rows import Row, from_json
from . import residuals, solvers, together
from .choices import CHOICES
from .endings import ENDINGS
from .markdown import Report, markdown, place, rows_of, seconds, shown, source


def methods(report: Report) -> str:
    def row(method: Solver) -> Sequence[object]:
        return (
            f"`{method.name}`",
            "yes" if method.gradient else "-",
            " or ".join(method.curvature) or "-",
            "yes" if method.bounds else "-",
            "yes" if method.constraints else "-",
        )

    columns = ("method", "gradient", "curvature", "bounds", "constraints")
    return markdown(columns, [row(method) for method in (METHODS | ROWS).values()])


def methods_of_residuals(report: Report) -> str:
    """What `least_squares_kwargs` may have, but for what each method takes."""
    every = {name: row.options or frozenset() for name, row in OF_RESIDUALS.items()}
    common = frozenset.intersection(*every.values()) - {"loss", "f_scale", "gtol"}
    lines = [
        (f"`{name}`", ", ".join(f"`{option}`" for option in sorted(options - common)))
        for name, options in every.items()
    ]
    return markdown(("method", "keywords"), lines)


def own_options(report: Report) -> str:
    """The options of our methods, all but `disp`, which each has."""
    named = {row.name: ", ".join(f"`{name}`" for name in _named(row)) for row in ROWS.values()}
    return markdown(("method", "options"), [[f"`{name}`", names] for name, names in named.items()])


def _named(row: Solver) -> Sequence[str]:
    return sorted((row.options or frozenset()) - {"disp"})


def keywords(report: Report) -> str:
    return keyword_list()


def bridge(report: Report) -> str:
    columns = ("n", "tensors", "dtype", "ours", "pure Python", "two copies")
    ratios = ("python / native", "native / copies")
    rows = [
        [f"{row['n']:,}", f"{row['tensors']:,}", row["dtype"]]
        + [shown(row[f"{way} us"], 1e-6) for way in ("native", "python", "copies")]
        + [f"{row[ratio].median:.3g}" for ratio in ratios]
        for row in rows_of(report, "bridge")
    ]
    table = markdown((*columns, "Python / ours", "ours / copies"), rows)
    return f"{table}\n\n{source(report)}"


def overhead(report: Report) -> str:
    cases = [row for case in OVERHEAD for row in rows_of(report, case)]
    columns = ("n", "tensors", "dtype", "two copies", *SCIPY_PEERS)
    rows = [
        [f"{row['n']:,}", f"{row['tensors']:,}", row["dtype"]]
        + [shown(row[f"{name} us"], 1e-6) for name in (FLOOR, *SCIPY_PEERS)]
        for row in cases
    ]
    return f"{markdown(columns, rows)}\n\n{source(report, 'overhead-float64')}"


def ratios(report: Report) -> str:
    """How many times the peers' overhead ours is: the least and the most over all cases."""
    every = [row for case in OVERHEAD for row in rows_of(report, case)]
    chosen = {
        "n = 100, 4 tensors": [r for r in every if r["n"] == 100 and r["dtype"] == "float64"],
        "1000 tensors": [r for r in every if r["tensors"] == 1000],
        "n = 1,000,000, float32": [r for r in every if r["n"] == 10**6 and r["dtype"] == "float32"],
    }
    others = [name for name in SCIPY_PEERS if name != OURS]

    def cell(rows: Sequence[Row], name: str) -> str:
        values = [row.get(f"{name} / ours") for row in rows]
        known = [v.median for v in values if isinstance(v, Figure)]
        return f"{min(known):.3g}" if known else "-"

    rows = [
        [what, shown(found[0][f"{OURS} us"], 1e-6), *(cell(found, name) for name in others)]
        for what, found in chosen.items()
        if found
    ]
    rows.append(["the least of all cases", "", *(cell(every, name) for name in others)])
    columns = ("overhead per evaluation", OURS, *(f"{name} / ours" for name in others))
    return f"{markdown(columns, rows)}\n\n{source(report, 'overhead-float64')}"


def fits(report: Report) -> str:
    columns = ("problem", "by", "seconds", "/ ours", "evaluations", "final loss", "max abs grad")
    rows = []
    for problem in FITS:
        for row in rows_of(report, f"fit-{problem}"):
            # A problem that could not be made has no size.
            size = f", n = {row['n']}, {row['dtype']}" if "n" in row else ""
            first = [f"{problem}{size}", row["peer"]]
            if "seconds" not in row:
                rows.append([*first, row["note"], "", "", "", ""])
                continue
            figures = [f"{row[k].median:.{digits}g}" for k, digits in _FIT_DIGITS.items()]
            rows.append(
                [*first, shown(row["seconds"]), figures[0], row["evaluations"], *figures[1:]]
            )
    return f"{markdown(columns, rows)}\n\n{source(report)}"


def gains(report: Report) -> str:
    """Whole fits in our time, a line for each problem; with losses where they are not the same."""
    names = [name for name in PEERS if name not in (OURS, "Python bridge")]
    lines = []
    for problem in FITS:
        found = {row["peer"]: row for row in rows_of(report, f"fit-{problem}")}
        if not any("seconds" in row for row in found.values()):
            continue
        loss = found[OURS]["loss"].median
        theirs = [_in_ours(found.get(name, {}), loss) for name in names]
        ours = shown(found[OURS]["seconds"])
        if any("loss" in cell for cell in theirs):
            ours += f" (loss {loss:.3g})"
        lines.append([f"{problem}, n = {found[OURS]['n']:,}", ours, *theirs])
    return f"{markdown(('', OURS, *names), lines)}\n\n{source(report)}"


def _in_ours(row: Row, loss: float) -> str:
    if "/ ours" not in row:
        return "-"
    reached = row["loss"].median
    elsewhere = abs(reached - loss) > 1e-2 * abs(loss)
    return f"{row['/ ours'].median:.2f}" + (f" (loss {reached:.3g})" if elsewhere else "")


_FIT_DIGITS = {"/ ours": 3, "loss": 7, "gradient": 2}


def splits(report: Report) -> str:
    """Whole fits by part; of a peer, what is not the closure is known as a whole only."""
    parts = ("closure", "bridge", "solver")
    rows = []
    for problem in FITS:
        for row in rows_of(report, f"fit-{problem}"):
            if "closure s" in row:
                known = [shown(row[f"{part} s"]) if f"{part} s" in row else "" for part in parts]
                rest = row["seconds"].median - row["closure s"].median
                rows.append([problem, row["peer"], *known, seconds(rest)])
    columns = ("problem", "by", *parts, "all but the closure")
    return f"{markdown(columns, rows)}\n\n{source(report)}"


def wins(report: Report) -> str:
    """Where a peer that reached as low a loss was faster than ours, and by what."""
    lines, missing = [], []
    for problem in FITS:
        found = fit_rows(rows_of(report, f"fit-{problem}"))
        if found is None:
            missing.append(problem)
            continue
        ours, peers = found
        for row in peers:
            ratio = 1 / row["/ ours"].median
            if ratio > TOLERATED:
                kind = "scipy's L-BFGS-B" if PEERS[row["peer"]].uses_scipy else "its own L-BFGS"
                each, our_each = (r["ms per evaluation"].median for r in (row, ours))
                lines.append(
                    f"- {problem}: {row['peer']} ({kind}) takes 1/{ratio:.3g} of our time, with "
                    f"{row['evaluations']} evaluations of {each:.3g} ms, solver included, to our "
                    f"{ours['evaluations']} of {our_each:.3g} ms."
                )
    text = "No peer that reached as low a loss took less time than ours on any of the fits."
    if lines:
        text = "A peer that reached as low a loss was faster than ours here:\n\n" + "\n".join(lines)
    return text + (f"\n\nNot measured: {', '.join(missing)}." if missing else "")


def kept(report: Report) -> str:
    cases = {name: from_json(case["rows"]) for name, case in report["cases"].items()}
    columns = ("must", "goal", "measured", "kept")
    rows = [[row[column] for column in columns] for row in goals(cases)]
    return f"{markdown(columns, rows)}\n\n{source(report)}"


def memory(report: Report) -> str:
    rows = rows_of(report, "memory")
    measured = ("MB beyond the model", "float64 vectors", "vectors beyond scipy's own")
    columns = ("method", "n", "by", *measured)
    lines = [
        [row["method"], f"{row['n']:,}", row["peer"]]
        + (
            [f"{row[k].median:.3g}" for k in ("MB", "vectors", "vectors beyond scipy")]
            if "MB" in row
            else [row["note"], "", ""]
        )
        for row in rows
    ]
    where = headline(place(report, "memory"))
    return f"{markdown(columns, lines)}\n\n{where}; each in its own process."


def fixed(report: Report) -> str:
    rows = [[row["what"], shown(row["us"], 1e-6)] for row in rows_of(report, "fixed")]
    return f"{markdown(('what', 'costs'), rows)}\n\n{source(report, 'fixed')}"


def parts(report: Report) -> str:
    columns = ("per evaluation", "n", "closure", "bridge and bookkeeping", "scipy")
    rows = [
        [row["method"], f"{row['n']:,}"]
        + [shown(row[f"{part} ms"], 1e-3) for part in ("closure", "bridge", "solver")]
        for row in rows_of(report, "parts")
    ]
    return f"{markdown(columns, rows)}\n\n{source(report, 'parts')}"


def contention(report: Report) -> str:
    rows = [
        [row["peer"], shown(row["seconds"]), row["evaluations"], f"{row['loss'].median:.6g}"]
        for row in rows_of(report, "contention")
    ]
    threads = report["cases"]["contention"]["threads"]["torch"]
    columns = (f"200 iterations, {threads} torch threads", "seconds", "evaluations", "final loss")
    return f"{markdown(columns, rows)}\n\n{source(report, 'contention')}"


def by_method(report: Report) -> str:
    """Seconds of whole fits; a peer that ended elsewhere is told of, with its loss."""
    rows = rows_of(report, "methods")
    names = [name for name in SCIPY_PEERS if any(f"{name} s" in row for row in rows)]
    lines = []
    for row in rows:
        cells = []
        for name in names:
            if f"{name} s" not in row:
                note = str(row.get(f"{name} note", ""))
                cells.append(note.rpartition(": ")[2] if "TimeoutError" in note else "-")
                continue
            loss = row[f"{name} loss"].median
            elsewhere = abs(loss - row[f"{OURS} loss"].median) > 1e-2 * abs(loss)
            cells.append(shown(row[f"{name} s"]) + (f" (loss {loss:.3g})" if elsewhere else ""))
        lines.append([row["method"], *cells, row[f"{OURS} evaluations"]])
    first = rows[0]
    columns = (f"{first['problem']}, n = {first['n']}", *names, "evaluations of ours")
    return f"{markdown(columns, lines)}\n\n{source(report, 'methods')}"


def pools(report: Report) -> str:
    rows = [
        [row["method"], f"{row['n']:,}", row["evaluations"]]
        + [shown(row[f"{name} s"]) for name in ("left alone", "held")]
        + [f"{row['left alone / held'].median:.3g}"]
        for row in rows_of(report, "pools")
    ]
    columns = ("method", "n", "evaluations", "left alone", "held", "left alone / held")
    return f"{markdown(columns, rows)}\n\n{source(report, 'pools')}"


def products(report: Report) -> str:
    found = rows_of(report, "products")
    known = ("floor", "graph", "graph / floor", "replay", "vhp", "hvp")
    ways = [way for way in known if way in found[0]]  # older reports have no floor
    rows = [
        [row["model"], f"{row['n']:,}", *(f"{row[way].median:.3g}" for way in ways)]
        for row in found
    ]
    columns = ("one Hessian product, in gradients", "n", *ways)
    return f"{markdown(columns, rows)}\n\n{source(report, 'products')}"


def dense(report: Report) -> str:
    ways = ("ours", "functional", "vectorized")
    rows = [
        [row["model"], f"{row['n']:,}", *(shown(row[f"{way} s"]) for way in ways)]
        + [f"{row[f'{way}, in gradients'].median:.3g}" for way in ways]
        for row in rows_of(report, "dense")
    ]
    columns = ("dense Hessian", "n", *ways, *(f"{way}, in gradients" for way in ways))
    return f"{markdown(columns, rows)}\n\n{source(report, 'dense')}"


def microbatches(report: Report) -> str:
    found = rows_of(report, "micro-batches")
    known = ("gradient of one", "product of one", "replay of 16", "replay / product", "graph of 16")
    columns = [column for column in known if column in found[0]]  # older reports have no products
    rows = [[row["model"], *(f"{row[column].median:.3g}" for column in columns)] for row in found]
    return markdown(("peak MB of tensors, by micro-batches", *columns), rows)


def vectorized(report: Report) -> str:
    columns = ("evaluations per second", "n", "closure", "vectorized", "ratio", "ratio with scipy")
    rows = [
        [row["model"], row["n"]]
        + [f"{row[k].median:,.0f}" for k in ("evaluations/s", "evaluations/s, vectorized")]
        + [f"{row[k].median:.3g}" for k in ("evaluation ratio", "run ratio")]
        for row in rows_of(report, "vectorized")
    ]
    return f"{markdown(columns, rows)}\n\n{source(report)}"


def bookkeeping(report: Report) -> str:
    columns = ("beside a closure of 1 ms, per iteration", "with", "takes", "percent of the run")
    rows = [
        [row["method"], row["with"], shown(row["us"], 1e-6), f"{row['percent'].median:.2g}"]
        for row in rows_of(report, "bookkeeping")
    ]
    return f"{markdown(columns, rows)}\n\n{source(report, 'bookkeeping')}"


_OVERHEAD = set(OVERHEAD)
_FITS = {f"fit-{problem}" for problem in FITS}

TABLES: Mapping[str, tuple[set[str], Callable[[Report], str]]] = {
    "methods": (set(), methods),
    "methods_of_residuals": (set(), methods_of_residuals),
    "own_options": (set(), own_options),
    "keywords": (set(), keywords),
    "bridge": ({"bridge"}, bridge),
    "overhead": (_OVERHEAD, overhead),
    "ratios": (_OVERHEAD, ratios),
    "fits": (_FITS, fits),
    "gains": (_FITS, gains),
    "wins": (_FITS, wins),
    "memory": ({"memory"}, memory),
    "fixed": ({"fixed"}, fixed),
    "parts": ({"parts"}, parts),
    "contention": ({"contention"}, contention),
    "by_method": ({"methods"}, by_method),
    "pools": ({"pools"}, pools),
    "bookkeeping": ({"bookkeeping"}, bookkeeping),
    "vectorized": ({"vectorized"}, vectorized),
    "products": ({"products"}, products),
    "dense": ({"dense"}, dense),
    "microbatches": ({"micro-batches"}, microbatches),
    "splits": (_FITS, splits),
    "pinn": ({"pinn"}, solvers.pinn),
    "redrawn": ({"pinn"}, solvers.redrawn),
    "iterations": ({"iterations"}, solvers.iterations),
    "limited": ({"limited"}, solvers.limited),
    "races": ({"fits"}, solvers.races),
    "together": ({"together"}, together.together),
    "nist": ({"residuals"}, residuals.nist),
    "jacobians": ({"residuals"}, residuals.jacobians),
    "kept": (_OVERHEAD | _FITS | {"memory", "fixed"}, kept),
    **CHOICES,
    **ENDINGS,
}
"""What each table needs of the report, and what makes it."""
