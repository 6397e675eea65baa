"""A run of the closure, and what it gave, in one call of the extension's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from ..closure.backward_calls import is_backward_watched
from ..closure.runner import ClosureRunner
from ..extension import native
from ..typing import Array
from .evaluation import Evaluation
from .guard import Guard

if TYPE_CHECKING:
    from .evaluator import Evaluator
    from .objective import Objective

__all__ = ["ClosureCall", "UsualFunction", "make_closure_call", "make_usual_function"]

ClosureCall: TypeAlias = Callable[[Any], Evaluation[Any]]
"""The evaluation at a point, where the parameters are."""


class UsualFunction(Protocol):
    """The loss and the gradient, as scipy asks for them."""

    @property
    def fun(self) -> Callable[[Array], float]:
        """x -> the loss there."""

    @property
    def jac(self) -> Callable[[Array], Array]:
        """x -> the gradient there."""

    def forget(self) -> None:
        """The run is over: hold nothing of it."""


def make_usual_function(
    evaluator: Evaluator[Array],
    objective: Objective[Array],
    permit: Callable[[], tuple[float, int]] | None,
    value: Callable[[Array], float],
    gradient: Callable[[Array], Array],
) -> UsualFunction | None:
    """Both in one call of the extension's each, which moves the parameters as well.

    Args:
        evaluator: of the run; does by itself what this does (Note [oracle]).
        objective: files each evaluation.
        permit: asked before an evaluation; may raise. Returns for how many seconds, and until how
            many evaluations, it need not be asked again.
        value, gradient: are asked for whatever is not usual: a point that is known, or a loss or
            gradient that is not finite.

    Returns:
        None where the extension has none, or an evaluation is more than that.
    """
    call = evaluator.usual_call
    if native is None or call is None:
        return None
    made: UsualFunction = native.UsualFunction(
        evaluator.bridge, evaluator.guard, call, evaluator, objective, permit, value, gradient
    )
    return made


def make_closure_call(runner: ClosureRunner, bridge: object, guard: Guard) -> ClosureCall | None:
    """One of this closure; None where the extension has none for it.

    It does what ``value_and_gradient`` of the runner does inside the guard, and the bridge's
    ``gradient`` after it (Note [oracle]): on the usual way without a line of Python.
    """
    if native is None or runner.fixed is not None:
        return None
    if not (isinstance(bridge, native.ParameterBridge) and isinstance(guard, native.Guard)):
        return None
    # A loss that is only returned is differentiated without torch's many lines of Python, 20 us,
    # unless somebody looks at them.
    differentiates = not is_backward_watched()
    made: ClosureCall = native.ClosureCall(bridge, guard, runner, Evaluation, differentiates)
    return made
