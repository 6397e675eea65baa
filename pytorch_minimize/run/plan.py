"""What a run must know of the solver that it carries out, whoever wrote that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scipy.optimize import OptimizeResult

from ..row import Asks, Habits

__all__ = ["Plan"]


@dataclass(frozen=True)
class Plan:
    """One run, as far as it is not the solver's own business.

    Attributes:
        name: of the method.
        asks: what it asks for.
        habits: how it behaves.
        callback: the user's, in any of scipy's forms.
        maxiter: iterations that we count, where the method knows no such option.
        iterations: at most so many, where the user has said so; for who watches.
        gradient_test: success is true where no element of the gradient is larger; None: not by
            that alone.
        tolerances: names of its options that are absolute, in the loss's own units.
        constrained: constraints were stated.
        prints_report: a line of our own is printed at the end, where the solver prints none.
    """

    name: str
    asks: Asks
    habits: Habits
    callback: Callable[..., Any] | None = None
    maxiter: int | None = None
    iterations: int | None = None
    gradient_test: float | None = None
    tolerances: tuple[str, ...] = ()
    constrained: bool = False
    prints_report: bool = False

    def report(self, res: OptimizeResult) -> str:
        """One line on how a run ended."""
        return (
            f"{self.name}: {res.get('message')} fun={res.fun:.6g} nit={res.get('nit')} "
            f"nfev={res.get('nfev')} success={bool(res.get('success'))}"
        )
