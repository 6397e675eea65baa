"""The evaluator that a solver asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..bridge.interface import Bridge, V
from ..bridge.space import Space
from ..closure.runner import ClosureRunner
from ..curvature.strategies import Curvature, make_curvature
from ..distributed.leader import Leader
from ..record.profile import Profile
from ..row import Asks
from ..settings import Settings
from .curved import CurvedEvaluator
from .evaluator import Evaluator
from .guard import Guard

__all__ = ["Join", "make_evaluator"]

Join = Callable[[Bridge[V], Curvature | None], tuple[Leader[V], Curvature | None]]
"""What evaluates in this process -> what evaluates in all of them."""


def make_evaluator(
    runner: ClosureRunner,
    bridge: Bridge[V],
    space: Space[V],
    guard: Guard,
    profile: Profile,
    asks: Asks,
    settings: Settings,
    join: Join[V] | None = None,
    **keywords: Any,
) -> Evaluator[V]:
    """An evaluator; with curvature where the solver asks it of autograd.

    Args:
        runner, bridge, space, guard, profile, keywords: see :class:`Evaluator`.
        asks: of the solver, or of its local searches.
        settings: how curvature is computed.
        join: puts what evaluates in many processes in the place of what evaluates in this one.
    """
    keywords.setdefault("gradient", asks.gradient)
    curvature: Curvature | None = None
    if asks.curvature:
        kind, block_bytes = settings.curvature, settings.hessian_block_bytes
        curvature = make_curvature(kind, runner, profile, block_bytes, bridge, waits=space.waits)
    leader: Leader[V] | None = None
    if join is not None:
        leader, curvature = join(bridge, curvature)
        keywords["source"] = leader
    evaluator: Evaluator[V]
    if curvature is None:
        evaluator = Evaluator(runner, bridge, space, guard, profile, **keywords)
    else:
        keywords["curvature"] = curvature
        evaluator = CurvedEvaluator(runner, bridge, space, guard, profile, **keywords)
    if leader is not None:
        leader.where = lambda: evaluator.x
    return evaluator
