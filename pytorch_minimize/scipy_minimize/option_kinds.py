"""One table: what kind of value each option of scipy's methods and global optimisers takes.

scipy looks at few of them, and then where they are used: ``maxiter="10"`` is an error of the loop,
``gtol=nan`` a convergence at the start. A test holds the table against the defaults of the scipy
that is installed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..wording import did_you_mean, shown

__all__ = ["KEYWORD_KINDS", "OPTION_KINDS", "check_sizes", "checked_tolerance", "checked_values"]


@dataclass(frozen=True)
class Kind:
    """Values of one kind.

    Attributes:
        accepts: whether a value is one; numbers in arrays without a dimension come as numbers.
        expected: for messages.
        optional: None is one as well.
        whole: they are whole numbers, which scipy gets as ints.
        words: the strings among them.
    """

    accepts: Callable[[Any], bool]
    expected: str
    optional: bool = False
    whole: bool = False
    words: tuple[str, ...] = ()


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and not math.isnan(value)


def _is_whole(value: object) -> bool:
    return _is_number(value) and (math.isinf(value) or float(value).is_integer())  # type: ignore[arg-type]


def _is_flag(value: object) -> bool:
    return isinstance(value, (bool, np.bool_, Integral))


def _as_array(value: Any) -> NDArray[Any]:
    return np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value)


def _is_array(value: object) -> bool:
    try:
        array = _as_array(value)
    except (TypeError, ValueError, RuntimeError):
        return False
    return array.dtype.kind in "iuf" and not np.isnan(array).any()


def _is_pair_or_number(value: object) -> bool:
    pair = isinstance(value, (tuple, list)) and len(value) == 2
    return all(_is_number(v) for v in value) if pair else _is_number(value)  # type: ignore[attr-defined]


def _at_least(least: int, *, optional: bool = False) -> Kind:
    return Kind(
        lambda value: _is_whole(value) and value >= least,
        f"a whole number of at least {least}",
        optional,
        whole=True,
    )


def _one_of(*words: str) -> Kind:
    expected = f"one of {', '.join(words)}"
    return Kind(lambda value: isinstance(value, str) and value in words, expected, words=words)


_COUNT = _at_least(0)
_COUNT_OR_NONE = _at_least(0, optional=True)
_POSITIVE = _at_least(1)
_WHOLE = Kind(_is_whole, "a whole number", whole=True)
_NUMBER = Kind(_is_number, "a number")
_NUMBER_OR_NONE = Kind(_is_number, "a number", optional=True)
_FLAG = Kind(_is_flag, "True or False")
_LEVEL = Kind(_is_flag, "a bool or a whole number")
_ARRAY = Kind(_is_array, "a number or an array of numbers")
_WORKERS = Kind(lambda value: callable(value) or _is_whole(value), "a whole number or a map")


def _kinds(kinds: Mapping[str, Kind]) -> dict[str, Kind]:
    return {name: kind for names, kind in kinds.items() for name in names.split()}


OPTION_KINDS: Mapping[str, Kind] = _kinds(
    {
        "maxiter maxfev maxfun subproblem_maxiter": _COUNT,
        "maxcor maxls": _POSITIVE,
        "maxCGit": _WHOLE,
        "disp iprint verbose mesg_num": _LEVEL,
        "return_all adaptive inexact sparse_jacobian initial_scale": _FLAG,
        "xatol fatol xtol ftol gtol xrtol barrier_tol tol feasibility_tol f_target norm": _NUMBER,
        "c1 c2 eta stepmx accuracy minfev rescale rhobeg catol": _NUMBER,
        "initial_trust_radius max_trust_radius initial_tr_radius final_tr_radius": _NUMBER,
        "initial_constr_penalty initial_barrier_parameter initial_barrier_tolerance": _NUMBER,
        "eps finite_diff_rel_step scale offset": _ARRAY,
        "hess_inv0 direc initial_simplex": _ARRAY,
        "workers": _WORKERS,
        "factorization_method": _one_of(
            "NormalEquation", "AugmentedSystem", "QRFactorization", "SVDFactorization"
        ),
        "COBYQA.scale": _FLAG,
    }
)

KEYWORD_KINDS: Mapping[str, Kind] = _kinds(
    {
        "niter maxiter maxfun niter_success n maxfev maxev": _COUNT_OR_NONE,
        "interval iters Ns": _POSITIVE,
        "T stepsize target_accept_rate stepwise_factor popsize tol atol recombination": _NUMBER,
        "initial_temp restart_temp_ratio visit accept": _NUMBER,
        "eps f_min_rtol vol_tol len_tol": _NUMBER,
        "f_min f_tol maxtime": _NUMBER_OR_NONE,
        "mutation": Kind(_is_pair_or_number, "a number or a (low, high) of numbers"),
        "disp": _LEVEL,
        "no_local_search locally_biased": _FLAG,
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

    What scipy takes in one place and not in another is made what it takes everywhere: a whole
    number that is stated as a float becomes an int, a number in an array or a tensor without
    dimensions a number, a list of numbers a float64 array.

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
    if kind is None or (value is None and kind.optional):
        return value
    if isinstance(value, (np.ndarray, Tensor)) and value.ndim == 0:
        value = value.item()
    if not kind.accepts(value):
        also = " or None" if kind.optional else ""
        hint = did_you_mean(value, kind.words) if isinstance(value, str) and kind.words else ""
        raise ValueError(
            f"{where}: {name}: expected {kind.expected}{also}, got {shown(value)}{hint}"
        )
    if kind.whole:
        return _as_int(where, name, value, owner)
    if kind is _ARRAY and not isinstance(value, Real):
        return _as_array(value).astype(np.float64, copy=False)
    return value


def _as_int(where: str, name: str, value: Any, owner: str) -> Any:
    if not math.isinf(value):
        return int(value)
    if owner in _NO_INFINITE_LIMIT:
        raise ValueError(f"{where}: {name}: expected a finite number for {owner}, got {value}")
    return value
