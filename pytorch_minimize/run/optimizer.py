"""What all the optimizers share: the torch side of one run, from step to result."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import torch
from scipy.optimize import Bounds, OptimizeResult
from torch import Tensor

from ..bridge.interface import Bridge
from ..closure.captured_graphs import FixedGradients
from ..closure.runner import ClosureRunner
from ..curvature.check_closure import check_closure
from ..curvature.linear_operator import ClosureHessian
from ..curvature.strategies import Curvature, make_curvature
from ..problem.best_point import BestPoint
from ..problem.evaluator import Evaluator
from ..problem.objective import Objective
from ..record.checkpoint import Checkpoint, check_path
from ..record.history import History
from ..record.log import log_end, log_failure, log_start
from ..record.profile import Profile
from ..region.box import start_within
from ..region.region import Region
from ..settings import Settings
from ..typing import UserClosure
from ..wording import shown
from .described import described
from .finish import cut_short, finish
from .first_step import FirstStep
from .plan import Plan
from .together import Prepared, Together
from .warm_start import InverseHessian
from .watch import Watch

__all__ = ["FullBatchOptimizer", "Run"]


@dataclass(frozen=True)
class Run:
    """One step, while it runs.

    Attributes:
        evaluator: owns where the parameters are.
        objective: what was evaluated.
        watch: limits, history, callback.
        bounds: on the flat vector, as the step began.
        x0: where it starts.
    """

    evaluator: Evaluator[Any]
    objective: Objective[Any]
    watch: Watch[Any]
    bounds: Bounds | None
    x0: Any


class FullBatchOptimizer(Together):
    """A torch optimizer whose ``step`` hands the model to a solver for a whole minimisation.

    Subclasses say which solver (:attr:`_plan`), what evaluates for it (:meth:`_make_evaluator`) and
    how it is called (:meth:`_solve`); everything that is promised about parameters, gradients,
    interrupts and results is kept here.

    Args:
        params: parameters, named parameters or param groups, as for any torch optimizer. Those
            with ``requires_grad=False`` stay fixed, unless none requires grad and the solver is
            gradient-free: then all are optimised.
        settings: how a run is carried out.

    Attributes:
        res: the solver's result of the last step, as scipy's, with ``nonfinite`` and ``recovered``
            besides; None before. After a step that raised (Ctrl-C too), that of the best point.
        profile: where the time of the last step went.
        history: what each iteration came to, over all steps.
    """

    res: OptimizeResult
    profile: Profile
    _records_graph = True  # of closures that are run for their value alone

    def __init__(self, params: Iterable[Any], settings: Settings, lr: Any = None) -> None:
        self._settings = settings
        if settings.checkpoint is not None:
            check_path(settings.checkpoint[0])
        self._running = False
        self._objective: Objective[Any] | None = None  # of the step that runs
        self._best: BestPoint | None = None
        self._inverse: InverseHessian | None = None
        self.res = None
        self.profile = Profile()
        self.history = History()
        super().__init__(params, lr)
        self._check_sizes(self._current_bridge().numel)
        self._first_step: FirstStep | None = FirstStep(
            param for group in self.param_groups for param in group["params"]
        )

    def step(self, closure: UserClosure) -> Tensor:  # type: ignore[override]
        """Minimise the loss that ``closure`` returns, from the parameters' current values.

        Args:
            closure: takes no argument and returns the loss, a scalar tensor or a number. It may
                call ``backward()`` itself, once or several times, or leave that to us, and need
                not zero the gradients. It runs with gradients enabled. A loss that is not finite
                needs no graph; it means that the solver shall step back.

        Returns:
            The loss at the solution, a detached 0-dim tensor. The parameters hold ``res.x``,
            rounded to their dtype, and ``.grad`` the gradient there if the method computed one.

        Raises:
            RuntimeError: called from inside its own closure, or the loss carries no graph, or one
                that reaches none of the parameters.
            OtherProcessError: with ``distributed``, another process raised, or is gone.
            Anything that the closure raises, unchanged, but what ``recover`` names: the parameters
            then hold the best point seen, and the optimizer can be stepped again.
        """
        _require_closure("step", closure, "One step runs a whole minimisation")
        if self._running:
            raise RuntimeError("step was called from inside a closure of the same optimizer")
        self._running = True
        try:
            with _recording():
                return self._run(closure)
        except BaseException:
            self.profile.stop()  # also where it was refused before anything ran
            raise
        finally:
            self._running = False

    def hessian(self, closure: UserClosure) -> ClosureHessian:
        """The Hessian of the closure's loss at the parameters' current values.

        Args:
            closure: as for :meth:`step`; runs once now, and leaves the gradient in ``.grad``.

        Returns:
            A scipy linear operator of shape (n, n) over the flat vector: ``H @ v``, ``H @ V`` with
            V of shape (n, k), and what builds on them. Valid until a parameter is written to.

        Raises:
            ValueError: a parameter does not require grad, or ``distributed`` was asked for.
            RuntimeError: no graph or, at the first product, one without second derivatives.

        Example:
            >>> from pytorch_minimize.optim import MinimizeWrapper
            >>> from scipy.sparse.linalg import eigsh
            >>> x = torch.nn.Parameter(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
            >>> hessian = MinimizeWrapper([x], {}).hessian(lambda: (x**4).sum())
            >>> hessian @ np.ones(3)
            array([ 12.,  48., 108.])
            >>> eigsh(hessian, k=2, which="BE", return_eigenvectors=False).round(6)
            array([ 12., 108.])
        """
        _require_closure("hessian", closure, "It is run now, and again for products")
        if self._settings.distributed is not False:
            raise ValueError(
                "hessian: with distributed it would be that of this process's share of the loss; "
                "ask an optimizer without distributed for it, with a closure of the whole loss"
            )
        runner = self._make_runner(closure, self._current_bridge())
        return ClosureHessian.of(runner, self._settings)

    @property
    @abstractmethod
    def _plan(self) -> Plan:
        """What the run must know of the solver."""

    def _given(self) -> Mapping[str, Any]:
        """What the user gave for the solver, by name; the method is a name too."""
        return {"method": self._method_name()}

    @abstractmethod
    def _make_evaluator(self, runner: ClosureRunner) -> Evaluator[Any]:
        """What evaluates the closure for the solver."""

    @abstractmethod
    def _solve(self, run: Run) -> OptimizeResult:
        """Call the solver; the objective is told where it looks."""

    def _run(self, closure: UserClosure) -> Tensor:
        self.profile = Profile()
        self.profile.start()
        if self._settings.distributed is not False:
            return self._run_together(closure)
        return self._run_here(self._set_up(closure, leads=True))

    def _set_up(self, closure: UserClosure, *, leads: bool) -> Prepared:
        self._check_written()
        self._groups_changed()
        plan = self._plan
        bridge = self._current_bridge()
        self._require_gradients(plan, bridge)
        self._check_sizes(bridge.numel)
        runner = self._make_runner(closure, bridge)
        checkpoint = self._make_checkpoint() if leads else None
        bounds = self._flat_bounds(bridge.params)
        self._start_inside(bridge, bounds, plan)
        self._watch_first_step(runner, plan)
        self._check_closure(runner, plan, bounds)
        return Prepared(plan, bridge, runner, bounds, checkpoint)

    def _run_here(self, prepared: Prepared) -> Tensor:
        plan, bridge, runner = prepared.plan, prepared.bridge, prepared.runner
        checkpoint, bounds = prepared.checkpoint, prepared.bounds
        evaluator = self._make_evaluator(runner)
        objective = Objective(evaluator, Region(), self._settings.nonfinite)
        self._lead_to_best(objective)
        x0 = evaluator.x
        watch = Watch(objective, x0, plan, self._settings, self.history, checkpoint)
        self.history.begin_segment()
        log_start(plan.name, bridge)
        self._objective = objective
        reading: AbstractContextManager[None] = nullcontext()
        try:
            evaluator.guard.hold()
            res = self._solve(Run(evaluator, objective, watch, bounds, x0))
            evaluator.guard.release()
            evaluator.guard.check()  # the solver may have kept an error to itself
            self.res = finish(objective, res, x0, plan)
            self._note_ending(f"{plan.name}: {self.res.get('message')}")
            self._keep_inverse(res, bridge)
            if plan.prints_report:
                print(plan.report(res))
            if checkpoint is not None:
                checkpoint.write()
            self._tell_end(evaluator, objective)
        except BaseException as raised:
            reading = suppress(RuntimeError)  # of a device that takes no more work
            error = evaluator.guard.error
            cause = raised if error is None else error
            _load_best(objective, cause)
            self._note_ending(f"{plan.name}: ended by {type(cause).__name__}")
            self.res = _cut_short(objective, cause, plan, watch.nit)
            log_failure(plan.name, cause, self.profile)
            # Not in locals of this frame: the error's traceback holds the frame, and the two would
            # keep the graph alive until the garbage collector comes.
            del cause, error
            if evaluator.guard.error is None or evaluator.guard.error is raised:
                raise
            # scipy has put an error of its own in its place.
            raise evaluator.guard.error from evaluator.guard.error.__cause__
        finally:
            self._objective = None
            evaluator.close()
            watch.close()
            self.profile.stop()
            self.history.end_segment(objective.evaluations, self.profile.total)
            bridge.release()
            with reading:
                self._best = self._best_of(objective)
            objective.look_in(Region())  # whose constraints hold the objective
        log_end(lambda: plan.report(self.res), self.profile)
        return runner.loss_like.new_tensor(self.res.fun)

    def _make_runner(self, closure: UserClosure, bridge: Bridge) -> ClosureRunner:
        fixed = FixedGradients.of(bridge) if self._settings.captured_graph else None
        return ClosureRunner(
            closure, bridge, self._settings.recovered, fixed, records_graph=self._records_graph
        )

    def _watch_first_step(self, runner: ClosureRunner, plan: Plan) -> None:
        if self._first_step is not None:
            draws = not self._settings.check_closure  # which compares evaluations
            self._first_step.watch(runner, draws=draws, gradients=plan.asks.gradient)
            self._first_step = None

    def _check_closure(self, runner: ClosureRunner, plan: Plan, bounds: Bounds | None) -> None:
        if not self._settings.check_closure:
            return
        curvature: Curvature | None = None
        if plan.asks.curvature:
            kind, block_bytes = self._settings.curvature, self._settings.hessian_block_bytes
            curvature = make_curvature(kind, runner, self.profile, block_bytes)
        self.profile.begin("closure")
        check_closure(runner, plan.asks.gradient, curvature, bounds)
        self.profile.begin("solver")

    def _start_inside(self, bridge: Bridge, bounds: Bounds | None, plan: Plan) -> None:
        start_within(bridge, bounds, strictly=plan.habits.strictly_inside)

    def _note_ending(self, why: str) -> None:
        """In the history."""
        self.history.note_ending(why)

    def _keep_inverse(self, res: OptimizeResult, bridge: Bridge) -> None:
        if self._settings.warm_start and "hess_inv" in res:
            self._inverse = InverseHessian.of(res.hess_inv, bridge.params)

    def _make_checkpoint(self) -> Checkpoint | None:
        if self._settings.checkpoint is None:
            return None
        path, seconds = self._settings.checkpoint
        return Checkpoint(path, seconds, self.state_dict)

    def _require_gradients(self, plan: Plan, bridge: Bridge) -> None:
        """Refuse to run a method that needs a gradient where no parameter requires one."""
        if plan.asks.gradient and not any(p.requires_grad for p in bridge.params):
            raise ValueError(
                "no parameter requires grad: the method needs a gradient. Set "
                "requires_grad=True on those to optimise, or choose a gradient-free method."
            )

    @abstractmethod
    def _check_sizes(self, n: int) -> None:
        """Refuse options and constraints that are of another number of variables than n."""

    def __getstate__(self) -> dict[str, Any]:
        own = ("_settings", "_inverse", "_best", "res", "profile", "history")
        return super().__getstate__() | {name: self.__dict__[name] for name in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for name in ("_objective", "_best", "_inverse"):
            self.__dict__.setdefault(name, None)
        self.__dict__.setdefault("_running", False)
        self.__dict__.setdefault("_first_step", FirstStep([]))

    def __repr__(self) -> str:
        own = described(self, self._given(), self._settings, self._optimised())
        return f"{own}\n{super().__repr__()}"


def _recording() -> AbstractContextManager[Any]:
    """Gradients are recorded; free where they are, as nearly always."""
    if torch.is_inference_mode_enabled():
        return torch.inference_mode(False)
    return nullcontext() if torch.is_grad_enabled() else torch.enable_grad()


def _require_closure(where: str, closure: object, why: str) -> None:
    if not callable(closure):
        raise TypeError(
            f"{where}: expected a closure that returns the loss, got {shown(closure)}. {why}, so "
            f"it must be able to evaluate the loss many times."
        )


def _cut_short(
    objective: Objective[Any], leaving: BaseException, plan: Plan, nit: int
) -> OptimizeResult | None:
    """The result at the best point; None of a device that takes no more work."""
    with suppress(RuntimeError):
        return cut_short(objective, leaving, plan, nit)
    return None


def _load_best(objective: Objective[Any], leaving: BaseException) -> None:
    """Set the parameters to the best point, on the way out with an error.

    After an error of its kernels a device takes no more work: the error that leaves remains that
    one, and is told what it kept from being done.
    """
    try:
        objective.evaluator.load_point(objective.best_x)
    except RuntimeError as error:
        if hasattr(leaving, "add_note"):  # Python 3.11
            leaving.add_note(f"The parameters could not be set to the best point seen: {error}")
