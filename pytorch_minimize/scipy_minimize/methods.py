"""One table: what each method of scipy.optimize.minimize needs, accepts and calls things.

Validation, the optimizer's choice of route, the documentation and the parametrised tests all read
it. The facts are those of scipy 1.15 to 1.17 (``scipy.optimize.show_options``); a test holds them
against the signatures of the scipy that is installed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import scipy

from ..row import Asks, Habits, Row
from ..solvers.methods import ROWS
from ..wording import did_you_mean, shown

__all__ = ["CURVATURE_METHODS", "METHODS", "find_method"]


def _options(names: str) -> frozenset[str]:
    return frozenset(names.split())


_SCIPY = tuple(int(part) for part in scipy.__version__.split(".")[:2])
_LINE_SEARCH_FAILED = frozenset({2})
_NO_PREDICTED_DECREASE = frozenset({2})
_SECOND_ORDER = ("jac", "njev", "nhev")
_DIFFERENCES = "eps finite_diff_rel_step workers"
_TRUST_REGION = (
    "initial_trust_radius max_trust_radius eta gtol maxiter disp return_all workers "
    "subproblem_maxiter"
)
_MAXFUN = {"maxfun": "maxfev"}
_MAXFEV = {"maxfev": "maxfun"}

METHODS: dict[str, Row] = {
    method.name.lower(): method
    for method in (
        Row(
            "Nelder-Mead",
            gradient=False,
            bounds=True,
            options=_options("disp maxiter maxfev return_all initial_simplex xatol fatol adaptive"),
            aliases=_MAXFUN,
            habits=Habits(keeps_bounds=True, result=()),
        ),
        Row(
            "Powell",
            gradient=False,
            bounds=True,
            options=_options("disp xtol ftol maxiter maxfev direc return_all"),
            aliases=_MAXFUN,
            habits=Habits(keeps_bounds=True, result=()),
        ),
        Row(
            "CG",
            gradient=True,
            options=_options(f"disp gtol norm maxiter return_all c1 c2 {_DIFFERENCES}"),
            tolerances=("gtol",),
            gradient_test=1e-5,
            habits=Habits(leaves_iterates=True, precision_lost=_LINE_SEARCH_FAILED),
        ),
        Row(
            "BFGS",
            gradient=True,
            options=_options(
                f"disp gtol norm maxiter return_all xrtol c1 c2 hess_inv0 {_DIFFERENCES}"
            ),
            gradient_test=1e-5,
            tolerances=("gtol",),
            # On two cores, with a small closure, left alone takes 1.36 (n = 535), 1.05 (685), 0.65
            # (985) and 0.54 (2035) of the time that it takes on one thread.
            habits=Habits(precision_lost=_LINE_SEARCH_FAILED, threads_from=900),
        ),
        Row(
            "L-BFGS-B",
            gradient=True,
            bounds=True,
            options=_options(f"disp maxcor ftol gtol maxfun maxiter iprint maxls {_DIFFERENCES}"),
            aliases=_MAXFEV,
            tolerances=("ftol", "gtol"),
            prints=False,  # deprecated in 1.17, gone in 1.18
            gradient_test=1e-5,
            habits=Habits(keeps_bounds=True, precision_lost=_LINE_SEARCH_FAILED),
        ),
        Row(
            "TNC",
            gradient=True,
            bounds=True,
            options=_options(
                "disp scale offset mesg_num maxCGit eta stepmx accuracy minfev ftol xtol gtol "
                f"rescale maxfun {_DIFFERENCES}"
            ),
            aliases=_MAXFEV,
            tolerances=("ftol", "gtol"),
            # Its Hessian products are differences of gradients.
            precision={"accuracy": 0.5, "ftol": 1.0},
            counts_no_iterations=True,
            habits=Habits(
                keeps_bounds=True,
                stops_by="",
                precision_lost=frozenset({4, 6}),  # line search failed, no progress
                result=("jac",),
            ),
        ),
        Row(
            "COBYLA",
            gradient=False,
            bounds=True,
            constraints=True,
            options=_options("disp rhobeg tol maxiter catol f_target"),
            # COBYLA's maxiter counts evaluations.
            aliases={"maxfev": "maxiter", "maxfun": "maxiter"},
            limits_iterations=False,
            asks=Asks(separates=True),
            # Until scipy 1.16 it was Fortran, one run at a time.
            habits=Habits(stops_by="", takes_turns=_SCIPY >= (1, 16), result=("maxcv",)),
        ),
        Row(
            "COBYQA",
            gradient=False,
            bounds=True,
            constraints=True,
            options=_options(
                "disp maxfev maxiter f_target feasibility_tol initial_tr_radius final_tr_radius "
                "scale"
            ),
            aliases=_MAXFUN,
            habits=Habits(keeps_bounds=True, stops_by="", takes_turns=False, result=("maxcv",)),
        ),
        Row(
            "SLSQP",
            gradient=True,
            bounds=True,
            constraints=True,
            options=_options(f"disp ftol maxiter iprint {_DIFFERENCES}"),
            tolerances=("ftol",),
            asks=Asks(constraint_gradient=True, separates=True),
            habits=Habits(
                keeps_bounds=True,
                stops_by="",
                precision_lost=frozenset({8}),  # no descent along the search direction
                result=("jac", "njev", "multipliers"),
            ),
        ),
        Row(
            "Newton-CG",
            gradient=True,
            needs_gradient=True,
            curvature=("hessp", "hess"),
            options=_options("disp xtol maxiter eps return_all c1 c2 workers"),
            tolerances=("xtol",),
            habits=Habits(precision_lost=_LINE_SEARCH_FAILED, result=_SECOND_ORDER),
        ),
        Row(
            "trust-ncg",
            gradient=True,
            needs_gradient=True,
            curvature=("hessp", "hess"),
            options=_options(_TRUST_REGION),
            tolerances=("gtol",),
            gradient_test=1e-4,
            habits=Habits(precision_lost=_NO_PREDICTED_DECREASE, result=_SECOND_ORDER),
        ),
        Row(
            "trust-krylov",
            gradient=True,
            needs_gradient=True,
            curvature=("hessp", "hess"),
            options=_options(f"{_TRUST_REGION} inexact"),
            tolerances=("gtol",),
            gradient_test=1e-4,
            habits=Habits(precision_lost=_NO_PREDICTED_DECREASE, result=_SECOND_ORDER),
        ),
        Row(
            "trust-exact",
            gradient=True,
            needs_gradient=True,
            curvature=("hess",),
            options=_options(_TRUST_REGION),
            tolerances=("gtol",),
            gradient_test=1e-4,
            habits=Habits(precision_lost=_NO_PREDICTED_DECREASE, result=_SECOND_ORDER),
        ),
        Row(
            "dogleg",
            gradient=True,
            needs_gradient=True,
            curvature=("hess",),
            options=_options(_TRUST_REGION),
            tolerances=("gtol",),
            gradient_test=1e-4,
            asks=Asks(positive_definite=True),
            habits=Habits(precision_lost=_NO_PREDICTED_DECREASE, result=_SECOND_ORDER),
        ),
        Row(
            "trust-constr",
            gradient=True,
            curvature=("hessp", "hess"),
            bounds=True,
            constraints=True,
            options=_options(
                "xtol gtol barrier_tol sparse_jacobian maxiter verbose finite_diff_rel_step "
                "initial_constr_penalty initial_tr_radius initial_barrier_parameter "
                "initial_barrier_tolerance factorization_method disp workers"
            ),
            tolerances=("gtol", "xtol"),
            asks=Asks(constraint_gradient=True, constraint_curvature=True),
            habits=Habits(
                strictly_inside=True,
                told=("x", "state"),
                tells_state=True,
                true_ends=True,
                stops_by="",
                result=("grad", "njev", "nhev", "constr_violation", "optimality"),
            ),
        ),
    )
}

_CLASSES = {
    name: f"{wrapper} runs it"
    for name, wrapper in {
        "basinhopping": "BasinHoppingWrapper",
        "differential_evolution": "DifferentialEvolutionWrapper",
        "shgo": "SHGOWrapper",
        "dual_annealing": "DualAnnealingWrapper",
        "direct": "DirectWrapper",
        "brute": "BruteWrapper",
        "least_squares": "LeastSquaresWrapper",
        "trf": "LeastSquaresWrapper",
        "dogbox": "LeastSquaresWrapper",
        "lm": "LeastSquaresWrapper",
        "torch-lm": "LeastSquaresWrapper",
        "torch-gauss-newton-cg": "LeastSquaresWrapper",
    }.items()
}

_USERS = Row(
    "",
    gradient=True,
    bounds=True,
    constraints=True,
    limits_iterations=False,
    asks=Asks(constraint_gradient=True, constraint_curvature=True),
    habits=Habits(documented=False, as_given=True, true_ends=True, stops_by=""),
)
"""A callable of the user's."""

CURVATURE_METHODS = tuple(method.name for method in METHODS.values() if method.curvature)


def find_method(
    method: str | Callable[..., Any] | None, *, bounds: object = None, constraints: object = None
) -> Row:
    """The table's row for ``method``, in any case; of a callable, that it may do anything.

    ``method=None`` is scipy's own choice: SLSQP with constraints, L-BFGS-B with bounds, else BFGS.

    Raises:
        ValueError: the method is not in the table.
        TypeError: it is neither a name, nor a callable, nor None.

    Example:
        >>> find_method("l-bfgs-b").name
        'L-BFGS-B'
        >>> find_method(None, bounds=[(0, 1)]).name
        'L-BFGS-B'
    """
    if method is None:
        has_constraints = not (constraints is None or constraints == () or constraints == [])
        method = "SLSQP" if has_constraints else "BFGS" if bounds is None else "L-BFGS-B"
    table = METHODS | ROWS
    names = [row.name for row in table.values()]
    if isinstance(method, type):
        raise TypeError(
            f"method: expected the name of a method, a function or None, got the class "
            f"{method.__name__}{did_you_mean(method.__name__, names)}"
        )
    if callable(method):
        return replace(_USERS, name=getattr(method, "__name__", str(method)))
    if not isinstance(method, str):
        raise TypeError(
            f"method: expected the name of a method, a callable or None, got {shown(method)}"
        )
    if method.lower() not in table:
        raise ValueError(
            f"method: expected one of {', '.join(names)}, or a callable; got {shown(method)}"
            f"{did_you_mean(method, names, _CLASSES)}"
        )
    return table[method.lower()]
