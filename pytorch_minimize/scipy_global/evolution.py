"""Differential evolution, which can evaluate a whole population in one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from scipy.optimize import Bounds
from torch import Tensor
from typing_extensions import Unpack

from ..closure.population import VectorizedLoss
from ..region.constraints import ClosureConstraint, as_list
from ..run.optimizer import Run
from ..scipy_minimize.function import ScipyFunction
from ..settings import RunKeywords
from ..signatures import with_run_keywords
from ..typing import UserClosure
from ..wording import shown
from .algorithms import ALGORITHMS
from .optimizer import GlobalOptimizer
from .population import Losses, Population, Vectorized

__all__ = ["DifferentialEvolutionWrapper"]


@with_run_keywords
class DifferentialEvolutionWrapper(GlobalOptimizer):
    """``scipy.optimize.differential_evolution``: a population that mixes and selects.

    The population is evaluated without gradients; the best member is then polished by L-BFGS-B
    under the bounds with gradients from autograd (trust-constr where there are constraints).

    Args:
        params: as for :class:`MinimizeWrapper`; their current values are one of the first
            population.
        de_kwargs: ``bounds`` (finite), ``popsize``, ``tol``, ``rng``, ``init``,
            ``callback(intermediate_result)`` or ``callback(x, convergence)`` and the other
            keywords of :func:`scipy.optimize.differential_evolution`; ``polish`` is True, False
            or a callable ``polish(fun, x0, bounds=, constraints=)``.
        {run_keywords}

    Raises:
        ValueError, TypeError: arguments that are not understood, with those that are.

    Example:
        >>> x = torch.nn.Parameter(torch.tensor([3.0, -2.0], dtype=torch.float64))
        >>> def rastrigin(x):
        ...     return (x**2 - 10 * torch.cos(2 * torch.pi * x) + 10).sum(-1)
        >>> optimizer = DifferentialEvolutionWrapper([x], dict(bounds=[(-5.12, 5.12)] * 2, rng=0))
        >>> loss = optimizer.step(lambda: rastrigin(x), vectorized=lambda xs: rastrigin(xs[0]))
        >>> bool(loss < 1e-12)
        True

    Source: R. Storn and K. Price, J. Global Optimization 11 (1997) 341, as in scipy.
    """

    algorithm = ALGORITHMS["differential_evolution"]
    _vectorized: VectorizedLoss | None = None

    def __init__(
        self,
        params: Iterable[Any],
        de_kwargs: Mapping[str, Any] | None = None,
        **run_keywords: Unpack[RunKeywords],
    ) -> None:
        super().__init__(params, de_kwargs, run_keywords)

    def step(  # type: ignore[override]
        self, closure: UserClosure, vectorized: VectorizedLoss | None = None
    ) -> Tensor:
        """Minimise the loss that ``closure`` returns; a population at a time with ``vectorized``.

        Args:
            closure: as for :meth:`~pytorch_minimize.run.optimizer.FullBatchOptimizer.step`.
            vectorized: computes the same loss for S points at once: it is called with a list of
                one tensor of shape ``(S, *p.shape)`` for each parameter p, in the optimizer's
                order, and returns the losses, shape (S,). For a module, :func:`vectorize` makes
                one. A generation is then one call, and ``updating`` is "deferred".

        Returns:
            The loss at the solution, a detached 0-dim tensor. ``res.nfev`` counts calls of
            ``vectorized`` as scipy does; ``profile.counts`` has the points.

        Raises:
            TypeError: ``vectorized`` is no callable.
            ValueError: ``vectorized`` and ``closure`` disagree at the start.
        """
        if vectorized is not None and not callable(vectorized):
            raise TypeError(
                f"vectorized: expected a callable that returns the losses of many points, got "
                f"{shown(vectorized)}; for a module, vectorize(model, loss) makes one"
            )
        self._vectorized = vectorized
        try:
            return super().step(closure)
        finally:
            self._vectorized = None

    def _prepare(
        self, function: ScipyFunction, run: Run, box: Bounds | None, keywords: dict[str, Any]
    ) -> Callable[..., Any]:
        if self._vectorized is None:
            return function.fun
        if keywords.setdefault("updating", "deferred") != "deferred":
            raise ValueError('updating: expected "deferred" with vectorized, or nothing')
        if any(
            isinstance(c, ClosureConstraint) for c in as_list(self._keywords.get("constraints"))
        ):
            raise ValueError(
                "vectorized: a ClosureConstraint is evaluated at one point at a time; give scipy's "
                "NonlinearConstraint on the flat vector, or leave vectorized out"
            )
        keywords["vectorized"] = True
        losses = self._many if self._leader is None else self._leader.many
        assert losses is not None
        return Population(function, losses, keywords["x0"])

    @property
    def _many(self) -> Losses | None:
        if self._vectorized is None:
            return None
        return Vectorized(self._vectorized, self.bridge.params, self._settings.recovered)
