"""What a solver takes, asks for and does: one row of a table for each, whoever wrote it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from scipy.optimize import Bounds

__all__ = ["Asks", "BoundedNative", "Habits", "Native", "Row"]


@dataclass(frozen=True)
class Asks:
    """What the solver of one run asks for: of the closure, and of constraints.

    Attributes:
        gradient: of the loss, which autograd computes.
        curvature: "hessp", "hess" or "", which of them autograd computes.
        positive_definite: Hessians must be, or it gives up; ours are shifted where they are not.
        constraint_gradient, constraint_curvature: Jacobians and Hessians of constraints.
        separates: scipy translates its constraints to an older form, in which equalities and
            inequalities are apart; it warns where one constraint has both.
    """

    gradient: bool = False
    curvature: str = ""
    positive_definite: bool = False
    constraint_gradient: bool = False
    constraint_curvature: bool = False
    separates: bool = False


@dataclass(frozen=True)
class Habits:
    """How a solver behaves, as far as what stands around it must know.

    The defaults are those of a method of scipy's that is called back once an iteration.

    Attributes:
        documented: what it calls an iteration, and what its result holds, is known to us; not so
            of a callable of the user's.
        as_given: what it makes of bounds, constraints and callables is between it and the user,
            and they are handed on as they are.
        keeps_bounds: it evaluates nowhere outside the bounds, save by a rounding.
        strictly_inside: it cannot start on a bound that is to be kept feasible.
        told: what a callback of the older form is told, names of fields of a result.
        tells_state: its callback is told a whole result each time.
        leaves_iterates: an x that its callback was told of it does not write into any more.
        true_ends: a callback ends it by returning True, not by StopIteration alone.
        stops_by: how it is ended from its callback so that it returns a full result: by
            StopIteration, with status 99, or by True. "" where we must end the run ourselves.
        takes_turns: a run of it may wait in one thread while others go on. Not so where it holds a
            lock of the whole process from a run's start to its end: the next would wait for ever.
        threads_from: of so many variables on its own products gain more by threads of its BLAS than
            closures lose by those that wait between them.
        ends_at_best: where a run is ended it ends at the best point, for what the callback is told
            of may be worse (a hop, a local iterate).
        precision_lost: the statuses with which it ends where it cannot lower the loss any more
            although the gradient says so. With a loss in float32 that is how many runs end.
        result: the fields of its result besides those that all have, as far as they are known
            to us where we end a run.
    """

    documented: bool = True
    as_given: bool = False
    keeps_bounds: bool = False
    strictly_inside: bool = False
    told: tuple[str, ...] = ("x",)
    tells_state: bool = False
    leaves_iterates: bool = False
    true_ends: bool = False
    stops_by: Literal["StopIteration", "True", ""] = "StopIteration"
    takes_turns: bool = True
    threads_from: float = math.inf
    ends_at_best: bool = False
    precision_lost: frozenset[int] = frozenset()
    result: tuple[str, ...] = ("jac", "njev")


class Native(Protocol):
    """How a run of a solver of our own is made."""

    def check(self, options: Mapping[str, Any]) -> None:
        """Refuse options that are not understood, before anything runs."""

    def as_callable(self) -> Callable[..., Any]:
        """The same as a ``method`` of ``scipy.optimize.minimize``, for local searches."""

    def make(
        self, options: Mapping[str, Any], n: int, device: torch.device | None, warm: Any
    ) -> Any:
        """A solver for one run.

        Args:
            options: checked.
            n: variables.
            device: where its vectors are tensors; None for arrays.
            warm: what an earlier run knew of the inverse Hessian; None for nothing.
        """


class BoundedNative(Native, Protocol):
    """Of a row that takes bounds."""

    def make_within(
        self,
        options: Mapping[str, Any],
        n: int,
        device: torch.device | None,
        bounds: Bounds | None,
    ) -> Any:
        """A solver for one run that evaluates nowhere outside of them; as :meth:`Native.make`."""


@dataclass(frozen=True)
class Row:
    """What one solver needs and accepts.

    Attributes:
        name: as scipy spells it.
        options: the names that it knows; None where any may be.
        gradient: it uses a gradient (and takes ``jac``).
        needs_gradient: it cannot do with scipy's finite differences.
        curvature: what it takes of ``hessp`` and ``hess``, the one that we hand it first.
        bounds, constraints: it takes them.
        asks: what it asks for besides the gradient and the curvature, which a run decides on.
        habits: how it behaves.
        aliases: names that other methods use for one of its options, with the same meaning.
        tolerances: its options that are absolute, in the loss's own units.
        precision: its defaults that suppose float64, as powers of the machine epsilon; set to
            that of the parameters' coarsest dtype where this is coarser.
        prints: it prints its own report when ``disp`` is True. Where False, ours is printed and
            ``disp`` is not passed on.
        counts_no_iterations: it has no ``maxiter``, so we count its callbacks.
        limits_iterations: its ``maxiter`` is how often it may call back.
        native: how a run of it is made, of a solver of our own; None of scipy's.
        gradient_test: what its ``gtol`` is by default, if a gradient whose largest element is at
            most ``gtol`` is enough for success; None where success is told by other tests.
    """

    name: str
    options: frozenset[str] | None = None
    gradient: bool = False
    needs_gradient: bool = False
    curvature: tuple[str, ...] = ()
    bounds: bool = False
    constraints: bool = False
    asks: Asks = Asks()
    habits: Habits = Habits()
    aliases: Mapping[str, str] = field(default_factory=dict)
    tolerances: tuple[str, ...] = ()
    precision: Mapping[str, float] = field(default_factory=dict)
    prints: bool = True
    counts_no_iterations: bool = False
    limits_iterations: bool = True
    gradient_test: float | None = None
    native: Native | None = None
