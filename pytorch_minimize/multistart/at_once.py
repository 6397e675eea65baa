"""All starts at once: from the runs of a step to walks, and the rounds that answer them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import scipy
import torch
from scipy.optimize import OptimizeResult

from ..bridge.space import TensorSpace
from ..closure.population import VectorizedLoss
from ..record.profile import Profile
from ..region.constraints import ClosureConstraint
from ..region.region import Region
from ..row import BoundedNative, Native
from ..run.optimizer import Run
from ..run.protocol import Solver, Trial
from ..scipy_minimize.arguments import Arguments
from ..wording import shown
from .batch import Batch, check_agreement
from .generators import GeneratedWalk, walk_in_rounds
from .member import Row, RowEvaluator
from .rounds import RunWalk, advance_together
from .row_vectors import row_vectors
from .runs import OneRun, Runs
from .threads import ThreadedWalk

__all__ = ["AllAtOnce", "check_vectorized"]


def check_vectorized(vectorized: object, arguments: Arguments) -> None:
    """Refuse what has no gradients of many points, or cannot wait for them.

    Raises:
        TypeError: ``vectorized`` is no callable.
        ValueError: the method asks for Hessians, no two runs of it can take turns, or there are
            constraints of the model.
    """
    if not callable(vectorized):
        raise TypeError(
            f"vectorized: expected a callable that returns the losses of many points, got "
            f"{shown(vectorized)}; for a module, vectorize(model, loss) makes one"
        )
    own_product = arguments.row.native is not None and bool(arguments.row.curvature)
    if arguments.asks.curvature or own_product:
        raise ValueError(
            f"vectorized: {arguments.name} asks for Hessians, which are computed at one point at a "
            f"time; choose a method of gradients, such as L-BFGS-B, or leave vectorized out"
        )
    if not arguments.row.habits.takes_turns:
        raise ValueError(
            f"vectorized: {arguments.name} of scipy {scipy.__version__} holds a lock from a run's "
            f"start to its end, so that no two runs can take turns; leave vectorized out, and they "
            f"come one after another"
        )
    if any(isinstance(c, ClosureConstraint) for c in arguments.keywords["constraints"]):
        raise ValueError(
            "vectorized: a ClosureConstraint is evaluated at one point at a time; give scipy's "
            "NonlinearConstraint on the flat vector, or leave vectorized out"
        )


class AllAtOnce:
    """The runs of one step, in rounds.

    Args:
        runs: of the step, over the model itself.
        vectorized: the user's.
        arguments: of the method.
        recover: exceptions that stand for a loss of NaN.
        solve: runs scipy's solver of one run, from its start to its result.
    """

    def __init__(
        self,
        runs: Runs,
        vectorized: VectorizedLoss,
        arguments: Arguments,
        recover: tuple[type[Exception], ...],
        solve: Callable[[Run], OptimizeResult],
    ) -> None:
        self._runs, self._arguments, self._solve = runs, arguments, solve
        self._recover = recover
        self._whole = whole = runs.whole.evaluator
        self._members: list[OneRun] = []
        self._batch = Batch(
            vectorized,
            whole.bridge,
            row_vectors(whole.space),
            recover,
            gradient=arguments.asks.gradient,
            on_clock=lambda code: whole.guard.run("closure", "vectorized", code),
        )

    def run(self) -> None:
        """To the end of each run.

        Raises:
            ValueError: ``vectorized`` and the closure disagree at the first start.
            What ``vectorized``, a callback or a solver raised.
        """
        whole = self._whole
        alone = whole.evaluate(whole.space.as_vector(self._runs.starts[0])).value
        whole.count_elsewhere(-1)  # it is no evaluation of a run
        whole.guard.hold()
        try:
            advance_together(
                self._walks(),
                self._batch,
                whole.profile,
                lambda loss: check_agreement(alone, loss),
            )
        finally:
            for member in self._members:
                member.close()
            self._members.clear()  # they ask this object, and would hold it until it is collected
            whole.guard.release()

    def _walks(self) -> Iterator[RunWalk]:
        bridge, space = self._whole.bridge, self._whole.space
        where = space.device if isinstance(space, TensorSpace) else torch.device("cpu")
        templates = [torch.empty_like(p, device=where) for p in bridge.params]
        for number in self._runs.numbers():
            start = space.as_vector(self._runs.starts[number])
            yield self._walk(number, Row(bridge, space, templates, self._recover, start))

    def _walk(self, number: int, row: Row) -> RunWalk:
        arguments, native = self._arguments, self._arguments.row.native
        # As MinimizeOptimizer says of each: scipy's methods of gradients hand over copies of x.
        copies = arguments.row.gradient and not arguments.row.habits.as_given
        evaluator = RowEvaluator(
            row,
            Profile(),
            gradient=arguments.asks.gradient,
            keeps_points=copies or native is not None,
        )
        if native is not None:
            return self._by_stages(number, evaluator, native)
        walk: ThreadedWalk[None] = ThreadedWalk(lambda _: one.through(self._solve), f"run {number}")
        evaluator.ask = walk.ask
        lend = self._runs.lend
        one = OneRun(self._runs, number, evaluator, lambda x, use: walk.call(lambda: lend(x, use)))
        self._members.append(one)
        return walk

    def _by_stages(self, number: int, evaluator: RowEvaluator, native: Native) -> RunWalk:
        evaluator.ask = lambda x: self._batch([Trial(x)])[0]  # an end of which nothing is known
        one = OneRun(self._runs, number, evaluator, self._runs.lend)
        self._members.append(one)
        solver = self._solver(native, evaluator.bridge.numel, one.run)
        return GeneratedWalk(walk_in_rounds(solver, one.run, one.plan, one.finished))

    def _solver(self, native: Native, n: int, run: Run) -> Solver[Any]:
        options, bounds = self._arguments.keywords["options"], self._runs.whole.bounds
        space = self._whole.space
        device = space.device if isinstance(space, TensorSpace) else None
        made: Any
        if bounds is None:
            made = native.make(options, n, device, None)
        else:
            run.objective.look_in(Region(bounds))  # the solver keeps them itself
            bounded: BoundedNative = native  # type: ignore[assignment]
            made = bounded.make_within(options, n, device, bounds)
        solver: Solver[Any] = made
        return solver
