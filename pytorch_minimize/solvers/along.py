"""A search along a line, whose steps are asked for as trial points."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from functools import partial
from typing import Generic

from typing_extensions import NamedTuple  # typing's is not generic before Python 3.11

from ..bridge.interface import V
from ..bridge.space import Space
from ..run.protocol import Answer, Trial
from .line_search import Probe, Search, send

__all__ = ["Found", "search_along"]


class Found(NamedTuple, Generic[V]):
    """The trial that a search accepts.

    Attributes:
        x, step: the point, and how far along the direction it is.
        answer: what the closure gave there.
    """

    x: V
    step: float
    answer: Answer[V]


def search_along(
    space: Space[V],
    x: V,
    direction: V,
    search: Search,
    measure: Callable[[V, V], V],
    see: Callable[[Answer[V]], None] = lambda answer: None,
) -> Generator[Trial[V], Answer[V], Found[V] | None]:
    """Where a search from x ends; None if it finds no step.

    Args:
        search: of the steps, made so that it may be sent probes that are not finite.
        measure: a trial point and the gradient there -> scalars, the slope being the first.
        see: told what came of a trial that is finite, before the search goes on.
    """
    finite, asked = True, send(search, None)
    while not isinstance(asked, bool):
        trial = space.stepped(x, asked, direction)
        if not finite and space.same(trial, x):
            return None  # stepped back all the way
        answer = yield Trial(trial, partial(measure, trial))
        step, finite = asked, answer.finite
        if finite:
            see(answer)
            asked = send(search, Probe(step, answer.value, answer.scalars[0]))
        else:
            asked = send(search, Probe(step, math.nan, math.nan))
    return Found(trial, step, answer) if asked else None
