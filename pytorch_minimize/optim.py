"""scipy.optimize as torch optimizers: one ``step(closure)`` runs a whole minimisation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from typing_extensions import Unpack

from .closure.population import vectorize
from .distributed.errors import OtherProcessError
from .least_squares.arguments import LeastSquaresArguments
from .least_squares.optimizer import LeastSquaresOptimizer
from .least_squares.residuals import ClosureResiduals
from .multistart.wrapper import MultiStartWrapper
from .problem.objective import NonfiniteError
from .region.bounds import any_group_bounds
from .region.constraints import ClosureConstraint
from .region.group_keys import as_groups
from .scipy_global.evolution import DifferentialEvolutionWrapper
from .scipy_global.wrappers import (
    BasinHoppingWrapper,
    BruteWrapper,
    DirectWrapper,
    DualAnnealingWrapper,
    SHGOWrapper,
)
from .scipy_minimize.arguments import Arguments
from .scipy_minimize.optimizer import MinimizeOptimizer
from .settings import RunKeywords
from .signatures import with_run_keywords

__all__ = [
    "BasinHoppingWrapper",
    "BruteWrapper",
    "ClosureConstraint",
    "ClosureResiduals",
    "DifferentialEvolutionWrapper",
    "DirectWrapper",
    "DualAnnealingWrapper",
    "LeastSquaresWrapper",
    "MinimizeWrapper",
    "MultiStartWrapper",
    "NonfiniteError",
    "OtherProcessError",
    "SHGOWrapper",
    "vectorize",
]


@with_run_keywords
class MinimizeWrapper(MinimizeOptimizer):
    """``scipy.optimize.minimize`` over the parameters of a model.

    One call of :meth:`step` runs a whole minimisation with the full batch. scipy sees a flat
    float64 vector; the parameters are written in place and keep their dtype and device.

    Args:
        params: parameters, named parameters or param groups, as for any torch optimizer. Those
            with ``requires_grad=False`` stay fixed, unless none requires grad and the method is
            gradient-free: then all are optimised. A group may have ``bounds=(low, high)``:
            numbers, None, or arrays that broadcast to each of its parameters (for a complex one
            they bound the real and the imaginary part); groups without are free.
        minimizer_args: the keywords of :func:`scipy.optimize.minimize`, none by default:
            ``method`` (a name in any case, a callable with scipy's signature, or None for scipy's
            own choice; ``"SSBFGS"``, ``"SSBroyden"`` and ``"torch-BFGS"`` are methods of our own,
            see :func:`~pytorch_minimize.ssbroyden`), ``tol``, ``options``, ``bounds``,
            ``constraints``, ``callback``, ``jac``, ``hess``, ``hessp``, ``args``. ``jac`` True or
            absent means autograd; False means scipy's finite differences. Bounds and callables
            speak of the flat vector, and so do scipy's own constraints; :class:`ClosureConstraint`
            speaks of the model. Bounds are rounded to numbers of the parameters' dtype, towards the
            inside.
            ``callback`` ends the run by raising or returning StopIteration; for trust-constr, as
            in scipy, by returning True as well.
        {run_keywords}

    Attributes:
        res: scipy's result of the last step, with ``nonfinite`` and ``recovered`` besides; None
            before.
        profile: where the time of the last step went.
        history: what each iteration came to, over all steps.

    To resume a run, from a file or not: ``load_state_dict``, then :meth:`load_best`, then
    :meth:`step`.

    Raises:
        ValueError, TypeError: arguments that are not understood, with those that are.

    Example:
        >>> x = torch.nn.Parameter(torch.tensor([3.0, -1.0], dtype=torch.float64))
        >>> optimizer = MinimizeWrapper([x], dict(method="L-BFGS-B"))
        >>> loss = optimizer.step(lambda: ((x - 1) ** 2).sum())
        >>> x.detach().round(decimals=6)
        tensor([1., 1.], dtype=torch.float64)
        >>> optimizer.res.success
        True

    Source: the methods are those of :func:`scipy.optimize.minimize`, whose pages name the papers.
    """

    def __init__(
        self,
        params: Iterable[Any],
        minimizer_args: Mapping[str, Any] | None = None,
        **run_keywords: Unpack[RunKeywords],
    ) -> None:
        groups = as_groups(params)
        bounded = any_group_bounds([group for group in groups if isinstance(group, Mapping)])
        arguments = Arguments.parse(minimizer_args, bounds_in_groups=bounded)
        super().__init__(groups, arguments, run_keywords)


@with_run_keywords
class LeastSquaresWrapper(LeastSquaresOptimizer):
    r"""``scipy.optimize.least_squares`` over the parameters of a model.

    The closure returns residuals r, one real tensor of any shape or a list of such, and does not
    call ``backward()``; what is minimised is half the sum of their squares, or of a robust loss of
    them. One call of :meth:`step` runs a whole minimisation, and returns that cost.

    Args:
        params: as for :class:`MinimizeWrapper`; ``bounds`` of groups go to the methods that take
            bounds.
        least_squares_kwargs: the keywords of :func:`scipy.optimize.least_squares`, none by
            default, but ``fun`` and ``x0``. ``method`` is "trf" (the default), "dogbox" or "lm",
            scipy's own; "torch-lm", Levenberg-Marquardt on the parameters' device, with
            ``geodesic=True`` for steps that follow the curvature, and ``damping`` to begin with;
            or "torch-gauss-newton-cg", which makes no matrix, with ``gtol``, ``maxiter``,
            ``initial_trust_radius``, ``max_trust_radius`` and ``eta`` of torch-trust-ncg.
            ``jac`` True or absent means autograd, in whichever way takes less time: "rows" by
            vector-Jacobian products or "columns" by Jacobian-vector products, several at a time;
            "operator" hands scipy the products alone, and is what ``tr_solver="lsmr"`` gets.
            "2-point" and "3-point" mean scipy's differences; a callable is a Jacobian of the flat
            x. ``callback`` is called at each iterate whatever the method and the scipy, as
            that of :class:`MinimizeWrapper`. ``bounds`` is scipy's (lower, upper) on the flat
            vector.
        jacobian_block_bytes: about how much memory the rows or columns that are computed at a
            time may take, besides the Jacobian.
        {run_keywords}

    ``warm_start`` and ``captured_graph`` are refused, and with ``distributed``, where each process
    returns the residuals of its own rows and squares add up, a ``weight`` and ``reduction="mean"``.

    Attributes:
        res: scipy's result of the last step: ``fun`` holds the residuals, ``cost``, ``jac`` the
            Jacobian (None where the run was ended before there was one), ``grad``; with ``nit``,
            ``nonfinite`` and ``recovered`` besides; None before.
        profile: where the time of the last step went; Jacobians are ``curvature``.
        history: what each iteration came to, over all steps; the loss is the cost.

    Raises:
        ValueError, TypeError: arguments that are not understood, with those that are.

    Example:
        >>> t = torch.linspace(0, 2, 9, dtype=torch.float64)
        >>> y = 3 * torch.exp(-1.5 * t)
        >>> a, k = (torch.nn.Parameter(torch.ones((), dtype=torch.float64)) for _ in range(2))
        >>> optimizer = LeastSquaresWrapper([a, k])
        >>> loss = optimizer.step(lambda: a * torch.exp(-k * t) - y)
        >>> round(a.item(), 6), round(k.item(), 6)
        (3.0, 1.5)
        >>> optimizer.res.fun.shape, optimizer.res.jac.shape
        ((9,), (9, 2))

    Source: the methods are those of :func:`scipy.optimize.least_squares`; for torch-lm see
    More, The Levenberg-Marquardt Algorithm (1978), and Transtrum and Sethna, arXiv:1201.5885.
    """

    def __init__(
        self,
        params: Iterable[Any],
        least_squares_kwargs: Mapping[str, Any] | None = None,
        jacobian_block_bytes: int = 1 << 26,
        **run_keywords: Unpack[RunKeywords],
    ) -> None:
        groups = as_groups(params)
        bounded = any_group_bounds([group for group in groups if isinstance(group, Mapping)])
        arguments = LeastSquaresArguments.parse(least_squares_kwargs, bounds_in_groups=bounded)
        super().__init__(groups, arguments, jacobian_block_bytes, run_keywords)
