"""Levenberg-Marquardt on tensors of the parameters' device."""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Any

import torch
from torch import Tensor

from .damped import Damped
from .evaluator import Linearised
from .levenberg_rules import MESSAGES, LevenbergRules
from .requests import Linear, Residuals

__all__ = ["LevenbergMarquardt"]

_EPS = torch.finfo(torch.float64).eps
# Share of the predicted decrease from which on a step is taken.
_ENOUGH = 1e-4
# The length of the trial step by which the curvature along a step is measured, and how long its
# correction may be; both from Transtrum and Sethna.
_PROBE, _LONGEST_BEND = 0.1, 0.75
# Of a robust loss along a residual, as a share of its slope: with less, far outliers make models
# of almost no curvature, whose steps are far too long.
_LEAST_CURVATURE = 0.1
_NO_STEP = 1e200  # a damping from which on no step moves anything
_LEAST_DAMPING = 1e-300  # from zero it could not rise

Asking = Generator[Any, Any, None]


class LevenbergMarquardt:
    r"""Minimises the cost of residuals r(x), at lower <= x <= upper.

    A step solves :math:`(J^T J + \lambda D^2) s = -J^T r`, D being the largest length of each
    column of J so far, and is projected into the bounds; a variable at a bound out of which the
    gradient leads is held. The damping falls by up to a third where the cost falls as the model
    says, and rises faster with each step that is rejected.

    Args:
        rules: the options.
        bounds: lower and upper, tensors of shape (n,); None for none.

    Attributes:
        x, value, gradient, nit: of the iterate; nit counts accepted steps.

    Source: Marquardt, SIAM Journal 11 (1963); More, Lecture Notes in Mathematics 630 (1978);
    Nielsen, IMM-REP-1999-05 (damping); Transtrum and Sethna, arXiv:1201.5885 (geodesics).
    """

    x: Tensor
    value: float
    gradient: Tensor

    def __init__(self, rules: LevenbergRules, bounds: tuple[Tensor, Tensor] | None = None) -> None:
        self.nit = 0
        self._rules, self._bounds = rules, bounds
        self._damping, self._growth = rules.damping, 2.0
        self._status: int | None = None
        self._evaluations = self._factorised = 0
        self._lengths: Tensor | None = None
        self._arrives = False  # the step brings a variable to a bound

    def start(self, x: Tensor) -> Asking:
        """Evaluates the start."""
        self.x = x
        found = yield Residuals(x)
        self._evaluations = 1
        self.value, self.gradient = found.value, torch.zeros_like(x)
        if not found.finite:
            self._status = -3
            return
        linearised = yield Linear(x)
        if not linearised.finite:
            self._status = -3
            return
        self._settle(linearised, found.value)
        self._test_gradient()

    def step(self) -> Asking:
        """Trial points, until one is accepted or the run is over."""
        model = Damped(self._jacobian, self._scales(), self._held)
        try:
            while self._status is None:
                accepted = yield from self._try(model)
                if accepted:
                    return
        finally:
            self._factorised += model.factorised

    def done(self) -> int | None:
        """A status of :data:`MESSAGES` if the run is over."""
        return self._status

    def message(self, status: int) -> str:
        """What it means."""
        return MESSAGES[status]

    def fields(self) -> dict[str, Any]:
        """What a result has besides."""
        return {"damping": self._damping, "qr": self._factorised}

    def _try(self, model: Damped) -> Generator[Any, Any, bool]:
        """One trial point; whether it is the next iterate."""
        x, model, self._arrives = self._target(model)
        step = x - self.x  # of the point, and not the other way round, for x + step may round
        predicted = self._predicted(step)
        if not predicted > 0.0:
            # Of bounds that cut the step, or of rounding: a shorter one goes down the gradient.
            self._reject(step, -math.inf, 0.0)
            return False
        if self._rules.geodesic:
            x = yield from self._bent(model, x, step)
            if self._status is not None:
                return False
            step = x - self.x
        found = yield Residuals(x)
        self._evaluations += 1
        actual = self.value - found.value if found.finite else -math.inf
        if actual > _ENOUGH * predicted:
            linearised = yield Linear(x)
            if linearised.finite:
                self._accept(linearised, found.value, step, actual, predicted)
                return True
            actual = -math.inf
        self._reject(step, actual, predicted)
        return False

    def _accept(
        self,
        linearised: Linearised[Tensor],
        value: float,
        step: Tensor,
        actual: float,
        predicted: float,
    ) -> None:
        before = self.value
        ratio = actual / predicted
        falls = max(1.0 / 3.0, 1.0 - (2.0 * min(ratio, 2.0) - 1.0) ** 3)
        self._damping = max(falls * self._damping, _LEAST_DAMPING)
        self._growth = 2.0
        self.nit += 1
        self._settle(linearised, value)
        self._test_gradient()
        self._test_step(step, actual, predicted, before)
        self._test_count()

    def _reject(self, step: Tensor, actual: float, predicted: float) -> None:
        self._damping *= self._growth
        self._growth *= 2.0
        if actual > -math.inf:
            self._test_step(step, actual, predicted, self.value)
        if self._status is None and not self._damping <= _NO_STEP:
            self._status = 3
        self._test_count()

    def _settle(self, linearised: Linearised[Tensor], value: float) -> None:
        """Be where that was found."""
        self.x, self.value, self.gradient = linearised.x, value, linearised.gradient
        self._unweighted = linearised.residuals
        weighted = self._rules.loss.weighted(linearised.residuals, _LEAST_CURVATURE)
        self._row_scale = None if weighted is None else weighted.scale
        self._residuals = linearised.residuals if weighted is None else weighted.residuals
        jacobian: Tensor = linearised.jacobian
        self._jacobian = jacobian if weighted is None else jacobian * weighted.scale[:, None]
        # Of the weighted residuals in float64, where ``.grad`` may be coarser.
        slope = self._jacobian.T @ self._residuals
        self._slope = slope
        self._held: Tensor | None = None
        if self._bounds is not None:
            lower, upper = self._bounds
            at_bound = ((self.x <= lower) & (slope > 0)) | ((self.x >= upper) & (slope < 0))
            self._held = at_bound if bool(at_bound.any()) else None

    def _scales(self) -> Tensor:
        """D."""
        if not isinstance(self._rules.x_scale, str):
            if self._lengths is None:
                scale = torch.as_tensor(self._rules.x_scale, dtype=self.x.dtype)
                self._lengths = 1.0 / scale.to(self.x.device).expand_as(self.x)
            return self._lengths
        lengths = torch.linalg.vector_norm(self._jacobian, dim=0)
        if self._lengths is not None:
            lengths = torch.maximum(lengths, self._lengths)
        self._lengths = lengths
        return torch.where(lengths == 0.0, torch.ones_like(lengths), lengths)

    def _target(self, model: Damped) -> tuple[Tensor, Damped, bool]:
        """The point that the step leads to, inside the bounds.

        Returns:
            It, what solved for it, and whether it brings a variable to a bound.

        A variable that the step would lead out stops at its bound, and the step of the others is
        solved for anew, given that. If it were only cut, theirs would not fit any more, lead
        upwards, and raise the damping until no step moves anything, as if the run had converged.
        """
        step = model.step(self._residuals, self._damping)
        x = self._inside(self.x + step)
        if self._bounds is None:
            return x, model, False
        stopped = torch.zeros_like(x, dtype=torch.bool) if self._held is None else self._held
        while bool((out := (x != self.x + step) & ~stopped).any().item()):
            stopped = stopped | out
            moved = torch.where(stopped, x - self.x, 0.0)
            model = Damped(self._jacobian, self._scales(), stopped)
            step = model.step(self._residuals + self._jacobian @ moved, self._damping)
            self._factorised += model.factorised
            x = torch.where(stopped, x, self._inside(self.x + step))
        arrives = bool((stopped & (x != self.x)).any().item())
        return x, model, arrives

    def _predicted(self, step: Tensor) -> float:
        """By how much the model's cost is lower there."""
        change = self._jacobian @ step
        lower = -(torch.dot(self._slope, step) + 0.5 * torch.dot(change, change))
        return float(lower.item())

    def _bent(self, model: Damped, x: Tensor, step: Tensor) -> Generator[Any, Any, Tensor]:
        """x, which the step leads to, moved by half of the geodesic's second derivative."""
        found = yield Residuals(self._inside(self.x + _PROBE * step))
        self._evaluations += 1
        self._test_count()
        if self._status is not None or not found.finite or found.residuals is None:
            return x
        change = (found.residuals - self._unweighted) / _PROBE
        if self._row_scale is not None:
            change = change * self._row_scale
        curvature = (change - self._jacobian @ step) * (2.0 / _PROBE)
        bend = model.step(curvature, self._damping)
        lengths = self._scales()
        ratio = torch.linalg.vector_norm(lengths * bend) / torch.linalg.vector_norm(lengths * step)
        if not ratio.item() <= _LONGEST_BEND:
            return x
        # Those that do not bend stay to the bit: a rounding would take them off their bound.
        return torch.where(bend == 0.0, x, self._inside(self.x + step + 0.5 * bend))

    def _inside(self, x: Tensor) -> Tensor:
        if self._bounds is None:
            return x
        return torch.minimum(torch.maximum(x, self._bounds[0]), self._bounds[1])

    def _test_gradient(self) -> None:
        gtol = self._rules.gtol
        slope = self._slope
        if self._bounds is not None:  # not of x - slope, where x may be too large to show it
            lower, upper = self._bounds
            slope = torch.maximum(torch.minimum(slope, self.x - lower), self.x - upper)
        if gtol is not None and float(slope.abs().amax().item()) < gtol:
            self._status = 1

    def _test_step(self, step: Tensor, actual: float, predicted: float, value: float) -> None:
        """As MINPACK's tests; steps that rounding decides on end the run as well.

        A step that brings a variable to its bound may be as short as the way there, and says
        nothing of the others.
        """
        if self._status is not None or self._arrives:
            return
        rules = self._rules
        ftol, xtol = (_EPS if tol is None else max(tol, _EPS) for tol in (rules.ftol, rules.xtol))
        flat = (
            abs(actual) <= ftol * value and predicted <= ftol * value and actual <= 2.0 * predicted
        )
        lengths = self._scales()
        moved, reach = (torch.linalg.vector_norm(lengths * v) for v in (step, self.x))
        short = bool((moved <= xtol * reach).item())
        if flat or short:
            self._status = 4 if flat and short else 2 if flat else 3

    def _test_count(self) -> None:
        limit = self._rules.max_nfev
        limit = 100 * self.x.numel() if limit is None else limit
        if self._status is None and self._evaluations >= limit:
            self._status = 0
