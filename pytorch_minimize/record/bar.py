"""The progress bar of one step."""

from __future__ import annotations

import math

from tqdm.auto import tqdm

__all__ = ["ProgressBar"]

# Seconds between two shows. One takes 0.25 ms where a closure has run since the last.
_INTERVAL = 0.25


class ProgressBar:
    """Where a step is: iterations, or evaluations where the solver has none.

    Args:
        solver: its name.
        total: iterations or evaluations at most, if that is known.
        counts_iterations: whether the solver has any.
    """

    def __init__(self, solver: str, total: int | None, *, counts_iterations: bool) -> None:
        self._counts_iterations = counts_iterations
        unit = "it" if counts_iterations else " evaluations"
        self._bar = tqdm(desc=solver, total=total, unit=unit, dynamic_ncols=True)
        # Longer where the user's environment says so; a bar that is switched off has none.
        self._interval = max(_INTERVAL, getattr(self._bar, "mininterval", 0.0))
        self._due_at = 0.0
        self._shown = ""

    def is_due(self, seconds: float) -> bool:
        """Whether to show it again, so many seconds after the step began; then not for a while."""
        if seconds < self._due_at:
            return False
        self._due_at = seconds + self._interval
        return True

    def rest(self, seconds: float) -> float:
        """For how many seconds from then on it :meth:`is_due` not again."""
        return self._due_at - seconds

    def show(self, nit: int, evaluations: int, loss: float, grad_norm: float = math.nan) -> None:
        """Iterations and evaluations so far; loss and max |g| at the last iterate, if known."""
        shown = [f"loss {loss:.6g}"] if math.isfinite(loss) else []
        if not math.isnan(grad_norm):
            shown.append(f"|g| {grad_norm:.2e}")
        if self._counts_iterations:
            shown.append(f"evaluations {evaluations}")
        self._bar.n = nit if self._counts_iterations else evaluations
        self._shown = ", ".join(shown)
        self._bar.set_postfix_str(self._shown)

    def close(self, why: str) -> None:
        """Leave it as it stands, with why the step ended."""
        self._bar.set_postfix_str(f"{self._shown}: {why}" if why else self._shown)
        self._bar.close()
