"""The global optimisers that search one point at a time; their base class does the work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from scipy.optimize import Bounds
from typing_extensions import Unpack

from ..run.optimizer import Run
from ..scipy_minimize.arguments import Arguments
from ..scipy_minimize.function import ScipyFunction
from ..settings import RunKeywords
from ..signatures import with_run_keywords
from .algorithms import ALGORITHMS
from .optimizer import GlobalOptimizer

__all__ = [
    "BasinHoppingWrapper",
    "BruteWrapper",
    "DirectWrapper",
    "DualAnnealingWrapper",
    "SHGOWrapper",
]


@with_run_keywords
class BasinHoppingWrapper(GlobalOptimizer):
    """``scipy.optimize.basinhopping``: local searches from randomly displaced solutions.

    Args:
        params: as for :class:`MinimizeWrapper`; the run starts from their current values.
        minimizer_args: the local minimiser, as for :class:`MinimizeWrapper`; any method, BFGS by
            default.
        basinhopping_kwargs: ``niter``, ``T``, ``stepsize``, ``rng``, ``callback(x, f, accept)``
            and the other keywords of :func:`scipy.optimize.basinhopping`.
        {run_keywords}

    Raises:
        ValueError, TypeError: arguments that are not understood, with those that are.

    Example:
        >>> x = torch.nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
        >>> optimizer = BasinHoppingWrapper([x], dict(method="BFGS"), dict(niter=25, rng=0))
        >>> loss = optimizer.step(lambda: (torch.cos(14.5 * x - 0.3) + (x + 0.2) * x).sum())
        >>> round(x.item(), 4)
        -0.1951

    Source: D. J. Wales and J. P. K. Doye, J. Phys. Chem. A 101 (1997) 5111, as in scipy.
    """

    algorithm = ALGORITHMS["basinhopping"]

    def __init__(
        self,
        params: Iterable[Any],
        minimizer_args: Mapping[str, Any] | None = None,
        basinhopping_kwargs: Mapping[str, Any] | None = None,
        **run_keywords: Unpack[RunKeywords],
    ) -> None:
        super().__init__(params, basinhopping_kwargs, run_keywords, minimizer_args)


@with_run_keywords
class SHGOWrapper(GlobalOptimizer):
    """``scipy.optimize.shgo``: local searches from the promising points of a sampled complex.

    Args:
        params: as for :class:`MinimizeWrapper`; their values do not matter, only the bounds do.
        minimizer_args: the local minimiser, as for :class:`MinimizeWrapper`; SLSQP where it names
            no method. Its options, ``tol`` and bounds hold, those that scipy would drop included.
            A method that takes bounds gets those of the run; one that takes none may leave them,
            as in scipy. ``jac`` True, False or absent means autograd where the method uses a
            gradient.
        shgo_kwargs: ``bounds`` (finite), ``n``, ``iters``, ``sampling_method``, ``constraints``,
            ``options``, ``callback(x)`` after each local iteration; see
            :func:`scipy.optimize.shgo`.
        {run_keywords}

    Raises:
        ValueError, TypeError: arguments that are not understood, with those that are.

    Example:
        >>> x = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
        >>> shgo_kwargs = dict(bounds=[(-5, 5)] * 2, n=64, sampling_method="sobol")
        >>> optimizer = SHGOWrapper([x], {}, shgo_kwargs)
        >>> loss = optimizer.step(lambda: ((x**4 - 16 * x**2 + 5 * x) / 2).sum())
        >>> x.detach().round(decimals=4)
        tensor([-2.9035, -2.9035], dtype=torch.float64)

    Source: S. C. Endres, C. Sandrock and W. W. Focke, J. Global Optimization 72 (2018) 181, as in
    scipy.
    """

    algorithm = ALGORITHMS["shgo"]

    def __init__(
        self,
        params: Iterable[Any],
        minimizer_args: Mapping[str, Any] | None = None,
        shgo_kwargs: Mapping[str, Any] | None = None,
        **run_keywords: Unpack[RunKeywords],
    ) -> None:
        super().__init__(params, shgo_kwargs, run_keywords, minimizer_args)


@with_run_keywords
class DualAnnealingWrapper(GlobalOptimizer):
    """``scipy.optimize.dual_annealing``: annealing, with local searches where it improves.

    Where the run does not end in a finished local search with gradients, its solution is polished
    by L-BFGS-B under the bounds, unless ``no_local_search`` or ``polish=False`` is given.

    Args:
        params: as for :class:`MinimizeWrapper`; the run starts from their current values.
        minimizer_args: the local minimiser, as for :class:`MinimizeWrapper`; L-BFGS-B where it
            names no method. A method that takes bounds gets those of the run. ``jac`` True, False
            or absent means autograd where the method uses a gradient.
        da_kwargs: ``bounds`` (finite), ``maxiter``, ``maxfun``, ``initial_temp``, ``rng``,
            ``callback(x, f, context)`` and the other keywords of
            :func:`scipy.optimize.dual_annealing`, and ``polish``.
        {run_keywords}

    Raises:
        ValueError, TypeError: arguments that are not understood, with those that are.

    Example:
        >>> x = torch.nn.Parameter(torch.tensor([3.0, -2.0], dtype=torch.float64))
        >>> bounds = [(-5.12, 5.12)] * 2
        >>> optimizer = DualAnnealingWrapper([x], {}, dict(bounds=bounds, maxiter=100, rng=0))
        >>> loss = optimizer.step(lambda: (x**2 - 10 * torch.cos(2 * torch.pi * x) + 10).sum())
        >>> bool(loss < 1e-12)
        True

    Source: Y. Xiang, D. Y. Sun, W. Fan and X. G. Gong, Physics Letters A 233 (1997) 216, as in
    scipy.
    """

    algorithm = ALGORITHMS["dual_annealing"]

    def __init__(
        self,
        params: Iterable[Any],
        minimizer_args: Mapping[str, Any] | None = None,
        da_kwargs: Mapping[str, Any] | None = None,
        **run_keywords: Unpack[RunKeywords],
    ) -> None:
        super().__init__(params, da_kwargs, run_keywords, minimizer_args)


@with_run_keywords
class DirectWrapper(GlobalOptimizer):
    """``scipy.optimize.direct``: boxes divided where the loss may be low; no randomness.

    Args:
        params: as for :class:`MinimizeWrapper`; their values do not matter, only the bounds do.
        direct_kwargs: ``bounds`` (finite), ``maxfun``, ``maxiter``, ``locally_biased``,
            ``len_tol``, ``callback(x)`` and the other keywords of :func:`scipy.optimize.direct`.
        {run_keywords}

    Raises:
        ValueError, TypeError: arguments that are not understood, with those that are.

    Example:
        >>> x = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
        >>> optimizer = DirectWrapper([x], dict(bounds=[(-4, 4), (-3, 5)], len_tol=1e-4))
        >>> loss = optimizer.step(lambda: ((x**4 - 16 * x**2 + 5 * x) / 2).sum())
        >>> x.detach().round(decimals=2)
        tensor([-2.9000, -2.9000], dtype=torch.float64)

    Source: J. M. Gablonsky and C. T. Kelley, J. Global Optimization 21 (2001) 27, as in scipy.
    """

    algorithm = ALGORITHMS["direct"]

    def __init__(
        self,
        params: Iterable[Any],
        direct_kwargs: Mapping[str, Any] | None = None,
        **run_keywords: Unpack[RunKeywords],
    ) -> None:
        super().__init__(params, direct_kwargs, run_keywords)


@with_run_keywords
class BruteWrapper(GlobalOptimizer):
    """``scipy.optimize.brute``: every point of a grid, then a downhill search from the best.

    Args:
        params: as for :class:`MinimizeWrapper`; their values do not matter, only the ranges do.
        brute_kwargs: ``bounds`` (finite), or ``ranges`` in scipy's forms, a slice or a (low, high)
            pair for each variable; ``Ns`` points along each; ``finish``, None for the best grid
            point. By default it is Nelder-Mead, inside the bounds if ``bounds`` states them and
            free as in :func:`scipy.optimize.brute` if ``ranges`` does.
        {run_keywords}

    Attributes:
        res: with ``grid`` and ``grid_values`` besides.

    Raises:
        ValueError, TypeError: arguments that are not understood, with those that are.

    Example:
        >>> x = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
        >>> optimizer = BruteWrapper([x], dict(ranges=[slice(-4, 4, 0.5)] * 2, finish=None))
        >>> loss = optimizer.step(lambda: ((x**4 - 16 * x**2 + 5 * x) / 2).sum())
        >>> x.detach()
        tensor([-3., -3.], dtype=torch.float64)
    """

    algorithm = ALGORITHMS["brute"]

    def __init__(
        self,
        params: Iterable[Any],
        brute_kwargs: Mapping[str, Any] | None = None,
        **run_keywords: Unpack[RunKeywords],
    ) -> None:
        super().__init__(params, brute_kwargs, run_keywords)

    def _prepare(
        self, function: ScipyFunction, run: Run, box: Bounds | None, keywords: dict[str, Any]
    ) -> Callable[..., Any]:
        if box is not None and "finish" not in keywords:
            arguments = Arguments.parse({"method": "Nelder-Mead"})
            keywords["finish"] = self._search(function, arguments, run, box)
        return function.fun
