"""Whether a closure is a function, and its curvature the derivative of its gradient."""

from __future__ import annotations

import math

import numpy as np

from ._bridge import coarsest_eps
from ._closure import ClosureRunner, read_loss
from ._curvature import Curvature
from ._objective import Array

__all__ = ["check_closure"]


def check_closure(runner: ClosureRunner, gradient: bool, curvature: Curvature | None) -> None:
    """Compare two evaluations at the current parameters, and H d with a difference of gradients.

    With eps of the coarsest dtype, evaluations must agree to sqrt(eps) and products to
    eps ** (1/5), relative to their norms. Costs two runs of the closure, and three more and a
    product with ``curvature``. The parameters are as before afterwards, whatever happens.

    Args:
        runner: runs the closure.
        gradient: compare gradients as well as values.
        curvature: of the same closure; None where the method uses none.

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
    if curvature is not None:
        noise += 10 * eps * float(np.linalg.norm(grad))
        _check_product(runner, curvature, eps, noise)


_RANDOM = (
    "A solver needs a function that gives the same for the same parameters: put a model with "
    "dropout in eval mode, and draw random data outside the closure."
)


def _check_product(runner: ClosureRunner, curvature: Curvature, eps: float, noise: float) -> None:
    bridge = runner.bridge
    x = bridge.flatten_params()
    length = eps ** (1 / 3) * max(1.0, float(np.sqrt(np.mean(x**2))))
    direction = length * np.random.default_rng(0).standard_normal(x.size)
    try:
        ends = []
        for end in (x + direction, x - direction):
            bridge.load_params(end)
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
    return value, runner.bridge.flatten_grads()


def _disagreement(first: Array, second: Array, noise: float) -> float:
    """|first - second| as a share of the larger norm, what rounding may do left out; 0 for NaN."""
    excess = float(np.linalg.norm(first - second)) - noise
    scale = max(float(np.linalg.norm(first)), float(np.linalg.norm(second)))
    return excess / scale if excess > 0.0 and math.isfinite(scale) else 0.0
