"""What a solver asks for and how it behaves, as one row of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Method"]


@dataclass(frozen=True)
class Method:
    """What one method needs and accepts.

    Attributes:
        name: as scipy spells it.
        gradient: it uses a gradient (and takes ``jac``).
        needs_gradient: it cannot do with scipy's finite differences.
        curvature: what it takes of ``hessp`` and ``hess``, the one that we hand it first.
        positive_definite: its Hessian must be, or it gives up; ours is shifted where it is not.
        bounds, constraints: it takes them.
        keeps_bounds: it evaluates nowhere outside the bounds, save by a rounding.
        separates: scipy translates its constraints to an older form, in which equalities and
            inequalities are apart; it warns where one constraint has both.
        constraint_curvature: it takes Hessians of constraints, and honours keep_feasible.
        options: the names that it knows.
        aliases: names that other methods use for one of its options, with the same meaning.
        tolerances: its options that are absolute, in the loss's own units.
        precision: its defaults that suppose float64, as powers of the machine epsilon; set to
            that of the parameters' coarsest dtype where this is coarser.
        prints: it prints its own report when ``disp`` is True. Where False, ours is printed and
            ``disp`` is not passed on.
        ends_on_stop_iteration: a StopIteration raised by the callback ends it with status 99 and a
            full result; where False we end the run ourselves.
        tells_state: its callback is ``callback(x, state)``, and ends it by returning True.
        precision_lost: the statuses with which it ends where it cannot lower the loss any more
            although the gradient says so. With a loss in float32 that is how many runs end.
        counts_no_iterations: it has no ``maxiter``, so we count its callbacks.
        gradient_test: what its ``gtol`` is by default, if a gradient whose largest element is at
            most ``gtol`` is enough for success; None where success is told by other tests.
        result: the fields of its result besides those that all have, as far as they are known
            to us where we end a run.
    """

    name: str
    gradient: bool
    options: frozenset[str]
    needs_gradient: bool = False
    curvature: tuple[str, ...] = ()
    positive_definite: bool = False
    bounds: bool = False
    constraints: bool = False
    keeps_bounds: bool = False
    separates: bool = False
    constraint_curvature: bool = False
    aliases: Mapping[str, str] = field(default_factory=dict)
    tolerances: tuple[str, ...] = ()
    precision: Mapping[str, float] = field(default_factory=dict)
    prints: bool = True
    ends_on_stop_iteration: bool = True
    tells_state: bool = False
    precision_lost: frozenset[int] = frozenset()
    counts_no_iterations: bool = False
    gradient_test: float | None = None
    result: tuple[str, ...] = ("jac", "njev")
