"""What all the optimizers share: the torch side of one run, from step to result."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.optimize import OptimizeResult
from torch import Tensor

from ._arguments import Arguments
from ._bounded_groups import BoundedGroups
from ._box import completer, start_within
from ._bridge import Bridge, coarsest_eps, make_bridge
from ._check_closure import check_closure
from ._checkpoint import Checkpoint
from ._closure import ClosureRunner, UserClosure
from ._curved_objective import CurvedObjective, make_objective
from ._feasibility import restrict
from ._first_step import FirstStep
from ._history import History
from ._linear_operator import ClosureHessian
from ._log import log_end, log_failure, log_start
from ._objective import Array, Objective
from ._plain import plain_part
from ._profile import Profile
from ._result import finish
from ._settings import Settings
from ._stopping import Stopped
from ._warm_start import usable_inverse
from ._watch import Watch

__all__ = ["ScipyOptimizer"]


class ScipyOptimizer(BoundedGroups):
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
        self._settings = Settings.parse(run_keywords)
        self._arguments = arguments
        if self._settings.warm_start and "hess_inv0" not in arguments.known_options:
            raise ValueError(f"warm_start: only BFGS can be warm started, not {arguments.name}")
        self._bridge: Bridge | None = None
        self._running = False
        self._objective: Objective | None = None  # of the step that runs
        self._hess_inv: object = None
        self.res = None
        self.profile = Profile()
        self.history = History()
        super().__init__(params)
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
        if not callable(closure):
            raise TypeError(
                f"step: expected a closure that returns the loss, got {closure!r}. One step runs "
                f"a whole minimisation, so it must be able to evaluate the loss many times."
            )
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
        return ClosureHessian.of(ClosureRunner(closure, self._current_bridge()), self._settings)

    def ravel_pack(self, tensors: Iterable[Tensor | None]) -> Array:
        """One tensor per parameter -> one flat float64 vector; None counts as zeros."""
        return self._current_bridge().flatten(list(tensors))

    def np_unravel_unpack(self, x: Any) -> list[Tensor]:
        """One flat vector -> new tensors in each parameter's shape, dtype and device."""
        return self._current_bridge().unflatten(np.asarray(x, dtype=np.float64))

    def state_dict(self) -> dict[str, Any]:
        """Options, counters, history and, per parameter, its best value, ready to be saved.

        Returns:
            torch's ``state`` (with ``best`` for each parameter that is optimised) and
            ``param_groups``, and ``run``: options, history and the loss of the best point.
        """
        return self._state_at(self._objective)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a :meth:`state_dict`, also one of another device or dtype.

        The next :meth:`step` goes on from the best point; until then the parameters keep their
        values. Callables (constraints, callbacks) and bounds on the flat vector stay those of this
        optimizer.

        Raises:
            ValueError: it is of other parameters, or of a method that cannot take what this
                optimizer was given. Nothing is changed then.
        """
        self._check_shapes(state_dict)
        run = state_dict.get("run")
        if run is None:
            super().load_state_dict(state_dict)
            return
        arguments = self._arguments.restored(run["arguments"])
        super().load_state_dict(state_dict)
        self._settings = replace(self._settings, **run["settings"])
        self._arguments = arguments
        self.history.load_state_dict(run["history"])

    def _check_shapes(self, state_dict: dict[str, Any]) -> None:
        own = [group["params"] for group in self.param_groups]
        saved = [group["params"] for group in state_dict["param_groups"]]
        if [len(group) for group in own] != [len(group) for group in saved]:
            return  # torch says so
        pairs = zip(itertools.chain(*own), itertools.chain(*saved), strict=True)
        for number, (param, i) in enumerate(pairs):
            best = state_dict["state"].get(i, {}).get("best")
            if best is not None and best.shape != param.shape:
                raise ValueError(
                    f"load_state_dict: parameter {number} has shape {tuple(param.shape)}, but the "
                    f"saved one {tuple(best.shape)}; load it into the model that it was saved of"
                )

    def _state_at(self, objective: Objective | None) -> dict[str, Any]:
        bridge = self._current_bridge()
        x, loss, running = bridge.flatten_params(), math.nan, (0, 0.0)
        if objective is not None:
            x, loss = objective.best_x, objective.best_value
            running = objective.evaluations, self.profile.total
        waiting = dict(self.state)  # loaded, but no step has gone on from it yet
        for param, best in zip(bridge.params, bridge.unflatten(x), strict=True):
            self.state[param].setdefault("best", best)
        try:
            state = super().state_dict()
        finally:
            self.state.clear()
            self.state.update(waiting)
        state["param_groups"] = [plain_part(group) for group in state["param_groups"]]
        state["run"] = {
            "settings": self._settings.as_saved(),
            "arguments": self._arguments.as_saved(),
            "history": self.history.state_dict(*running),
            "loss": loss,
        }
        return state

    @torch.no_grad()
    def _resume(self) -> None:
        """After load_state_dict: set the parameters to the best values that came with it."""
        for param, state in self.state.items():
            if "best" in state:
                param.copy_(state["best"])
        self.state.clear()

    def _run(self, closure: UserClosure) -> Tensor:
        self._resume()
        self.profile = Profile()
        self.profile.start()
        self._groups_changed()
        bridge = self._current_bridge()
        checkpoint = self._make_checkpoint()
        self._start_inside(bridge)
        runner = ClosureRunner(closure, bridge, self._settings.recover)
        self._watch_first_step(runner)
        objective = self._make_objective(runner)
        x0 = objective.x
        watch = Watch(objective, x0, self._arguments, self._settings, self.history, checkpoint)
        objective.on_nan_point = watch.break_down
        if watch.has_limits:
            objective.before_evaluation = watch.before_evaluation
        self.history.begin_segment()
        log_start(self._arguments, bridge)
        self._objective = objective
        try:
            if self._settings.check_closure:
                curvature = objective.curvature if isinstance(objective, CurvedObjective) else None
                self.profile.begin("closure")
                bounds = self._flat_bounds()
                check_closure(runner, self._arguments.gradient, curvature, bounds)
                self.profile.begin("solver")
            with objective.blas:
                res = self._solve_or_stop(objective, watch, x0)
            self.res = finish(objective, res, x0, self._arguments)
            self._hess_inv = res.get("hess_inv", self._hess_inv)
            if self._arguments.prints_report:
                print(self._arguments.report(res))
            if checkpoint is not None:
                checkpoint.write()
        except BaseException as raised:
            cause = raised if objective.error is None else objective.error
            _load_best(objective, cause)
            log_failure(self._arguments, cause, self.profile)
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
        log_end(self._arguments, self.res, self.profile)
        return runner.loss_like.new_tensor(self.res.fun)

    def _watch_first_step(self, runner: ClosureRunner) -> None:
        if self._first_step is not None:
            draws = not self._settings.check_closure  # which compares evaluations
            self._first_step.watch(runner, draws=draws, gradients=self._arguments.gradient)
            self._first_step = None

    def _make_objective(self, runner: ClosureRunner) -> Objective:
        return make_objective(runner, self._arguments, self._settings, self.profile)

    def _start_inside(self, bridge: Bridge) -> None:
        start_within(bridge, self._flat_bounds())

    def _make_checkpoint(self) -> Checkpoint | None:
        if self._settings.checkpoint is None:
            return None
        path, seconds = self._settings.checkpoint
        return Checkpoint(path, seconds, self.state_dict)

    def _solve_or_stop(self, objective: Objective, watch: Watch, x0: Array) -> OptimizeResult:
        try:
            res = self._solve(objective, watch, x0)
        except Stopped as stop:
            return stop.result(objective)
        if objective.error is not None:  # the solver kept it to itself
            raise objective.error
        return res

    def _solve(self, objective: Objective, watch: Watch, x0: Array) -> OptimizeResult:
        """Call scipy's solver from x0."""
        raise NotImplementedError

    def _minimize_keywords(
        self, arguments: Arguments, objective: Objective, watch: Watch
    ) -> dict[str, Any]:
        """What ``scipy.optimize.minimize`` gets besides ``fun`` and ``x0``."""
        keywords = dict(arguments.keywords)
        keywords["options"] = options = arguments.options_for(coarsest_eps(objective.bridge))
        keywords["callback"] = watch
        if arguments.row is not None or self._has_group_bounds:
            keywords["bounds"] = self._flat_bounds()
        bounds = keywords.get("bounds")
        keywords["constraints"] = restrict(
            objective, bounds, keywords["constraints"], arguments.row
        )
        complete = completer(bounds)
        if complete is not None and arguments.row is not None:
            # With the name intermediate_result scipy prints the callback, and TNC fails.
            keywords["callback"] = lambda x, *state: watch(*(state or (complete(x),)))
        if arguments.gradient:
            keywords["jac"] = objective.jac
        if arguments.curvature:
            keywords[arguments.curvature] = getattr(objective, arguments.curvature)
        if self._settings.warm_start:
            hess_inv = usable_inverse(self._hess_inv, objective.bridge.numel)
            options |= {} if hess_inv is None else {"hess_inv0": hess_inv}
        return keywords

    def _given_bounds(self) -> Any:
        # What a callable method makes of bounds is between it and the user.
        return self._arguments.keywords.get("bounds") if self._arguments.row is not None else None

    def _optimised(self) -> list[Tensor]:
        params = list(dict.fromkeys(p for group in self.param_groups for p in group["params"]))
        active = [p for p in params if p.requires_grad]
        if active or self._arguments.gradient:
            return active
        return params

    def _current_bridge(self) -> Bridge:
        """The bridge, made anew where groups were added or parameters frozen or thawed."""
        params = self._optimised()
        if not params:
            raise ValueError(
                "no parameter requires grad: the method needs a gradient. Set "
                "requires_grad=True on those to optimise, or choose a gradient-free method."
            )
        if self._bridge is None or not _same_objects(params, self._bridge.params):
            bridge = make_bridge(params)
            if bridge.numel == 0:
                raise ValueError("the parameters have no elements: there is nothing to optimise")
            if self._bridge is not None:
                self._hess_inv = None  # of other variables
            self._bridge = bridge
        return self._bridge

    def __getstate__(self) -> dict[str, Any]:
        own = ("_arguments", "_settings", "_hess_inv", "res", "profile", "history")
        return super().__getstate__() | {name: self.__dict__[name] for name in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.__dict__.setdefault("_bridge", None)
        self.__dict__.setdefault("_running", False)
        self.__dict__.setdefault("_first_step", FirstStep([]))
        self.__dict__.setdefault("_objective", None)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(method={self._arguments.name})\n{super().__repr__()}"


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


def _same_objects(first: Sequence[object], second: Sequence[object]) -> bool:
    return len(first) == len(second) and all(a is b for a, b in zip(first, second, strict=True))
