"""scipy.optimize as torch optimizers: one ``step(closure)`` runs a whole minimisation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from typing_extensions import Unpack

from .closure.population import vectorize
from .distributed.errors import OtherProcessError
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
    "DifferentialEvolutionWrapper",
    "DirectWrapper",
    "DualAnnealingWrapper",
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
