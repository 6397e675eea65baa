"""What evaluates residuals for a solver: on arrays, or on tensors of the parameters' device."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from ..bridge.interface import Bridge
from ..bridge.make import tensor_bridge
from ..bridge.space import ARRAYS, TensorSpace
from ..distributed.leader import Leader
from ..distributed.partners import Part
from ..distributed.shared import SharedRows
from ..problem.evaluator import Evaluator
from ..problem.guard import make_guard
from ..record.profile import Profile
from ..row import Row
from ..scipy_minimize.blas_threads import blas_threads
from .arguments import LeastSquaresArguments
from .evaluator import ResidualEvaluator
from .gauss_newton import GaussNewton, GaussNewtonEvaluator
from .jacobian import ResidualJacobian
from .residuals import ResidualRunner
from .rows import OwnRows

__all__ = ["Maker", "device_of"]


@dataclass(frozen=True)
class Maker:
    """Makes the evaluators of one optimizer.

    Attributes:
        arguments: how the solver is called.
        block_bytes: about how much memory rows or columns of a Jacobian may take at a time.
        blas_threads: of scipy's BLAS.
        profile: of the step.
    """

    arguments: LeastSquaresArguments
    block_bytes: int
    blas_threads: int | None
    profile: Profile

    def evaluator(
        self, runner: ResidualRunner, leader: Leader[Any] | None = None
    ) -> Evaluator[Any]:
        """For the method that the arguments name.

        Args:
            leader: evaluates in many processes; None where there is this one.
        """
        row = self.arguments.row
        device = vectors_of(row, runner.bridge)
        bridge: Any = runner.bridge if device is None else tensor_bridge(runner.bridge)
        space: Any = ARRAYS if device is None else TensorSpace(device)
        threads = blas_threads(self.blas_threads) if row.native is None else None
        of_run = runner, bridge, space, make_guard(self.profile, threads), self.profile
        part = self.part(runner, bridge, device, shared=leader is not None)
        more: dict[str, Any] = {
            "loss": self.arguments.loss,
            "rows": part.rows,
            "keeps_points": row.native is not None,
        }
        curvature: Any = part.curvature
        if leader is not None and part.rows is not None:
            more["source"], curvature = leader.join(bridge, part.curvature, part.rows)
            more["rows"] = SharedRows(leader, part.rows, self.arguments.loss.cost)
        evaluator: Evaluator[Any]
        if curvature is None:
            evaluator = ResidualEvaluator(*of_run, **more)
        else:
            evaluator = GaussNewtonEvaluator(*of_run, **more, curvature=curvature)
        if leader is not None:
            leader.where = lambda: evaluator.x
        return evaluator

    def part(
        self,
        runner: ResidualRunner,
        bridge: Bridge[Any],
        device: torch.device | None,
        *,
        shared: bool,
    ) -> Part:
        """Residuals of the closure here, and products for a method that takes those alone.

        Args:
            device: of the bridge's vectors; None where they are arrays.
            shared: the cost is that of all processes, and of no interest here.
        """
        loss, jacobian = self.arguments.loss, self.jacobian(bridge, device)
        rows = OwnRows(runner, jacobian, device, None if shared else loss.cost)
        if not self.arguments.row.curvature:
            return Part(rows=rows)
        return Part(GaussNewton(runner, bridge, jacobian, loss, self.profile), rows=rows)

    def jacobian(self, bridge: Bridge[Any], device: torch.device | None) -> ResidualJacobian[Any]:
        """Takes Jacobians as vectors of that device."""
        empty: Any = np.empty
        if device is not None:
            empty = partial(torch.empty, dtype=torch.float64, device=device)
        return ResidualJacobian(bridge, empty, self.block_bytes, self.arguments.way)


def vectors_of(row: Row, bridge: Bridge[Any]) -> torch.device | None:
    """The device of a method's vectors; None where they are arrays."""
    if row.native is None:
        return None
    return device_of(bridge) if row.curvature else bridge.params[0].device


def device_of(bridge: Bridge[Any]) -> torch.device | None:
    """The device that all parameters are on, if it is one and not the host."""
    devices = {param.device for param in bridge.params}
    device = devices.pop()
    return None if devices or device.type == "cpu" else device
