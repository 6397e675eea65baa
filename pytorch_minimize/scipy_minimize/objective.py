"""The objective that the arguments of a method ask for."""

from __future__ import annotations

from typing import Any

from ..closure.runner import ClosureRunner
from ..curvature.strategies import make_curvature
from ..problem.curved import CurvedObjective
from ..problem.objective import Objective
from ..record.profile import Profile
from ..settings import Settings
from .arguments import Arguments
from .blas_threads import ScipyBlasThreads

__all__ = ["make_objective"]


def make_objective(
    runner: ClosureRunner, arguments: Arguments, settings: Settings, profile: Profile
) -> Objective:
    """The objective of one run: with curvature where the arguments ask it of autograd."""
    keywords: dict[str, Any] = {
        "gradient": arguments.gradient,
        "nonfinite": settings.nonfinite,
        "profile": profile,
        "blas": ScipyBlasThreads(settings.scipy_blas_threads),
    }
    if not arguments.curvature:
        return Objective(runner.bridge, runner, **keywords)
    curvature = make_curvature(settings.curvature, runner, profile, settings.hessian_block_bytes)
    row = arguments.row
    return CurvedObjective(
        runner.bridge,
        runner,
        curvature=curvature,
        positive_definite=row is not None and row.positive_definite,
        **keywords,
    )
