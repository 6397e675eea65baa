"""What each iteration of a run came to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .html import table
from .saved_history import COLUMNS, check_endings, check_history

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .plot import Against

__all__ = ["History"]


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

    Two lists have an entry for each step, or each run of a step from many starts:
        segments: the index of its first row.
        endings: the method, and why it ended; "" while it runs, or where a state that was loaded
            does not say.

    Example:
        >>> history = History()
        >>> history.begin_segment()
        >>> history.append(loss=2.0, grad_norm=1.0, step_length=0.1, evaluations=3, seconds=0.01)
        >>> history.note_ending("BFGS: Optimization terminated successfully.")
        >>> history.loss
        array([2.])
        >>> history
        <History: 1 iteration in 1 step, loss 2, BFGS: Optimization terminated successfully.>
    """

    def __init__(self) -> None:
        self._rows: list[tuple[float, ...]] = []
        self.segments: list[int] = []
        self.endings: list[str] = []
        self._evaluations = 0.0
        self._seconds = 0.0

    def begin_segment(self) -> None:
        """A new step begins; its evaluations and seconds are counted on from here."""
        self.segments.append(len(self._rows))
        self.endings.append("")

    def note_ending(self, why: str) -> None:
        """The current step ends, and why."""
        self.endings[-1] = why

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
        self.add(loss, grad_norm, step_length, evaluations, seconds)

    def add(
        self, loss: float, grad_norm: float, step_length: float, evaluations: int, seconds: float
    ) -> None:
        """The same without names, which cost more than the row."""
        spent = self._evaluations + evaluations, self._seconds + seconds
        self._rows.append((loss, grad_norm, step_length, *spent))

    def segment(self) -> list[tuple[float, ...]]:
        """The rows of the current step."""
        return self._rows[self.segments[-1] :] if self.segments else []

    def take(self, rows: Iterable[tuple[float, ...]]) -> None:
        """Add rows of another process's history of the same step."""
        self._rows += rows

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Pickles of older versions do not say why steps ended.
        self.__dict__ = {"endings": [""] * len(state["segments"])} | state

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def loss(self) -> NDArray[np.float64]:
        """At each iterate."""
        return self._column("loss")

    @property
    def grad_norm(self) -> NDArray[np.float64]:
        """max |g| at each iterate; NaN where the method uses no gradient."""
        return self._column("grad_norm")

    @property
    def step_length(self) -> NDArray[np.float64]:
        """The Euclidean distance from each iterate to the one before."""
        return self._column("step_length")

    @property
    def evaluations(self) -> NDArray[np.float64]:
        """Of the closure, until each iterate."""
        return self._column("evaluations")

    @property
    def seconds(self) -> NDArray[np.float64]:
        """Spent in ``step`` until each iterate."""
        return self._column("seconds")

    def _column(self, name: str) -> NDArray[np.float64]:
        column = COLUMNS.index(name)
        return np.array([row[column] for row in self._rows], dtype=np.float64)

    def to_dict(self) -> dict[str, list[float] | list[int]]:
        """Columns as plain lists of one length, for JSON or a table of pandas.

        Returns:
            ``step`` (0 for the first call of ``step``, and so on), ``loss``, ``grad_norm``,
            ``step_length``, ``evaluations``, ``seconds``.

        Example:
            >>> history = History()
            >>> history.begin_segment()
            >>> history.append(
            ...     loss=2.0, grad_norm=1.0, step_length=0.1, evaluations=3, seconds=0.01
            ... )
            >>> history.to_dict()["evaluations"], history.to_dict()["step"]
            ([3], [0])
        """
        columns: dict[str, list[float] | list[int]] = {"step": self._steps()}
        columns |= {name: self._column(name).tolist() for name in COLUMNS}
        columns["evaluations"] = [int(count) for count in columns["evaluations"]]
        return columns

    def _steps(self) -> list[int]:
        """The step that each row is of."""
        begins = [*self.segments, len(self._rows)]
        return [
            step for step, begin in enumerate(begins[:-1]) for _ in range(begin, begins[step + 1])
        ]

    def recent_loss(self, back: int = 0) -> float | None:
        """The current step's loss so many iterations ago; None where it has no such iteration."""
        row = len(self._rows) - 1 - back
        begin = self.segments[-1] if self.segments else 0
        return self._rows[row][0] if row >= begin else None

    def state_dict(self, evaluations: int = 0, seconds: float = 0.0) -> dict[str, Any]:
        """Plain lists and numbers, for ``torch.save``.

        Args:
            evaluations, seconds: of the step that runs, so that a run that is killed and resumed
                counts on from there.
        """
        return {
            "rows": list(self._rows),
            "segments": list(self.segments),
            "endings": list(self.endings),
            "evaluations": self._evaluations + evaluations,
            "seconds": self._seconds + seconds,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of :meth:`state_dict`.

        Raises:
            TypeError, ValueError: it is none. Nothing is changed then.
        """
        rows, segments, totals = check_history(state)
        self.endings = check_endings(state, len(segments))
        self._rows, self.segments = rows, segments
        self._evaluations, self._seconds = totals

    def plot(
        self,
        ax: Axes | None = None,
        *,
        against: Against = "iterations",
        minus: float | None = None,
        **style: Any,
    ) -> Axes:
        """Draw the loss with matplotlib (extra ``plot``), for ``plt.show()`` and notebooks.

        The scale of the loss is logarithmic. A loss that may be negative is drawn as what it is
        above the lowest of it.

        Args:
            ax: where to draw. None makes a new figure, which has the gradient norm below the
                loss, and says why the last step ended.
            against: what runs along the horizontal axis.
            minus: what to subtract from the loss: its least possible value, where that is known.
            style: of the line, as for ``ax.plot``. Where there is a ``label``, as for one run
                among several, the title does not say why the step ended.

        Returns:
            The axes that the loss is drawn in; ``.figure`` is theirs.

        Raises:
            ValueError: ``against`` is none of its three words.

        Example:
            >>> ax = History().plot(against="evaluations")  # doctest: +SKIP
            >>> ax.figure.savefig("history.png")  # doctest: +SKIP
        """
        from .plot import draw

        return draw(self, ax, against, minus, style)

    def __repr__(self) -> str:
        count, steps = len(self), len(self.segments)
        parts = [f"{count} iteration{'s' * (count != 1)} in {steps} step{'s' * (steps != 1)}"]
        if count:
            ends = dict.fromkeys(f"{self._rows[row][0]:.6g}" for row in (0, -1))
            parts.append(f"loss {' -> '.join(ends)}")
        if self.endings and self.endings[-1]:
            parts.append(self.endings[-1])
        return f"<History: {', '.join(parts)}>"

    def _repr_html_(self) -> str:
        """A row for each step, in notebooks."""
        columns, begins = self.to_dict(), [*self.segments, len(self)]
        rows = []
        for step, (first, end) in enumerate(pairwise(begins)):
            of_step = {name: column[first:end] for name, column in columns.items()}
            last = {name: column[-1] if column else math.nan for name, column in of_step.items()}
            rows.append(
                [
                    step + 1,
                    end - first,
                    f"{last['loss']:.4g}",
                    f"{last['grad_norm']:.3g}",
                    last["evaluations"],
                    f"{last['seconds']:.4g}",
                    self.endings[step],
                ]
            )
        names = "step", "iterations", "loss", "largest |gradient|", "evaluations so far"
        return table([*names, "seconds so far", "ended"], rows)
