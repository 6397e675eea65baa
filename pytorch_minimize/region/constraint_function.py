"""A constraint of ours as scipy asks for it: flat x -> values, Jacobian, Hessian products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import NonlinearConstraint
from scipy.sparse.linalg import LinearOperator
from torch import Tensor

from ..bridge.vectors import as_vector
from ..closure.autograd_graph import leaves_below
from ..closure.backward_calls import Backward
from ..curvature.double_backward import DoubleBackward
from ..curvature.jacobian import JacobianTaker
from ..curvature.operator import HessianOperator
from ..problem.evaluator import Evaluator
from ..row import Asks
from ..typing import Array
from ..wording import shown
from .constraints import ClosureConstraint, overshoot
from .region import Region

__all__ = ["ConstraintFunction"]

# COBYQA asks for constraints again at its 2 n + 1 interpolation points and at its best ones.
_POINTS_PER_VARIABLE = 16
# Products of constraints are taken one at a time.
_NO_BLOCKS = 0


class ConstraintFunction:
    """A :class:`ClosureConstraint` during one run: c as a function of the flat x.

    The evaluator owns where the parameters are. What is asked for at the point where they are
    moves nothing, so neither of the two makes the other run again.

    Args:
        stated: what the user stated.
        evaluator: moves the parameters; they must be at the start, where ``fun`` is run once to
            learn its shape.
        learned: called when c became known where the parameters are.
        asks: of the solver.
        name: for messages.
        region: of the search, whose bounds hold here too.
    """

    _output: Tensor | None
    _jacobian: Array | None
    _operator: HessianOperator | None
    _weights: Array | None

    def __init__(
        self,
        stated: ClosureConstraint,
        evaluator: Evaluator[Array],
        learned: Callable[[], None],
        asks: Asks,
        name: str,
        region: Region,
    ) -> None:
        self._stated, self._evaluator, self._name = stated, evaluator, name
        self._learned = learned
        self._region, self._complete = region, region.completer()
        self._needs_gradient = asks.constraint_gradient
        self._needs_curvature = asks.constraint_curvature
        self._separates = asks.separates
        self._take_jacobian = JacobianTaker(evaluator.bridge, name)
        self._double_backward = DoubleBackward(evaluator.bridge, _NO_BLOCKS)
        self._known: dict[bytes, Array] = {}
        self._shape: torch.Size | None = None
        self._values = np.empty(0)
        self._forget()
        evaluator.when_leaving(self._forget)
        output = self._run_at(evaluator.x)
        self._check_dependence(output)
        self._shape = output.shape
        self._lb = self._fitted(stated.lb, "lb")
        self._ub = self._fitted(stated.ub, "ub")
        self._keep_feasible = self._fitted(stated.keep_feasible, "keep_feasible")

    def values(self, x: Array) -> Array:
        """c at x, flattened."""
        if self._needs_gradient:
            self._run_at(x)
            return self._values
        key = np.asarray(x, dtype=np.float64).tobytes()
        values = self._known.pop(key, None)
        if values is None:
            self._run_at(x)
            values = self._values
        self._known[key] = values
        if len(self._known) > _POINTS_PER_VARIABLE * (self._evaluator.bridge.numel + 4):
            del self._known[next(iter(self._known))]
        return values

    def jacobian(self, x: Array) -> Array:
        """The Jacobian at x; a fresh array (Note [fresh gradients])."""
        output = self._run_at(x)
        if self._jacobian is None:
            self._jacobian = self._evaluator.guard.run(
                "closure",
                "constraint_jac",
                lambda: self._take_jacobian(output, keep_graph=self._needs_curvature),
            )
            if not self._needs_curvature:
                self._output = output.detach()
        return self._jacobian

    def hessian_product(self, x: Array, v: Array, p: Array) -> Array:
        r"""The Hessian of :math:`\sum_i v_i c_i` at x times p.

        trust-constr still asks for products at x after it tried a point elsewhere. Parameters are
        written in place (Note [storages stay]), so that x is then loaded and ``fun`` run once more.
        """
        if not (v.any() and p.any()):
            return np.zeros(p.shape)
        output = self._run_at(x)
        return self._evaluator.guard.run(
            "curvature", "constraint_hessp", lambda: self._product(output, v, p)
        )

    def _product(self, output: Tensor, v: Array, p: Array) -> Array:
        if self._operator is None or self._weights is not v:
            self._operator, self._weights = self._double_backward.operator(), v
            seed = torch.from_numpy(v).to(output).view(output.shape)
            self._double_backward.add(self._operator, Backward((output,), (seed,)))
        return self._double_backward.product(self._operator, p)[0]

    def excess(self) -> float | None:
        """How far outside its limits c is at the parameters' point; None if c is unknown there."""
        known = self._values if self._output is not None else self._known.get(self._x_bytes())
        return None if known is None else overshoot(known, self._lb, self._ub)

    def for_scipy(self) -> list[NonlinearConstraint]:
        """In scipy's form: the rows that have limits, equalities apart where scipy wants that."""
        limited = np.isfinite(self._lb) | np.isfinite(self._ub)
        equal = limited & (self._lb == self._ub)
        kinds = [equal, limited & ~equal] if self._separates else [limited]
        return [self._rows_for_scipy(np.flatnonzero(kind)) for kind in kinds if kind.any()]

    def _rows_for_scipy(self, rows: NDArray[np.intp]) -> NonlinearConstraint:
        keywords: dict[str, Any] = {}
        if self._needs_gradient:
            keywords["jac"] = lambda x: self.jacobian(x)[rows]
        else:
            # Asked for once at the start and never used; scipy's default is finite differences.
            keywords["jac"] = lambda x: np.zeros((rows.size, x.size))
        if self._needs_curvature:
            keywords["hess"] = lambda x, v: self._hessian(x, v, rows)
            keywords["keep_feasible"] = self._keep_feasible[rows]
        elif self._keep_feasible.any():
            raise ValueError(f"{self._name}: keep_feasible is for trust-constr only")
        return NonlinearConstraint(
            lambda x: self.values(x)[rows], self._lb[rows], self._ub[rows], **keywords
        )

    def _hessian(self, x: Array, v: Array, rows: NDArray[np.intp]) -> LinearOperator:
        x, weights = np.array(x), np.zeros(self._lb.size)
        weights[rows] = v

        def product(p: Array) -> Array:
            flat = np.asarray(p, dtype=np.float64).reshape(-1)
            return self.hessian_product(x, weights, flat)

        return LinearOperator((x.size, x.size), product, product, dtype=np.float64)

    def _run_at(self, x: Array) -> Tensor:
        """c at x with its graph; ``fun`` is run unless the parameters are where it was last."""
        evaluator = self._evaluator
        evaluator.profile.begin("bridge")
        x = as_vector(x if self._complete is None else self._complete(x))
        evaluator.load(self._region.clip(x))
        evaluator.profile.begin("solver")
        if self._output is None:
            self._output, self._values = evaluator.guard.run(
                "closure", "constraint", self._output_and_values
            )
            self._learned()
        return self._output

    def _output_and_values(self) -> tuple[Tensor, Array]:
        output = self._checked(self._stated.fun())
        # A copy: what fun returns may be a view of a parameter.
        copy = output.detach().to("cpu", torch.float64, copy=True)
        return output, copy.resolve_neg().reshape(-1).numpy()

    def _forget(self) -> None:
        """The parameters' values change: what belongs to the point where they were ends here."""
        self._output = self._jacobian = self._operator = self._weights = None

    def _x_bytes(self) -> bytes:
        return self._evaluator.x.tobytes() if self._known else b""

    def _fitted(self, limit: NDArray[Any], what: str) -> NDArray[Any]:
        """One for each element of c."""
        assert self._shape is not None
        try:
            return np.broadcast_to(limit, self._shape).reshape(-1)
        except ValueError:
            raise ValueError(
                f"{self._name}: expected {what} to broadcast to the shape {tuple(self._shape)} "
                f"that fun returns, got shape {limit.shape}"
            ) from None

    def _check_dependence(self, output: Tensor) -> None:
        """Refuse what has a graph, but not one of these parameters: a copied model's, say."""
        ours = {id(p) for p in self._evaluator.bridge.params if p.requires_grad}
        if not (ours and output.requires_grad):
            return
        if not any(id(leaf) in ours for leaf in leaves_below([output])):
            raise RuntimeError(
                f"{self._name}: what fun returned depends on none of the parameters that are "
                f"optimised. Compute it from the model whose parameters the optimizer has."
            )

    def _checked(self, output: Any) -> Tensor:
        if not isinstance(output, Tensor) or not output.is_floating_point() or not output.numel():
            kind = f"a tensor of {output.dtype}" if isinstance(output, Tensor) else shown(output)
            raise TypeError(
                f"{self._name}: expected fun to return a real floating-point tensor with at least "
                f"one element, got {kind}"
            )
        if self._shape is not None and output.shape != self._shape:
            raise ValueError(
                f"{self._name}: fun returned shape {tuple(self._shape)} at the start and "
                f"{tuple(output.shape)} now; expected the same shape every time"
            )
        if self._needs_gradient and not output.requires_grad:
            raise RuntimeError(
                f"{self._name}: the method needs a Jacobian, but what fun returned carries no "
                f"graph. Compute it from the parameters, without .item(), .detach() or no_grad on "
                f"the way, or choose a gradient-free method such as COBYLA."
            )
        return output
