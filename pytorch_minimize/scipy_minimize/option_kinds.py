"""One table: what kind of value each option of scipy's methods and global optimisers takes.

scipy looks at few of them, and then where they are used: ``maxiter="10"`` is an error of the loop,
``gtol=nan`` a convergence at the start. A test holds the table against the defaults of the scipy
that is installed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

import numpy as np

from ..kinds import (
    ARRAY,
    FLAG,
    NUMBER,
    WHOLE,
    Kind,
    at_least,
    checked,
    is_flag,
    is_number,
    is_whole,
    one_of,
    optional,
)

__all__ = ["KEYWORD_KINDS", "OPTION_KINDS", "check_sizes", "checked_tolerance", "checked_values"]


def _is_pair_or_number(value: object) -> bool:
    pair = isinstance(value, (tuple, list)) and len(value) == 2
    return all(is_number(v) for v in value) if pair else is_number(value)  # type: ignore[attr-defined]


_COUNT = at_least(0)
_COUNT_OR_NONE = optional(_COUNT)
_POSITIVE = at_least(1)
_NUMBER_OR_NONE = optional(NUMBER)
_LEVEL = Kind(is_flag, "a bool or a whole number")
_WORKERS = Kind(lambda value: callable(value) or is_whole(value), "a whole number or a map")


def _kinds(kinds: Mapping[str, Kind]) -> dict[str, Kind]:
    return {name: kind for names, kind in kinds.items() for name in names.split()}


OPTION_KINDS: Mapping[str, Kind] = _kinds(
    {
        "maxiter maxfev maxfun subproblem_maxiter": _COUNT,
        "maxcor maxls": _POSITIVE,
        "maxCGit": WHOLE,
        "disp iprint verbose mesg_num": _LEVEL,
        "return_all adaptive inexact sparse_jacobian": FLAG,
        "xatol fatol xtol ftol gtol xrtol barrier_tol tol feasibility_tol f_target norm": NUMBER,
        "c1 c2 eta stepmx accuracy minfev rescale rhobeg catol": NUMBER,
        "initial_trust_radius max_trust_radius initial_tr_radius final_tr_radius": NUMBER,
        "initial_constr_penalty initial_barrier_parameter initial_barrier_tolerance": NUMBER,
        "eps finite_diff_rel_step scale offset": ARRAY,
        "hess_inv0 direc initial_simplex": ARRAY,
        "workers": _WORKERS,
        "factorization_method": one_of(
            "NormalEquation", "AugmentedSystem", "QRFactorization", "SVDFactorization"
        ),
        "COBYQA.scale": FLAG,
    }
)

KEYWORD_KINDS: Mapping[str, Kind] = _kinds(
    {
        "niter maxiter maxfun niter_success n maxfev maxev": _COUNT_OR_NONE,
        "interval iters Ns": _POSITIVE,
        "T stepsize target_accept_rate stepwise_factor popsize tol atol recombination": NUMBER,
        "initial_temp restart_temp_ratio visit accept": NUMBER,
        "eps f_min_rtol vol_tol len_tol": NUMBER,
        "f_min f_tol maxtime": _NUMBER_OR_NONE,
        "mutation": Kind(_is_pair_or_number, "a number or a (low, high) of numbers"),
        "disp": _LEVEL,
        "no_local_search locally_biased": FLAG,
        "polish": Kind(lambda v: isinstance(v, bool) or callable(v), "True, False or a callable"),
    }
)

# Their limits are ints of C or of a loop over a range.
_NO_INFINITE_LIMIT = frozenset(
    {"TNC", "COBYLA", "COBYQA", "SLSQP", "differential_evolution", "direct", "brute"}
)

_SIZES: Mapping[str, Callable[[int], tuple[int, ...]]] = {
    "hess_inv0": lambda n: (n, n),
    "direc": lambda n: (n, n),
    "initial_simplex": lambda n: (n + 1, n),
    "scale": lambda n: (n,),
    "offset": lambda n: (n,),
    "eps": lambda n: (n,),
    "finite_diff_rel_step": lambda n: (n,),
}


def checked_values(
    where: str, given: Mapping[str, Any], kinds: Mapping[str, Kind], owner: str
) -> dict[str, Any]:
    """A copy of options, those that have a kind being of it.

    What scipy takes in one place and not in another is made what it takes everywhere.

    Args:
        where: for messages.
        given: name -> value.
        kinds: name, or owner and name, -> kind.
        owner: the method or the global optimiser.

    Raises:
        ValueError: one is not; says which, and what was expected.

    Example:
        >>> checked_values("options", dict(maxiter=1e3, gtol=np.array(0.5)), OPTION_KINDS, "BFGS")
        {'maxiter': 1000, 'gtol': 0.5}
    """
    return {name: _checked(where, name, value, kinds, owner) for name, value in given.items()}


def checked_tolerance(tol: Any) -> Any:
    """``tol`` of ``scipy.optimize.minimize``, None or a number."""
    return _checked("minimizer_args", "tol", tol, {"tol": _NUMBER_OR_NONE}, "")


def check_sizes(given: Mapping[str, Any], n: int) -> None:
    """Refuse options that are arrays of other sizes than ``n`` variables need.

    Raises:
        ValueError: one is; says which, and what was expected.
    """
    for name, shape in _SIZES.items():
        value = given.get(name)
        if value is None or isinstance(value, (Real, np.bool_)):
            continue
        expected, got = shape(n), tuple(np.shape(value))
        if got != expected and not (len(expected) == 1 and got in ((), (1,))):
            raise ValueError(
                f"options: {name}: expected an array of shape {expected} for the {n} variables, "
                f"got one of shape {got}"
            )


def _checked(where: str, name: str, value: Any, kinds: Mapping[str, Kind], owner: str) -> Any:
    kind = kinds.get(f"{owner}.{name}", kinds.get(name))
    if kind is None:
        return value
    value = checked(where, name, value, kind)
    if kind.whole and owner in _NO_INFINITE_LIMIT and value is not None and math.isinf(value):
        raise ValueError(f"{where}: {name}: expected a finite number for {owner}, got {value}")
    return value
