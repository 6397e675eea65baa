"""Whether a closure is a function, its gradient that of the loss, and its curvature that of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.optimize import Bounds

from ..bridge.layout import coarsest_eps
from ..bridge.vectors import clip
from ..closure.loss import read_loss
from ..closure.runner import ClosureRunner
from ..typing import Array
from .directional import Verdicts, contradictions, verdicts
from .strategies import Curvature
from .trial import Trial

__all__ = ["check_closure"]


def check_closure(
    runner: ClosureRunner, gradient: bool, curvature: Curvature | None, bounds: Bounds | None = None
) -> None:
    """Compare what the closure gives at the current parameters with what it gives around them.

    Two evaluations there with each other, the gradient with differences of the loss along a few
    directions, and H d with a difference of gradients. With eps of the coarsest dtype, evaluations
    must agree to sqrt(eps), differences and products to eps ** (1/5), relative to their norms.

    Costs two runs of the closure, some eight more with ``gradient``, and three and a product with
    ``curvature``. The parameters are as before afterwards, whatever happens.

    Args:
        runner: runs the closure.
        gradient: check gradients as well as values.
        curvature: of the same closure; None where the method uses none.
        bounds: which the differences shall not leave.

    Raises:
        RuntimeError: they do not agree; says which and by how much.
    """
    values_and_gradients = [_evaluate(runner, gradient) for _ in range(2)]
    (value, grad), (again, grad_again) = values_and_gradients
    if not math.isfinite(value):
        return  # the run itself says so, and copes
    eps = coarsest_eps(runner.bridge)
    if not abs(value - again) <= math.sqrt(eps) * max(abs(value), abs(again)):
        raise RuntimeError(
            f"check_closure: two evaluations at the same parameters gave the losses {value:.9g} "
            f"and {again:.9g}. {_RANDOM}"
        )
    noise = eps**0.75 * abs(value)
    if gradient:
        share = _disagreement(grad, grad_again, noise)
        if share > math.sqrt(eps):
            raise RuntimeError(
                f"check_closure: two evaluations at the same parameters gave gradients that differ "
                f"by {share:.2g} of their norm. {_RANDOM}"
            )
        _check_gradient(runner, value, grad, bounds)
    if curvature is not None:
        noise += 10 * eps * float(np.linalg.norm(grad))
        _check_product(runner, curvature, bounds, eps, noise)


_RANDOM = (
    "A solver needs a function that gives the same for the same parameters: put a model with "
    "dropout in eval mode, and draw random data outside the closure."
)


def _check_gradient(
    runner: ClosureRunner, value: float, grad: Array, bounds: Bounds | None
) -> None:
    x = runner.bridge.flatten_params()
    try:
        found, grad = verdicts(runner, value, grad, bounds)
    finally:
        runner.bridge.load_params(x)
    for trial in contradictions(found):
        raise RuntimeError(
            f"check_closure: where the gradients that the closure leaves predict that its loss "
            f"changes by {trial.predicted:.3g}, it changes by {trial.change:.3g}. "
            f"{_cause(found, grad, 5 * coarsest_eps(runner.bridge) ** 0.2)}"
        )


def _cause(found: Verdicts, grad: Array, rounding: float) -> str:
    """What is most likely wrong with a gradient that is contradicted.

    Differences may be wrong by ``rounding``, as a share of themselves.
    """
    if isinstance(found.get("zero"), Trial) or not grad.any():
        return (
            f"The gradient is zero in {np.count_nonzero(grad == 0.0)} of {grad.size} variables, "
            f"though the loss changes with them: it was set to zero after backward() or by a hook, "
            f"or they were detached on the way to the loss."
        )
    trials = [] if True in found.values() else contradictions(found)
    factor = _common_factor(trials, min(grad.size, 2), rounding)
    if factor is not None and 0.0 < factor < 1.0:
        return (
            f"The gradient has the loss's direction and is {factor:.3g} times as long: it was "
            f"clipped, as by clip_grad_norm_, or is that of the loss times a factor. Leave it as "
            f"backward() makes it; solvers choose their steps themselves."
        )
    if factor is not None:
        scaler = "a GradScaler, which solvers have no use for, or by " if factor > 1.0 else ""
        return (
            f"The gradient is {factor:.4g} times that of the loss: by {scaler}a factor on what "
            f"backward() is called on. Return the very loss that it is called on, or the sum of "
            f"all that it is called on."
        )
    if np.count_nonzero(np.abs(grad) == np.abs(grad).max()) > 1:
        return (
            "Several elements of the gradient are equally large, and none is larger: it was "
            "clipped, as by clip_grad_value_. Leave it as backward() makes it."
        )
    return (
        "The gradient is of another function: backward() was called on something else than the "
        "loss that is returned, or a part of this was detached, or left out of backward()."
    )


def _common_factor(found: Sequence[Trial], least: int, rounding: float) -> float | None:
    """The number which, times the loss's gradient, is what the closure leaves; None if none is.

    At ``least`` so many trials must show it.
    """
    if len(found) < least or found[0].change == 0.0:
        return None
    factor = found[0].predicted / found[0].change
    alike = all(
        abs(factor * trial.change - trial.predicted)
        <= rounding * abs(trial.predicted) + 3.0 * abs(factor) * trial.noise
        for trial in found
    )
    return factor if alike else None


def _check_product(
    runner: ClosureRunner, curvature: Curvature, bounds: Bounds | None, eps: float, noise: float
) -> None:
    bridge = runner.bridge
    x = bridge.flatten_params()
    length = eps ** (1 / 3) * max(1.0, float(np.sqrt(np.mean(x**2))))
    direction = length * np.random.default_rng(0).standard_normal(x.size)
    try:
        ends = []
        for end in (x + direction, x - direction):
            bridge.load_params(clip(end, bounds))
            # What is loaded is rounded to the parameters' dtype.
            ends.append((bridge.flatten_params(), _evaluate(runner, True)[1]))
    finally:
        bridge.load_params(x)
    (upper, grad_above), (lower, grad_below) = ends
    curvature.drop()
    try:
        product, _ = curvature.product(upper - lower)
    finally:
        curvature.drop()
    share = _disagreement(product, grad_above - grad_below, noise)
    if share > eps**0.2:
        raise RuntimeError(
            f"check_closure: a Hessian product by autograd and the difference of gradients that "
            f"it predicts differ by {share:.2g} of their norm. Something changes the gradient "
            f"that autograd does not see: seeds of backward() without a graph, a custom backward "
            f"that detaches, or gradients changed after backward(), as by clipping."
        )


def _evaluate(runner: ClosureRunner, gradient: bool) -> tuple[float, Array]:
    if not gradient:
        return runner.value(), np.empty(0)
    value = read_loss(runner.value_and_gradient())
    grad = runner.bridge.flatten_grads()
    if not math.isfinite(value) and not runner.bridge.has_grads():
        grad.fill(math.nan)
    return value, grad


def _disagreement(first: Array, second: Array, noise: float) -> float:
    """|first - second| as a share of the larger norm, what rounding may do left out; 0 for NaN."""
    largest = max(float(np.abs(v).max(initial=0.0)) for v in (first, second))
    if not 0.0 < largest < math.inf:
        return 0.0
    first, second = first / largest, second / largest  # whose squares are numbers
    excess = float(np.linalg.norm(first - second)) - noise / largest
    scale = max(float(np.linalg.norm(first)), float(np.linalg.norm(second)))
    return excess / scale if excess > 0.0 else 0.0
