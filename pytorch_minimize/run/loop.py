"""The loop that solvers of our own run in: it answers what they ask, and decides when they end."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any

from scipy.optimize import OptimizeResult

from ..problem.curved import CurvedEvaluator
from ..problem.evaluation import Evaluation
from .endings import USERS_HESS, Ending, ended
from .optimizer import Run
from .plan import Plan
from .protocol import Answer, Product, Request, Solver, Stage, Trial

__all__ = ["Walk", "solve", "walk"]

UsersProduct = Callable[[Any, Any], Any]
More = Callable[[Any], Any]
Walk = Generator[Trial[Any], Evaluation[Any], OptimizeResult]
"""A run: yields what it wants evaluated, is sent what the closure gave there, filed, and returns
its result."""


def solve(
    solver: Solver[Any],
    run: Run,
    plan: Plan,
    hessp: UsersProduct | None = None,
    more: More | None = None,
) -> OptimizeResult:
    """Run a solver to its end, or to where the watch ends it.

    All that a run promises is decided here and by those that are asked here, never in a solver:
    limits before each evaluation, history and callback at each iterate, NaN, exceptions.

    Args:
        solver: a new one.
        run: the step that it is for.
        plan: of that solver.
        hessp: (x, v) -> H(x) v on arrays, the user's own, where products are not autograd's.
        more: answers what is neither a trial nor a product; for solvers that ask for more than the
            loss, such as residuals.

    Returns:
        A result as scipy's, with the solver's own fields besides.
    """
    walked, evaluate = walk(solver, run, plan, hessp, more), run.objective.evaluate
    try:
        asked = next(walked)
        while True:
            asked = walked.send(evaluate(asked.x, measure=asked.measure))
    except StopIteration as end:
        res: OptimizeResult = end.value
        return res
    finally:
        walked.close()


def walk(
    solver: Solver[Any],
    run: Run,
    plan: Plan,
    hessp: UsersProduct | None = None,
    more: More | None = None,
) -> Walk:
    """As :func:`solve`, for who evaluates: where a run is one of many, all of them at once.

    What it yields has a ``measure`` where scalars are to come over with the loss.
    """
    asked = _Asked(run, hessp, more)
    stage, ending, x, status = solver.start(run.x0), None, None, None
    while ending is None and status is None:
        before = solver.nit
        ending = yield from asked.go_through(stage)
        if ending is None and solver.nit > before:
            ending = asked.tell(solver)
            x = None if ending is None else solver.x
        status = solver.done() if ending is None else None
        if ending is None and status is None:
            stage = solver.step()
    if ending is not None:
        fields = plan.habits.result
        res = ended(ending, run.objective, fields, x=x, nit=run.watch.nit)
        return OptimizeResult({**solver.fields(), **res})
    assert status is not None
    counts = run.evaluator.profile.counts
    products = counts.get("hessp", 0) + counts.get(USERS_HESS, 0)
    return OptimizeResult(
        x=solver.x,
        fun=solver.value,
        jac=solver.gradient,
        nit=solver.nit,
        nfev=run.objective.evaluations,
        njev=counts["jac"],
        **({"nhev": products} if "nhev" in plan.habits.result else {}),
        status=status,
        success=status == 0,
        message=solver.message(status),
        **solver.fields(),
    )


class _Asked:
    """Answers what a solver asks for.

    On a device all that is wanted of one evaluation, by the solver and by the history, comes over
    in one copy: it is waited for once.

    Args:
        run: the step.
        hessp: the user's own products, if they are to be asked for.
        more: answers other requests.
    """

    def __init__(self, run: Run, hessp: UsersProduct | None, more: More | None) -> None:
        self._run, self._space = run, run.evaluator.space
        self._profile = run.evaluator.profile
        self._hessp, self._more = hessp, more
        # Of the last trial: the point, how far it is from the iterate, and max |g| there.
        self._measured: tuple[Any, float, float] | None = None
        self._grad_norm = math.nan

    def go_through(
        self, stage: Stage[Any]
    ) -> Generator[Trial[Any], Evaluation[Any], Ending | None]:
        """Go through a stage; why the run ended inside it, if it did."""
        watch = self._run.watch
        try:
            wanted = next(stage, None)
            while wanted is not None:
                self._profile.begin("bridge")
                ending = watch.due() if watch.looks else None
                if ending is not None:
                    return ending
                if isinstance(wanted, Trial):
                    answer = yield from self._evaluated(wanted)
                else:
                    answer = self._answer(wanted)
                self._profile.begin("solver")
                try:
                    wanted = stage.send(answer)
                except StopIteration:
                    break
        finally:
            stage.close()
            self._profile.begin("solver")
        return None

    def tell(self, solver: Solver[Any]) -> Ending | None:
        """The solver has come to an iterate; why the run is to end there."""
        self._profile.begin("bridge")
        told = OptimizeResult(x=solver.x, fun=solver.value)
        ending = self._run.watch.iteration(solver.x, told, self._lengths(solver.x))
        self._profile.begin("solver")
        return ending

    def _lengths(self, x: Any) -> tuple[float, float] | None:
        """For the history; None where to find them is not to wait."""
        if self._measured is None:
            return None
        point, length, grad_norm = self._measured
        if x is not point:  # the trial was rejected, and the iterate is where it was
            return 0.0, self._grad_norm
        self._grad_norm = grad_norm
        return length, grad_norm

    def _answer(self, wanted: Request[Any]) -> Answer[Any]:
        if isinstance(wanted, Product):
            return self._multiply(wanted)
        assert self._more is not None
        answer: Answer[Any] = self._more(wanted)
        return answer

    def _multiply(self, wanted: Product[Any]) -> Answer[Any]:
        """H(x) v; v itself where the closure gives none that is finite."""
        product, scalars = self._users(wanted) if self._hessp else self._autograds(wanted)
        self._profile.begin("solver")
        if product is None:
            product, scalars = self._space.copy(wanted.v), ()
        if wanted.measure is not None and not scalars:
            scalars = wanted.measure(product).tolist()
        return Answer(math.nan, product, True, scalars)

    def _autograds(self, wanted: Product[Any]) -> tuple[Any, Sequence[float]]:
        self._profile.begin("bridge", "hessp")
        run, evaluator = self._run, self._run.evaluator
        assert isinstance(evaluator, CurvedEvaluator)
        evaluator.guard.check()
        if not self._space.same(wanted.x, evaluator.x):
            evaluator.load_point(wanted.x)
        found = evaluator.product(wanted.x, wanted.v, wanted.measure)
        if found.here is not None:  # maybe of a run of the closure that was needed for this
            run.objective.observe(found.here)
        if not found.finite:
            self._note_nonfinite(evaluator.recovered)
        return found.result, found.scalars

    def _users(self, wanted: Product[Any]) -> tuple[Any, Sequence[float]]:
        assert self._hessp is not None
        space, hessp = self._space, self._hessp
        x, v = space.to_host(wanted.x), space.to_host(wanted.v)
        found = self._run.evaluator.guard.run("curvature", USERS_HESS, lambda: hessp(x, v))
        product = space.copy(space.as_vector(found))
        if space.size(product) != space.size(wanted.v):
            raise ValueError(
                f"hessp must return {space.size(wanted.v)} numbers, got {space.size(product)}"
            )
        if not space.read_product(product, None)[0]:
            self._note_nonfinite(recovered=False)
            return None, ()
        return product, ()

    def _note_nonfinite(self, recovered: bool) -> None:
        self._run.objective.note_nonfinite(
            "a Hessian with NaN or inf", "that it is the identity", recovered
        )

    def _evaluated(self, trial: Trial[Any]) -> Generator[Trial[Any], Evaluation[Any], Answer[Any]]:
        self._profile.begin("bridge", "fun")
        waits, before = self._space.waits, self._run.objective.evaluations
        found = yield Trial(trial.x, partial(self._measure, trial) if waits else None)
        self._profile.count("jac", self._run.objective.evaluations - before)
        assert found.gradient is not None
        answer = partial(Answer, found.value, found.gradient, found.finite)
        if not found.finite or (trial.measure is None and not waits):
            return answer()
        if not waits:
            self._profile.begin("solver")
            assert trial.measure is not None
            return answer(trial.measure(found.gradient).tolist())
        scalars = found.scalars or self._measure(trial, found.gradient).tolist()
        self._measured = trial.x, scalars[0], scalars[1]
        return answer(scalars[2:])

    def _measure(self, trial: Trial[Any], gradient: Any) -> Any:
        """Lengths for the history, and what the solver wants."""
        space = self._space
        lengths = space.scalars(
            [space.between(trial.x, self._run.watch.iterate), space.norm(gradient, math.inf)]
        )
        if trial.measure is None:
            return lengths
        return space.joined(lengths, trial.measure(gradient))
