"""The Hessian of a closure as a scipy linear operator, for eigenvalues and the like."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator

from ..bridge.interface import Bridge
from ..closure.loss import read_loss
from ..closure.runner import ClosureRunner
from ..record.profile import Profile
from ..settings import Settings
from ..typing import Array
from ..wording import listed
from .dense import symmetrise
from .strategies import ClosureCurvature, make_curvature

__all__ = ["ClosureHessian"]


class ClosureHessian(LinearOperator):  # type: ignore[misc]
    """H, shape (n, n), float64 and symmetric, at the parameters' values when it was made.

    Args:
        bridge: of the parameters, all of which require grad.
        curvature: of the closure, which is run once now.
    """

    def __init__(self, bridge: Bridge, curvature: ClosureCurvature) -> None:
        fixed = [i for i, param in enumerate(bridge.params) if not param.requires_grad]
        if fixed:
            raise ValueError(
                f"expected parameters that require grad, but those at positions "
                f"[{listed(fixed)}] do not; set requires_grad, or leave them out of the optimizer"
            )
        super().__init__(dtype=np.float64, shape=(bridge.numel, bridge.numel))
        self._bridge = bridge
        self._curvature = curvature
        self._versions = self._current_versions()
        with torch.inference_mode(False):
            loss = read_loss(curvature.evaluate())
        if not math.isfinite(loss) and not bridge.has_grads():
            raise RuntimeError(
                f"hessian: the closure's loss is {loss} here, and has no gradient. Set the "
                f"parameters to a point where the loss is finite."
            )

    @classmethod
    def of(cls, runner: ClosureRunner, settings: Settings) -> ClosureHessian:
        """Of the runner's closure, by the strategy of the settings."""
        curvature = make_curvature(
            settings.curvature, runner, Profile(), settings.hessian_block_bytes
        )
        return cls(runner.bridge, curvature)

    def _matvec(self, v: Any) -> Array:
        self._check_unchanged()
        with torch.inference_mode(False):
            return self._curvature.product(np.asarray(v, dtype=np.float64).reshape(-1))[0]

    def _matmat(self, v: Any) -> Array:
        self._check_unchanged()
        rows = np.ascontiguousarray(np.asarray(v, dtype=np.float64).T)
        with torch.inference_mode(False):
            if len(rows) == self.shape[0] and np.array_equal(rows, np.eye(len(rows))):
                # A user's way to the whole matrix, half of which is enough.
                hessian, finite = self._curvature.hessian()
                if finite:
                    return symmetrise(hessian)
            products, _ = self._curvature.products(lambda begin, end: rows[begin:end], len(rows))
        return products.T

    def _adjoint(self) -> ClosureHessian:
        return self

    def _transpose(self) -> ClosureHessian:
        return self

    def _current_versions(self) -> list[int]:
        return [param._version for param in self._bridge.params]

    def _check_unchanged(self) -> None:
        if self._current_versions() != self._versions:
            raise RuntimeError(
                "the parameters were written to since hessian(closure) was called; call it again "
                "for the Hessian at their new values"
            )
