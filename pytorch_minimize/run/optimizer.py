"""What all the optimizers share: the torch side of one run, from step to result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from scipy.optimize import HessianUpdateStrategy, OptimizeResult
from torch import Tensor

from ..bridge.interface import Bridge
from ..bridge.layout import coarsest_eps
from ..bridge.make import make_bridge
from ..closure.captured_graphs import FixedGradients
from ..closure.runner import ClosureRunner
from ..curvature.check_closure import check_closure
from ..curvature.linear_operator import ClosureHessian
from ..problem.best_point import BestPoint
from ..problem.curved import CurvedObjective
from ..problem.objective import Objective
from ..record.checkpoint import Checkpoint, check_path
from ..record.history import History
from ..record.log import log_end, log_failure, log_start
from ..record.profile import Profile
from ..region.box import completer, start_within
from ..region.feasibility import restrict
from ..region.group_keys import split
from ..scipy_minimize.arguments import Arguments
from ..scipy_minimize.function import ScipyFunction
from ..scipy_minimize.keywords import ARGUMENTS
from ..scipy_minimize.objective import make_objective
from ..settings import Settings
from ..typing import Array, UserClosure
from ..wording import shown
from .callers_data import own_copy
from .endings import USERS_HESS, USERS_JAC, Stopped
from .finish import finish
from .first_step import FirstStep
from .state import Resumable
from .warm_start import InverseHessian
from .watch import Watch

__all__ = ["ScipyOptimizer"]


class ScipyOptimizer(Resumable):
    """A torch optimizer whose ``step`` hands the model to one of scipy's solvers.

    Subclasses say what they call of scipy in :meth:`_solve`; everything that is promised about
    parameters, gradients, interrupts and results is kept here.

    Args:
        params: parameters, named parameters or param groups, as for any torch optimizer. Those
            with ``requires_grad=False`` stay fixed, unless none requires grad and the solver is
            gradient-free: then all are optimised.
        arguments: how ``scipy.optimize.minimize`` is called, checked.
        run_keywords: see :class:`Settings`.

    Attributes:
        res: scipy's result of the last step, with ``nonfinite`` and ``recovered`` besides; None
            before.
        profile: where the time of the last step went.
        history: what each iteration came to, over all steps.
    """

    res: OptimizeResult
    profile: Profile

    def __init__(
        self, params: Iterable[Any], arguments: Arguments, run_keywords: Mapping[str, Any]
    ) -> None:
        lr, run_keywords = split(run_keywords)
        self._settings = Settings.parse(run_keywords, ARGUMENTS)
        if self._settings.checkpoint is not None:
            check_path(self._settings.checkpoint[0])
        self._arguments = arguments
        if self._settings.warm_start and "hess_inv0" not in arguments.known_options:
            raise ValueError(f"warm_start: only BFGS can be warm started, not {arguments.name}")
        self._bridge: Bridge | None = None
        self._running = False
        self._objective: Objective | None = None  # of the step that runs
        self._bridged: list[tuple[object, ...]] = []  # parameters as they were when it was made
        self._best: BestPoint | None = None
        self._inverse: InverseHessian | None = None
        self.res = None
        self.profile = Profile()
        self.history = History()
        super().__init__(params, lr)
        self._check_sizes()
        self._first_step: FirstStep | None = FirstStep(
            param for group in self.param_groups for param in group["params"]
        )

    @property
    def bridge(self) -> Bridge:
        """Between the flat vector and the parameters that are optimised now."""
        return self._current_bridge()

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
            Anything that the closure raises, unchanged, but what ``recover`` names: the parameters
            then hold the best point seen, and the optimizer can be stepped again.
        """
        _require_closure("step", closure, "One step runs a whole minimisation")
        if self._running:
            raise RuntimeError("step was called from inside a closure of the same optimizer")
        self._running = True
        try:
            with torch.inference_mode(False), torch.enable_grad():
                return self._run(closure)
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
            ValueError: a parameter does not require grad.
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
        runner = self._make_runner(closure, self._current_bridge())
        return ClosureHessian.of(runner, self._settings)

    def ravel_pack(self, tensors: Iterable[Tensor | None]) -> Array:
        """One tensor per parameter -> one flat float64 vector; None counts as zeros."""
        return self._current_bridge().flatten(list(tensors))

    def np_unravel_unpack(self, x: Any) -> list[Tensor]:
        """One flat vector -> new tensors in each parameter's shape, dtype and device."""
        return self._current_bridge().unflatten(np.asarray(x, dtype=np.float64))

    def _run(self, closure: UserClosure) -> Tensor:
        self.profile = Profile()
        self.profile.start()
        self._check_written()
        self._groups_changed()
        self._require_gradients()
        bridge = self._current_bridge()
        self._check_sizes()
        runner = self._make_runner(closure, bridge)
        checkpoint = self._make_checkpoint()
        self._start_inside(bridge)
        self._watch_first_step(runner)
        objective = self._make_objective(runner)
        function = ScipyFunction(objective)
        x0 = objective.x
        watch = Watch(function, x0, self._arguments, self._settings, self.history, checkpoint)
        objective.on_nan_point = watch.break_down
        if watch.has_limits:
            objective.before_evaluation = watch.before_evaluation
        self.history.begin_segment()
        log_start(self._arguments.name, type(bridge).__name__, bridge.params, bridge.numel)
        self._objective = objective
        try:
            if self._settings.check_closure:
                curvature = objective.curvature if isinstance(objective, CurvedObjective) else None
                self.profile.begin("closure")
                bounds = self._flat_bounds()
                check_closure(runner, self._arguments.gradient, curvature, bounds)
                self.profile.begin("solver")
            with objective.blas:
                res = self._solve_or_stop(function, watch, x0)
            self.res = finish(function, res, x0, self._arguments)
            self._keep_inverse(res, bridge)
            if self._arguments.prints_report:
                print(self._arguments.report(res))
            if checkpoint is not None:
                checkpoint.write()
        except BaseException as raised:
            cause = raised if objective.error is None else objective.error
            _load_best(objective, cause)
            log_failure(self._arguments.name, cause, self.profile)
            del cause
            # Not in a local of this frame: the error's traceback holds the frame, and the two would
            # keep the graph alive until the garbage collector comes.
            if objective.error is None or objective.error is raised:
                raise
            # scipy has put an error of its own in its place.
            raise objective.error from objective.error.__cause__
        finally:
            self._objective = None
            objective.close()
            watch.close()
            self.profile.stop()
            self.history.end_segment(objective.evaluations, self.profile.total)
            bridge.release()
            self._best = self._best_of(objective)
        log_end(self._arguments.report(self.res), self.profile)
        return runner.loss_like.new_tensor(self.res.fun)

    def _make_runner(self, closure: UserClosure, bridge: Bridge) -> ClosureRunner:
        fixed = FixedGradients.of(bridge) if self._settings.captured_graph else None
        return ClosureRunner(closure, bridge, self._settings.recovered, fixed)

    def _watch_first_step(self, runner: ClosureRunner) -> None:
        if self._first_step is not None:
            draws = not self._settings.check_closure  # which compares evaluations
            self._first_step.watch(runner, draws=draws, gradients=self._arguments.gradient)
            self._first_step = None

    def _make_objective(self, runner: ClosureRunner) -> Objective:
        return make_objective(runner, self._arguments, self._settings, self.profile)

    def _start_inside(self, bridge: Bridge) -> None:
        row = self._arguments.row
        strictly = row is not None and row.constraint_curvature
        start_within(bridge, self._flat_bounds(), strictly=strictly)

    def _keep_inverse(self, res: OptimizeResult, bridge: Bridge) -> None:
        if self._settings.warm_start and "hess_inv" in res:
            self._inverse = InverseHessian.of(res.hess_inv, bridge.params)

    def _make_checkpoint(self) -> Checkpoint | None:
        if self._settings.checkpoint is None:
            return None
        path, seconds = self._settings.checkpoint
        return Checkpoint(path, seconds, self.state_dict)

    def _solve_or_stop(self, function: ScipyFunction, watch: Watch, x0: Array) -> OptimizeResult:
        try:
            res = self._solve(function, watch, x0)
        except Stopped as stop:
            return stop.result(function.objective, self._arguments.result_fields, watch.state)
        if function.objective.error is not None:  # the solver kept it to itself
            raise function.objective.error
        return res

    def _solve(self, function: ScipyFunction, watch: Watch, x0: Array) -> OptimizeResult:
        """Call scipy's solver from x0."""
        raise NotImplementedError

    def _minimize_keywords(
        self, arguments: Arguments, function: ScipyFunction, watch: Watch
    ) -> dict[str, Any]:
        """What ``scipy.optimize.minimize`` gets besides ``fun`` and ``x0``."""
        objective = function.objective
        options = arguments.options_for(coarsest_eps(objective.bridge))
        keywords = {**arguments.keywords, "options": options}
        if arguments.row is not None:  # what a callable method does is between it and the user
            keywords = own_copy(keywords)
            options = keywords["options"]
        keywords["callback"] = watch
        if arguments.row is not None or self._has_group_bounds:
            keywords["bounds"] = self._flat_bounds()
        bounds = function.bounds = keywords.get("bounds")
        keywords["constraints"], function.multipliers = restrict(
            objective, bounds, keywords["constraints"], arguments.row
        )
        complete = completer(bounds)
        if complete is not None and arguments.row is not None:
            # With the name intermediate_result scipy prints the callback, and TNC fails.
            keywords["callback"] = lambda x, *state: watch(*(state or (complete(x),)))
        for name, counter in (("jac", USERS_JAC), ("hess", USERS_HESS), ("hessp", USERS_HESS)):
            given = keywords.get(name)
            if isinstance(given, HessianUpdateStrategy) or arguments.row is None:
                continue
            if callable(given):
                keywords[name] = _counted(given, counter, objective.profile)
        if arguments.gradient:
            keywords["jac"] = function.jac
        if arguments.curvature:
            keywords[arguments.curvature] = function.curvature(arguments.curvature)
        if self._settings.warm_start and self._inverse is not None:
            hess_inv = self._inverse.usable(objective.bridge.params)
            options |= {} if hess_inv is None else {"hess_inv0": hess_inv}
        return keywords

    def _given_bounds(self) -> Any:
        # What a callable method makes of bounds is between it and the user.
        return self._arguments.keywords.get("bounds") if self._arguments.row is not None else None

    def _optimised(self) -> list[Tensor]:
        params = list(dict.fromkeys(p for group in self.param_groups for p in group["params"]))
        return [p for p in params if p.requires_grad] or params

    def _require_gradients(self) -> None:
        """Refuse to run a method that needs a gradient where no parameter requires one."""
        if self._arguments.gradient and not any(p.requires_grad for p in self._optimised()):
            raise ValueError(
                "no parameter requires grad: the method needs a gradient. Set "
                "requires_grad=True on those to optimise, or choose a gradient-free method."
            )

    def _check_sizes(self) -> None:
        """Refuse options and constraints that are of another number of variables."""
        self._arguments.check_sizes(self._current_bridge().numel)

    def _current_bridge(self) -> Bridge:
        """The bridge, made anew where parameters were added, frozen, thawed or converted."""
        if self._bridge is not None and self._objective is not None:
            return self._bridge  # of the run, which no such change reaches
        params = self._optimised()
        if not params:
            raise ValueError("the param groups have no parameters: there is nothing to optimise")
        if self._bridge is None or self._bridged != [_memory(param) for param in params]:
            bridge = make_bridge(params)
            if bridge.numel == 0:
                raise ValueError("the parameters have no elements: there is nothing to optimise")
            self._bridge, self._bridged = bridge, [_memory(param) for param in params]
        return self._bridge

    def __getstate__(self) -> dict[str, Any]:
        own = ("_arguments", "_settings", "_inverse", "_best", "res", "profile", "history")
        return super().__getstate__() | {name: self.__dict__[name] for name in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for name in ("_bridge", "_objective", "_best", "_inverse"):
            self.__dict__.setdefault(name, None)
        self.__dict__.setdefault("_running", False)
        self.__dict__.setdefault("_first_step", FirstStep([]))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(method={self._arguments.name})\n{super().__repr__()}"


def _counted(user: Callable[..., Any], name: str, profile: Profile) -> Callable[..., Any]:
    """A derivative of the user's own, which we hand to scipy, with its calls in the profile."""

    def counted(*args: Any) -> Any:
        profile.count(name)
        return user(*args)

    return counted


def _require_closure(where: str, closure: object, why: str) -> None:
    if not callable(closure):
        raise TypeError(
            f"{where}: expected a closure that returns the loss, got {shown(closure)}. {why}, so "
            f"it must be able to evaluate the loss many times."
        )


def _load_best(objective: Objective, leaving: BaseException) -> None:
    """Set the parameters to the best point, on the way out with an error.

    After an error of its kernels a device takes no more work: the error that leaves remains that
    one, and is told what it kept from being done.
    """
    try:
        objective.load_best()
    except RuntimeError as error:
        if hasattr(leaving, "add_note"):  # Python 3.11
            leaving.add_note(f"The parameters could not be set to the best point seen: {error}")


def _memory(param: Tensor) -> tuple[object, ...]:
    """Which parameter it is, and all of it that a bridge relies on."""
    where = id(param), param.device, param.data_ptr()
    return *where, param.dtype, param.shape, param.stride()
