"""The seam between a solver and whoever evaluates for it: the solver asks, and is told.

A solver never calls anything. It is generators that yield trial points and are sent what the
closure gave there, so that limits, callbacks, exceptions, several processes and many starts are
decided by the loop outside, once for every solver.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Generic, Protocol

from typing_extensions import NamedTuple  # typing's is not generic before Python 3.11

from ..bridge.interface import V

__all__ = ["Answer", "Product", "Request", "Solver", "Stage", "Trial", "drive"]


class Trial(NamedTuple, Generic[V]):
    """A point that a solver wants evaluated.

    Attributes:
        x: the point; never written again (Note [points stay]).
        measure: the gradient there -> the scalars that the solver wants of it, as one vector of
            shape (k,) where the gradient is. It waits for nothing, so that on a device loss, mark
            and scalars come over in one copy. It is not called where the gradient is not finite,
            unless to find that out would be to wait; what it then gives is not looked at.
    """

    x: V
    measure: Callable[[V], V] | None = None


class Product(NamedTuple, Generic[V]):
    """A product with the Hessian that a solver wants, H(x) v.

    Attributes:
        x: a point that was evaluated, the very vector of its trial. Where it was not the last one,
            the closure is run there once more.
        v: may be written again once the answer is there.
        measure: H(x) v -> scalars, as that of a trial.
    """

    x: V
    v: V
    measure: Callable[[V], V] | None = None


Request = Trial[V] | Product[V]


class Answer(NamedTuple, Generic[V]):
    """What the closure gave.

    Attributes:
        value: the loss at a trial point; NaN for a product.
        gradient: there, never written again (Note [fresh gradients]); for a product, H(x) v.
        finite: whether loss and gradient are. If not, it means "step back". Products always are:
            where the closure gives NaN, H is told to be the identity.
        scalars: what ``measure`` gave, on the host.
    """

    value: float
    gradient: V
    finite: bool
    scalars: Sequence[float] = ()


Stage = Generator[Request[V], Answer[V], None]
"""Part of a run: yields what it wants, is sent the answers, and ends."""


class Solver(Protocol[V]):
    """One run of a solver. Only ``start`` and ``step`` ask; between them all is plain to read.

    Attributes:
        x, value, gradient: of the iterate.
        nit: iterations that were accepted.
    """

    x: V
    value: float
    gradient: V
    nit: int

    def start(self, x: V) -> Stage[V]:
        """Evaluates the start."""

    def step(self) -> Stage[V]:
        """One iteration: trial points, and products where the solver's row asks for curvature,
        until one point is accepted or none can be found."""

    def done(self) -> int | None:
        """A status if the run is over, 0 being success; None if :meth:`step` is to be called."""

    def message(self, status: int) -> str:
        """What a status means."""

    def fields(self) -> Mapping[str, Any]:
        """What a result has besides x, fun, jac, nit, status and message."""


def drive(stage: Stage[V], answer: Callable[[Any], Answer[V]]) -> None:
    """Run a stage to its end. What ``answer`` raises passes through, and closes the stage.

    Example:
        >>> def stage():
        ...     found = yield Trial(2.0)
        ...     print(found.value)
        >>> drive(stage(), lambda trial: Answer(trial.x**2, None, True))
        4.0
    """
    try:
        wanted = next(stage, None)
        while wanted is not None:
            found = answer(wanted)
            try:
                wanted = stage.send(found)
            except StopIteration:
                return
    finally:
        stage.close()
