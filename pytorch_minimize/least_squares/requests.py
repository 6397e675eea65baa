"""What solvers of residuals ask for: residuals at a point, and the Jacobian there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..problem.objective import Objective
from .evaluator import Linearised, ResidualEvaluator

__all__ = ["Found", "Linear", "Residuals", "answered"]


@dataclass(frozen=True)
class Residuals:
    """A point at which a solver wants the residuals, answered by :class:`Found`.

    Attributes:
        x: never written again (Note [points stay]).
    """

    x: Tensor


@dataclass(frozen=True)
class Linear:
    """A point at which it wants the Jacobian as well, answered by a ``Linearised``.

    Attributes:
        x: mostly the last one that was evaluated; elsewhere the closure is run once more.
    """

    x: Tensor


@dataclass(frozen=True)
class Found:
    """Residuals at a point.

    Attributes:
        value: the cost.
        residuals: of shape (m,); None where the closure gave none.
        finite: whether the cost is.
    """

    value: float
    residuals: Tensor | None
    finite: bool


def answered(
    wanted: Any, objective: Objective[Tensor], evaluator: ResidualEvaluator[Tensor]
) -> Found | Linearised[Tensor]:
    """What the closure gives, filed in the objective."""
    if isinstance(wanted, Linear):
        evaluator.profile.count("jac")
        found = evaluator.linearise(wanted.x)
        if not found.finite:
            objective.note_nonfinite(
                "a Jacobian with NaN or inf", "that it shall step back", evaluator.recovered
            )
        return found
    assert isinstance(wanted, Residuals)
    evaluator.profile.count("fun")
    here = objective.evaluate(wanted.x)
    values = evaluator.values_at(wanted.x) if here.finite else evaluator.values
    return Found(here.value, values, here.finite)
