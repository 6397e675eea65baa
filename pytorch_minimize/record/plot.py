"""A history as a picture. Imports matplotlib, which is not needed for anything else."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from ..typing import Array
from ..wording import did_you_mean, shown

if TYPE_CHECKING:
    from .history import History

__all__ = ["Against", "draw"]

Against = Literal["iterations", "evaluations", "seconds"]

_LABELS = {
    "iterations": "iteration",
    "evaluations": "evaluations of the closure",
    "seconds": "time in step (s)",
}
_FEW = 30  # iterations that are drawn as points as well
_LINE = {"color": "black", "linewidth": 1.2}


def draw(
    history: History,
    ax: Axes | None,
    against: Against,
    minus: float | None,
    style: Mapping[str, Any],
) -> Axes:
    """See :meth:`History.plot`."""
    if against not in _LABELS:
        hint = did_you_mean(against, _LABELS) if isinstance(against, str) else ""
        raise ValueError(
            f"against: expected one of {', '.join(get_args(Against))}, got {shown(against)}{hint}"
        )
    places = _places(history, against)
    if ax is not None:
        _draw_loss(ax, history, places, minus, style)
        ax.set_xlabel(_LABELS[against])
        return ax
    above: Axes
    _, (above, below) = plt.subplots(
        2, 1, sharex=True, figsize=(6.4, 5.0), layout="constrained", height_ratios=(3, 2)
    )
    _draw_loss(above, history, places, minus, _LINE | dict(style))
    _draw_line(below, places, history.grad_norm, _LINE | dict(style), history.segments)
    below.set(xlabel=_LABELS[against], ylabel="largest |gradient|")
    if np.isnan(history.grad_norm).all() and len(history):
        below.text(0.5, 0.5, "the method uses no gradient", ha="center", transform=below.transAxes)
        below.set_yticks([])
    if against != "seconds":
        below.xaxis.get_major_locator().set_params(integer=True)
    return above


def _draw_loss(
    ax: Axes, history: History, places: Array, minus: float | None, style: Mapping[str, Any]
) -> None:
    losses = history.loss
    finite = losses[np.isfinite(losses)]
    if minus is None:
        minus = float(finite.min()) if (finite < 0.0).any() else 0.0
    _draw_line(ax, places, losses - minus, style, history.segments)
    sign = "-" if minus >= 0 else "+"
    ax.set_ylabel("loss" if minus == 0.0 else f"loss {sign} {abs(minus):.6g}")
    if "label" not in style and history.endings:
        ax.set_title("\n".join(textwrap.wrap(history.endings[-1], 70)), fontsize=9)


def _draw_line(
    ax: Axes, places: Array, values: Array, style: Mapping[str, Any], segments: list[int]
) -> None:
    """A line on a log scale, where there is anything that such a scale can show."""
    # A line through a single point is not to be seen.
    marker = {"marker": "." if len(values) < _FEW else ""}
    positive = bool((values > 0.0).any())
    shown_values = np.where(values > 0.0, values, np.nan) if positive else values
    ax.plot(places, shown_values, **(marker | dict(style)))
    if positive:
        ax.set_yscale("log")
    for start in segments[1:]:
        if 0 < start < len(places):
            between = (places[start - 1] + places[start]) / 2
            ax.axvline(between, color="0.7", linewidth=0.8, linestyle="--")


def _places(history: History, against: Against) -> Array:
    """Where each iteration is along the horizontal axis."""
    if against == "iterations":
        return np.arange(1.0, len(history) + 1)
    return history.evaluations if against == "evaluations" else history.seconds
