"""The evaluator that a solver asks for."""

from __future__ import annotations

from typing import Any

from ..bridge.interface import Bridge, V
from ..bridge.space import Space
from ..closure.runner import ClosureRunner
from ..curvature.strategies import make_curvature
from ..record.profile import Profile
from ..row import Asks
from ..settings import Settings
from .curved import CurvedEvaluator
from .evaluator import Evaluator
from .guard import Guard

__all__ = ["make_evaluator"]


def make_evaluator(
    runner: ClosureRunner,
    bridge: Bridge[V],
    space: Space[V],
    guard: Guard,
    profile: Profile,
    asks: Asks,
    settings: Settings,
    **keywords: Any,
) -> Evaluator[V]:
    """An evaluator; with curvature where the solver asks it of autograd.

    Args:
        runner, bridge, space, guard, profile, keywords: see :class:`Evaluator`.
        asks: of the solver, or of its local searches.
        settings: how curvature is computed.
    """
    keywords.setdefault("gradient", asks.gradient)
    if not asks.curvature:
        return Evaluator(runner, bridge, space, guard, profile, **keywords)
    curvature = make_curvature(
        settings.curvature,
        runner,
        profile,
        settings.hessian_block_bytes,
        bridge,
        waits=space.waits,
    )
    return CurvedEvaluator(runner, bridge, space, guard, profile, curvature=curvature, **keywords)
