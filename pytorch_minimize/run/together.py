"""One step in all processes of a group: who leads, who follows, and what all are left with."""

from __future__ import annotations

import contextlib
import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import Bounds, OptimizeResult
from torch import Tensor

from ..bridge.interface import Bridge
from ..bridge.variables import Variables
from ..closure.runner import ClosureRunner
from ..curvature.strategies import make_curvature
from ..distributed.ddp import NoticesDDP
from ..distributed.errors import OtherProcessError
from ..distributed.follower import POINTS, Told, follow
from ..distributed.group import Group
from ..distributed.leader import Leader
from ..distributed.messages import HEADER, TAIL
from ..distributed.partners import Many, Part, Partners
from ..distributed.signals import HeldSignals
from ..distributed.start import agree
from ..problem.best_point import BestPoint
from ..problem.evaluator import Evaluator
from ..problem.make import Join
from ..problem.objective import Objective
from ..record.checkpoint import Checkpoint
from ..record.profile import Profile
from ..typing import Array, UserClosure
from .bridged import Bridged
from .finish import unknown_at
from .plan import Plan

__all__ = ["Prepared", "Together"]

# Elements of an array that followers are told; of longer ones there are only x and the gradient.
_FEW = 1000
_PLAIN = (bool, int, float, str, type(None), np.generic)


@dataclass(frozen=True)
class Prepared:
    """A run that can begin, once everything that may be refused was looked at.

    Attributes:
        plan: of the solver.
        bridge, runner: over the parameters, which are at the start, and of the closure.
        bounds: on the flat vector.
        checkpoint: to be written during the run.
    """

    plan: Plan
    bridge: Bridge
    runner: ClosureRunner
    bounds: Bounds | None
    checkpoint: Checkpoint | None


class Together(Bridged):
    """An optimizer whose step may be one of many processes.

    Everything is decided in the first of them, the leader (Note [one decision]), which runs as if
    it were alone but for what evaluates the closure; the others evaluate with it, and are told.
    """

    profile: Profile
    res: OptimizeResult
    _leader: Leader[Any] | None = None  # of the step that runs
    _may_have_ddp = True
    _takes_jacobians = False  # of what the closure returns

    @abstractmethod
    def _set_up(self, closure: UserClosure, *, leads: bool) -> Prepared:
        """Look at everything that may be refused."""

    @abstractmethod
    def _run_here(self, prepared: Prepared) -> Tensor:
        """Run the solver."""

    @property
    def _rule_of_parts(self) -> object:
        """What all processes must have in common, since each applies it to its part."""
        return None

    @property
    def _many(self) -> Many | None:
        """The losses of many points here, where there is a way."""
        return None

    @property
    def _join(self) -> Join[Any] | None:
        """Puts what evaluates in all processes in the place of what evaluates here."""
        return None if self._leader is None else self._leader.join

    def _run_together(self, closure: UserClosure) -> Tensor:
        """The step, where ``distributed`` was asked for; as :meth:`step`."""
        settings = self._settings
        group = Group(settings.distributed, self._optimised(), self.profile)
        noticing = NoticesDDP(closure, self._optimised(), look=self._may_have_ddp)

        points: list[Tensor] = []
        sums: list[Tensor] = []

        def prepare() -> Prepared:
            with noticing.checking(settings.check_closure):
                prepared = self._set_up(noticing, leads=group.leads)
            n = prepared.bridge.numel
            points[:] = [group.empty(n + HEADER) for _ in range(1 if group.leads else POINTS)]
            sums[:] = [group.empty(n + TAIL)]
            return prepared

        with HeldSignals() as signals:
            prepared, agreement = agree(
                group,
                signals,
                prepare,
                lambda made: made.bridge,
                self._name_of,
                weight=float(settings.weight),
                reduction=settings.reduction,
                start=settings.distributed_start,
                rule=self._rule_of_parts,
            )
            multiplies = bool(prepared.plan.asks.curvature) or self._takes_jacobians
            noticing.expect(agreement, curvature=multiplies)
            of_step = prepared.runner, self.profile, agreement.share
            run = Partners(group, signals, *of_step, points, sums)
            try:
                return self._lead(run, prepared) if group.leads else self._follow(run, prepared)
            finally:
                self._may_have_ddp = noticing.found is not False
                group.let_go()

    def _lead(self, run: Partners, prepared: Prepared) -> Tensor:
        self._leader = leader = Leader(run, prepared.bridge, self._many)
        try:
            run.signals.open()
            return self._run_here(prepared)
        except BaseException as error:
            with contextlib.suppress(OtherProcessError):  # a process that is gone hears nothing
                leader.failed(error)
            raise
        finally:
            self._leader = None
            leader.forget()

    def _lead_to_best(self, objective: Objective[Any]) -> None:
        """Where the others are to end, if the run fails."""
        if self._leader is not None:
            self._leader.best = lambda: objective.best_x

    def _tell_end(self, evaluator: Evaluator[Any], objective: Objective[Any]) -> None:
        """Tell the others where the run ended; ``.grad`` here is of all of them from now on."""
        if self._leader is None:
            return
        here, bridge = evaluator.here, evaluator.bridge
        gradient = None if here is None else here.gradient
        if gradient is None and bridge.has_grads():
            gradient = bridge.flatten_grads()
        evaluator.set_grads(gradient)
        on_host = None if gradient is None else evaluator.space.to_host(gradient)
        counts = objective.evaluations, objective.best_value
        told = _said(self.res, on_host), self.history.segment(), *counts
        self._leader.done(evaluator.x, gradient, told)

    def _follow(self, run: Partners, prepared: Prepared) -> Tensor:
        bridge, runner = prepared.bridge, prepared.runner
        part = self._part_of(prepared, run.group)
        try:
            told = follow(run, bridge, part)
            self._take(told, prepared)
        except BaseException as error:
            with contextlib.suppress(RuntimeError):  # of a device that takes no more work
                self.res = unknown_at(bridge.flatten_params(), error)
            raise
        finally:
            part.drop()
            self.profile.stop()
            bridge.release()
        return runner.loss_like.new_tensor(self.res.fun)

    def _part_of(self, prepared: Prepared, group: Group) -> Part:
        """What this process computes for the leader of the group."""
        kind, block_bytes = self._settings.curvature, self._settings.hessian_block_bytes
        return Part(make_curvature(kind, prepared.runner, self.profile, block_bytes), self._many)

    def _take(self, told: Told, prepared: Prepared) -> None:
        """Hold what the leader holds."""
        bridge = prepared.bridge
        bridge.load_params(told.x)
        prepared.runner.clear_grads()
        if told.gradient is not None:
            bridge.load_grads(told.gradient)
        (fields, like_gradient), rows, evaluations, best_value = told.more
        self.res = OptimizeResult(fields, x=np.array(told.x))
        for name in like_gradient:
            self.res[name] = np.array(told.gradient)
        self.history.begin_segment()
        self.history.take(rows)
        self.history.note_ending(f"{prepared.plan.name}: {self.res.get('message')}")
        self.history.end_segment(evaluations, self.profile.total)
        if math.isfinite(best_value):
            variables = Variables.of(bridge.params)
            self._best = BestPoint(variables, np.array(told.best), best_value)

    def _name_of(self, number: int) -> str:
        """What a message calls a parameter of the bridge."""
        param = self._current_bridge().params[number]
        for group in self.param_groups:
            names = group.get("param_names", [])
            for name, each in zip(names, group["params"], strict=False):
                if each is param:
                    return f"parameter {number} ({name})"
        return f"parameter {number} of shape {list(param.shape)}"


def _said(res: OptimizeResult, gradient: Array | None) -> tuple[dict[str, Any], list[str]]:
    """What followers are told of a result: all but matrices, long arrays, and the solver's own.

    Returns:
        The fields, and the names of those that are the gradient.
    """
    fields, like_gradient = {}, []
    for name, value in res.items():
        if name == "x":
            continue
        if gradient is not None and isinstance(value, np.ndarray) and _same(value, gradient):
            like_gradient.append(name)
        elif _is_short(value):
            fields[name] = value
    return fields, like_gradient


def _is_short(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.size <= _FEW and value.dtype != object
    if isinstance(value, (list, tuple)):
        return len(value) <= _FEW and all(isinstance(inner, _PLAIN) for inner in value)
    return isinstance(value, _PLAIN)


def _same(field: Array, gradient: Array) -> bool:
    return field.shape == gradient.shape and np.array_equal(field, gradient)
