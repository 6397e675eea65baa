"""Tables for notebooks, which show what ``_repr_html_`` returns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["table"]


def table(header: Sequence[object], rows: Iterable[Sequence[object]], below: str = "") -> str:
    """An HTML table in the notebook's own style, with a line of text below it.

    Example:
        >>> table(["part", "seconds"], [["closure", 0.5]])
        '<table><thead><tr><th>part</th><th>seconds</th></tr></thead><tbody><tr><td>closure</td><td>0.5</td></tr></tbody></table>'
    """
    head = _row("th", header)
    body = "".join(_row("td", row) for row in rows)
    after = f"<p>{escape(below)}</p>" if below else ""
    return f"<table><thead>{head}</thead><tbody>{body}</tbody></table>{after}"


def _row(cell: str, values: Iterable[object]) -> str:
    cells = "".join(f"<{cell}>{escape(str(value))}</{cell}>" for value in values)
    return f"<tr>{cells}</tr>"
