"""Runs of ``scipy.optimize.minimize`` from many starts, the best of which is left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np
from scipy.optimize import Bounds, OptimizeResult
from torch import Tensor
from typing_extensions import Unpack

from ..bridge.interface import Bridge
from ..closure.population import VectorizedLoss
from ..closure.runner import ClosureRunner
from ..problem.evaluator import Evaluator
from ..record.profile import Profile
from ..record.saved import plain_part
from ..region.bounds import any_group_bounds
from ..region.box import start_within
from ..region.group_keys import as_groups
from ..region.region import Region
from ..run.optimizer import Run
from ..run.plan import Plan
from ..scipy_minimize.arguments import Arguments
from ..scipy_minimize.optimizer import MinimizeOptimizer
from ..settings import RunKeywords
from ..signatures import with_run_keywords
from ..typing import Array, UserClosure
from ..wording import shown
from .at_once import AllAtOnce, check_vectorized
from .runs import OneRun, Runs
from .starts import Starts, check_starts, is_number, points_of

__all__ = ["MultiStartWrapper"]


@with_run_keywords
class MultiStartWrapper(MinimizeOptimizer):
    """``scipy.optimize.minimize`` from many starts; the model ends at the best.

    With a closure alone, runs come one after another. With ``step(closure, vectorized=...)`` all
    of them advance together, in rounds: one forward pass and one backward pass answer every run
    that waits, and those that are finished leave. Each run is the one that it would be alone.

    Args:
        params: as for :class:`MinimizeWrapper`.
        minimizer_args: as for :class:`MinimizeWrapper`: every run is by this method.
        starts: a number: the parameters' own values and points of a scrambled Sobol sequence
            inside the bounds, which every variable must have then. Or flat points: a tensor or an
            array of shape (S, n), or a list of them. Or a callable that is called with a
            generator of random numbers (numpy's) at each step and returns points. The parameters'
            own values are no start then, unless they are among the points.
        rng: seed or generator of what is drawn, in scipy's forms.
        hopeless_after: end a run from this iteration on where its loss is above the median of
            the losses that other runs had at the same iteration, once four others came so far.
            A run that would have overtaken them later is lost. None lets all runs end themselves.
        {run_keywords}

    ``timeout`` and ``max_evaluations`` are those of all runs together, ``rtol`` is looked at in
    each. A callback that takes ``intermediate_result`` finds the number of the run in its ``run``;
    any callback finds it in ``optimizer.current_run``.

    Attributes:
        results: what each run ended with, the best first: scipy's result, and ``run`` (the row
            of ``starts``) and ``history`` (its iterations). Of runs that a limit kept from
            beginning there is none.
        starts: of the last step, shape (S, n), as the parameters' dtype holds them.
        res: the best run's result, with ``runs`` (how many ended), ``rounds`` (batched
            evaluations) and ``evaluations`` (of the loss, in all runs) besides.
        history: the iterations of all runs, run after run; ``segments`` has the first of each,
            ``endings`` why it ended. Evaluations and seconds are those of the step when the run
            came there: with ``vectorized`` they begin anew in each run, since all advance together.

    Raises:
        ValueError, TypeError: arguments that are not understood, with those that are.

    Example:
        >>> x = torch.nn.Parameter(torch.tensor([3.0, -2.0], dtype=torch.float64))
        >>> def rastrigin(x):
        ...     return (x**2 - 10 * torch.cos(2 * torch.pi * x) + 10).sum(-1)
        >>> groups = [dict(params=[x], bounds=(-5.12, 5.12))]
        >>> optimizer = MultiStartWrapper(groups, dict(method="L-BFGS-B"), starts=64, rng=0)
        >>> loss = optimizer.step(lambda: rastrigin(x), vectorized=lambda xs: rastrigin(xs[0]))
        >>> bool(loss < 3.0), len(optimizer.results)
        (True, 64)
        >>> [round(res.fun, 3) for res in optimizer.results] == sorted(
        ...     round(res.fun, 3) for res in optimizer.results)
        True

    Source: Sobol points as of :class:`scipy.stats.qmc.Sobol`; the rule of ``hopeless_after`` is
    the median stopping rule of D. Golovin et al., Google Vizier, KDD (2017), without its averages.
    """

    _vectorized: VectorizedLoss | None = None
    _runner: ClosureRunner | None = None  # of the step that runs
    _first_segment = 0  # of the step's history
    current_run: int | None = None

    def __init__(
        self,
        params: Iterable[Any],
        minimizer_args: Mapping[str, Any] | None = None,
        starts: Starts = 32,
        rng: Any = None,
        hopeless_after: int | None = None,
        **run_keywords: Unpack[RunKeywords],
    ) -> None:
        groups = as_groups(params)
        bounded = any_group_bounds([group for group in groups if isinstance(group, Mapping)])
        arguments = Arguments.parse(minimizer_args, bounds_in_groups=bounded)
        check_starts(starts, arguments.name, takes_bounds=arguments.row.bounds)
        # A generator would be empty at the second step.
        self._stated = list(starts) if isinstance(starts, Iterator) else starts
        self._rng, self._hopeless_after = rng, _count_or_none("hopeless_after", hopeless_after)
        self.results: list[OptimizeResult] = []
        self.starts: Array | None = None
        super().__init__(groups, arguments, run_keywords)
        self._check_settings()
        # Drawn to be looked at; numbers with a seed of their own, so that rng is left as it is.
        if not callable(starts):
            bridge = self.bridge
            bounds = self._flat_bounds(bridge.params)
            # Those outside the bounds are moved, with a warning, at each step.
            drawn_in = bounds if is_number(self._stated) else None
            points_of(self._stated, 0, bridge, drawn_in, self.param_groups)

    def step(  # type: ignore[override]
        self, closure: UserClosure, vectorized: VectorizedLoss | None = None
    ) -> Tensor:
        """Minimise the loss that ``closure`` returns, from every start.

        Args:
            closure: as for
                :meth:`~pytorch_minimize.run.optimizer.FullBatchOptimizer.step`.
            vectorized: computes the same loss for many points at once: it is called with a list of
                one tensor of shape ``(S, *p.shape)`` for each parameter p, in the optimizer's
                order, and returns the losses, shape (S,), row i of which hangs on row i of the
                tensors alone. For a module, :func:`vectorize` makes one. All runs then advance
                together, and ``closure`` is called at the first start, and at the best end where
                its gradient is in doubt.

        Returns:
            The loss at the best end, a detached 0-dim tensor.

        Raises:
            TypeError: ``vectorized`` is no callable.
            ValueError: points that cannot be starts; ``vectorized`` and ``closure`` disagree at
                the first start; with ``vectorized``, a method that asks for Hessians of autograd,
                COBYQA, COBYLA before scipy 1.16, or constraints of the model.
            Anything that closure, callback or ``vectorized`` raise: all runs have ended then, and
            the parameters hold the best point seen in any.
        """
        if vectorized is not None:
            check_vectorized(vectorized, self._arguments)
        self._vectorized, self._first_segment = vectorized, len(self.history.segments)
        try:
            return super().step(closure)
        finally:
            self._vectorized = self._runner = self.current_run = None

    def _check_settings(self) -> None:
        for name in ("distributed", "warm_start"):
            if getattr(self._settings, name) is not False:
                raise ValueError(
                    f"{name}: many starts run in one process, each from its own point and nothing "
                    f"else; leave it out"
                )

    @property
    def _plan(self) -> Plan:
        """Of the step. That it went nowhere is told of runs: its own start is that of none."""
        return replace(self._arguments.plan, tolerances=())

    def _start_inside(self, bridge: Bridge, bounds: Bounds | None, plan: Plan) -> None:
        if is_number(self._stated):  # the parameters' own values are a start
            super()._start_inside(bridge, bounds, plan)
        points = points_of(self._stated, self._rng, bridge, bounds, self.param_groups)
        if bounds is not None and plan.habits.strictly_inside:
            points = _strictly_inside(points, bridge, bounds)
        self.starts = points

    def _make_evaluator(self, runner: ClosureRunner) -> Evaluator[Any]:
        self._runner = runner
        if self._vectorized is None or self._arguments.row.native is not None:
            return super()._make_evaluator(runner)
        return self._evaluator(runner, self._arguments.asks, self._arguments.row.habits)

    def _solve(self, run: Run) -> OptimizeResult:
        assert self.starts is not None
        runs = Runs(
            run,
            self._arguments.plan,
            self._settings,
            self.starts,
            self._hopeless_after,
            self.history,
            self._tell_current,
        )
        self.results = runs.results
        # Each run holds threads of BLAS itself.
        run.evaluator.guard.release()
        try:
            if self._vectorized is None:
                self._one_after_another(runs)
            else:
                recover, solve = self._settings.recovered, self._solve_alone
                AllAtOnce(runs, self._vectorized, self._arguments, recover, solve).run()
        finally:
            runs.close()
        run.evaluator.guard.hold()
        return self._best_result(runs)

    def _note_ending(self, why: str) -> None:
        """Of runs that did not come to an end of their own; the others' is in the history."""
        endings = self.history.endings
        for place in range(self._first_segment, len(endings)):
            endings[place] = endings[place] or why

    def _best_result(self, runs: Runs) -> OptimizeResult:
        whole, best = runs.whole, runs.results[0]
        space, objective = whole.evaluator.space, whole.objective
        # The step's best by itself, where points are compared by who they are.
        x, known = space.as_vector(best.x), objective.best_x
        is_known = space.waits and np.array_equal(best.x, space.to_host(known))
        res = OptimizeResult(best, x=known if is_known else space.copy(x))
        del res["history"]
        name = "grad" if "grad" in res else "jac"
        if isinstance(res.get(name), np.ndarray):
            if np.isnan(res[name]).any():
                del res[name]  # unknown where a limit ended it, and not to be looked for then
            else:
                res[name] = space.as_vector(res[name])
        res.runs, res.evaluations = len(runs.results), objective.evaluations
        res.rounds = self.profile.counts.get("vectorized", 0)
        keeps = self._arguments.row.habits.keeps_bounds and whole.bounds is not None
        objective.look_in(Region(whole.bounds, keeps_bounds=keeps))
        # What other runs met says nothing of the end of this one.
        objective.next_iteration(res.x)
        objective.next_iteration(res.x)
        return res

    def _one_after_another(self, runs: Runs) -> None:
        whole = runs.whole.evaluator
        assert self._runner is not None
        for number in runs.numbers():
            whole.load_point(whole.space.as_vector(runs.starts[number]))
            with self._own_profile():
                evaluator = super()._make_evaluator(self._runner)
                # The run's own evaluator lends the model already, with what is known there.
                one = OneRun(runs, number, evaluator, lambda x, use: use())
                try:
                    one.through(self._solve_alone)
                finally:
                    one.close()

    @contextmanager
    def _own_profile(self) -> Iterator[None]:
        """Inside the block a profile of one run, whose counts its result speaks of."""
        whole, own = self.profile, Profile()
        self.profile = own
        own.start()
        try:
            yield
        finally:
            own.stop()
            self.profile = whole
            for part, seconds in own.clock.seconds.items():
                if part != "solver":  # which the clock of the step is on
                    whole.attribute(part, seconds)
            for what, times in own.counts.items():
                whole.count(what, times)

    def _solve_alone(self, run: Run) -> OptimizeResult:
        return super()._solve(run)

    def _tell_current(self, number: int | None) -> None:
        self.current_run = number

    def _record(self) -> dict[str, Any]:
        return super()._record() | {"starts": plain_part({"starts": self._stated}).get("starts")}

    def __getstate__(self) -> dict[str, Any]:
        own = ("_stated", "_rng", "_hopeless_after", "results", "starts")
        return super().__getstate__() | {name: self.__dict__[name] for name in own}


def _count_or_none(name: str, value: Any) -> int | None:
    is_count = isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1
    if value is not None and not is_count:
        raise ValueError(f"{name}: expected a positive int or None, got {shown(value)}")
    return None if value is None else int(value)


def _strictly_inside(points: Array, bridge: Bridge, bounds: Bounds) -> Array:
    """Points that are not on bounds which must be kept strictly; the parameters stay."""
    own, inside = bridge.flatten_params(), []
    try:
        for point in points:
            bridge.load_params(point)
            start_within(bridge, bounds, strictly=True)
            inside.append(bridge.flatten_params())
    finally:
        bridge.load_params(own)
    return np.array(inside)
