"""What each iteration of a run came to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["History"]

_COLUMNS = ("loss", "grad_norm", "step_length", "evaluations", "seconds")
_SAVED = ("rows", "segments", "evaluations", "seconds")
_FEW = 30  # iterations that are drawn as points as well


class History:
    r"""One row per iteration, over all the steps of an optimizer.

    Attributes (each a float64 array of length ``len(history)``):
        loss: at the iterate.
        grad_norm: :math:`\max_i |g_i|` there, what most methods compare with ``gtol``; NaN where
            the method uses no gradient.
        step_length: :math:`\lVert x_k - x_{k-1} \rVert_2`, from the start of the step for the
            first iteration.
        evaluations: of the closure so far.
        seconds: spent in ``step`` so far.
        segments: index of each step's first row.

    Example:
        >>> history = History()
        >>> history.begin_segment()
        >>> history.append(loss=2.0, grad_norm=1.0, step_length=0.1, evaluations=3, seconds=0.01)
        >>> history.loss
        array([2.])
    """

    def __init__(self) -> None:
        self._rows: list[tuple[float, ...]] = []
        self.segments: list[int] = []
        self._evaluations = 0.0
        self._seconds = 0.0

    def begin_segment(self) -> None:
        """A new step begins; its evaluations and seconds are counted on from here."""
        self.segments.append(len(self._rows))

    def end_segment(self, evaluations: int, seconds: float) -> None:
        """The step has ended, having taken that many evaluations and seconds."""
        self._evaluations += evaluations
        self._seconds += seconds

    def append(
        self,
        *,
        loss: float,
        grad_norm: float,
        step_length: float,
        evaluations: int,
        seconds: float,
    ) -> None:
        """Add an iteration; ``evaluations`` and ``seconds`` are those of this step alone."""
        self._rows.append(
            (
                loss,
                grad_norm,
                step_length,
                self._evaluations + evaluations,
                self._seconds + seconds,
            )
        )

    def segment(self) -> list[tuple[float, ...]]:
        """The rows of the current step."""
        return self._rows[self.segments[-1] :] if self.segments else []

    def take(self, rows: Iterable[tuple[float, ...]]) -> None:
        """Add rows of another process's history of the same step."""
        self._rows += rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getattr__(self, name: str) -> NDArray[np.float64]:
        if name not in _COLUMNS:
            raise AttributeError(f"History has {', '.join(_COLUMNS)} and segments, not {name}")
        column = _COLUMNS.index(name)
        return np.array([row[column] for row in self._rows], dtype=np.float64)

    def segment_losses(self, count: int) -> list[float]:
        """The last ``count`` losses of the current step; fewer where it has fewer."""
        start = max(self.segments[-1] if self.segments else 0, len(self._rows) - count)
        return [row[0] for row in self._rows[start:]]

    def state_dict(self, evaluations: int = 0, seconds: float = 0.0) -> dict[str, Any]:
        """Plain lists and numbers, for ``torch.save``.

        Args:
            evaluations, seconds: of the step that runs, so that a run that is killed and resumed
                counts on from there.
        """
        return {
            "rows": list(self._rows),
            "segments": list(self.segments),
            "evaluations": self._evaluations + evaluations,
            "seconds": self._seconds + seconds,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of :meth:`state_dict`.

        Raises:
            TypeError, ValueError: it is none. Nothing is changed then.
        """
        rows, segments, totals = _checked(state)
        self._rows, self.segments = rows, segments
        self._evaluations, self._seconds = totals

    def plot(self) -> Figure:
        """Loss and gradient norm against iterations, as a matplotlib figure (extra ``plot``).

        The loss is drawn on a log scale where all of it is positive.
        """
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.4, 5.0), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True)
        # A line through a single point is not to be seen.
        line = {"color": "black", "linewidth": 1.2, "marker": "." if len(self) < _FEW else ""}
        iterations = np.arange(1, len(self) + 1)
        for axes, label, values, logarithmic in (
            (above, "loss", self.loss, len(self) > 0 and bool((self.loss > 0).all())),
            (below, "largest |gradient|", self.grad_norm, bool((self.grad_norm > 0).any())),
        ):
            axes.plot(iterations, values, **line)
            axes.set_ylabel(label)
            if logarithmic:
                axes.set_yscale("log")
            for start in self.segments[1:]:
                axes.axvline(start + 0.5, color="0.7", linewidth=0.8, linestyle="--")
        below.set_xlabel("iteration")
        below.xaxis.get_major_locator().set_params(integer=True)
        return figure


def _checked(state: object) -> tuple[list[tuple[float, ...]], list[int], tuple[float, float]]:
    """Rows, segments and totals of a saved history."""
    if not isinstance(state, Mapping):
        raise TypeError(f"history: expected a dict, got {type(state).__name__}")
    missing = [name for name in _SAVED if name not in state]
    if missing:
        raise ValueError(f"history: expected {', '.join(_SAVED)}; {', '.join(missing)} missing")
    rows, segments = state["rows"], state["segments"]
    for name, value in (("rows", rows), ("segments", segments)):
        if not isinstance(value, (list, tuple)):
            raise TypeError(f"history: expected {name} to be a list, got {type(value).__name__}")
    for row in rows:
        is_row = isinstance(row, Sequence) and len(row) == len(_COLUMNS)
        if not (is_row and all(map(_is_number, row))):
            raise ValueError(f"history: expected {', '.join(_COLUMNS)} in a row, got {row!r}")
        if not all(map(_is_amount, row[-2:])):
            raise ValueError(f"history: expected evaluations and seconds >= 0, got {row!r}")
    begins = [0, *segments, len(rows)]
    if not all(isinstance(begin, Integral) for begin in segments) or begins != sorted(begins):
        raise ValueError(
            f"history: expected segments to be rising indices of {len(rows)} rows, got {segments}"
        )
    totals = state["evaluations"], state["seconds"]
    if not all(map(_is_amount, totals)):
        raise ValueError(f"history: expected evaluations and seconds >= 0, got {totals}")
    return [tuple(map(float, row)) for row in rows], [int(begin) for begin in segments], totals


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_amount(value: object) -> bool:
    return isinstance(value, Real) and _is_number(value) and 0.0 <= float(value) < math.inf
