"""What every message says in the same way: the nearest known name, and a value of any length."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn.parameter import is_lazy

__all__ = ["did_you_mean", "listed", "nearest", "shown"]

_FEW = 6
_LONG = 160

# Spelt as _plain spells: other packages' names, and what scipy calls it, the likeliest first.
_SYNONYMS: dict[str, tuple[str, ...]] = {
    "lbfgs": ("L-BFGS-B",),
    "conjugategradient": ("CG",),
    "simplex": ("Nelder-Mead",),
    "newton": ("Newton-CG",),
    "trustregion": ("trust-constr",),
    "epochs": ("maxiter", "niter"),
    "iterations": ("maxiter", "niter"),
    "maxeval": ("maxfun", "maxfev", "max_evaluations"),
    "maxnfev": ("maxfun", "maxfev", "max_evaluations"),
    "historysize": ("maxcor",),
    "memory": ("maxcor",),
    "tolerance": ("tol",),
    "tolerancegrad": ("gtol",),
    "pgtol": ("gtol",),
    "tolerancechange": ("ftol", "xtol", "xrtol"),
    "factr": ("ftol",),
    "epsilon": ("eps",),
    "verbose": ("disp", "progress"),
    "gradient": ("jac",),
    "fprime": ("jac",),
    "jacobian": ("jac",),
    "hessian": ("hess",),
    "seed": ("rng",),
    "randomstate": ("rng",),
    "maxtime": ("timeout",),
    "population": ("popsize",),
    "inequality": ("ineq",),
    "equality": ("eq",),
}

_NO_STEP_LENGTH = "scipy's methods find the length of their steps themselves; leave it out"
_ADVICE = {
    "lr": _NO_STEP_LENGTH,
    "learningrate": _NO_STEP_LENGTH,
    "linesearchfn": "scipy's methods bring their own line search; leave it out",
    "methodbfgs": (
        "method_bfgs is of a scipy whose files were overwritten: here the update is the method "
        'itself, "SSBFGS" or "SSBroyden" (without a model pytorch_minimize.ssbfgs or ssbroyden), '
        "and variant=1, 2 or 3 an option of it"
    ),
}


def did_you_mean(
    given: str | Iterable[object], known: Iterable[str], elsewhere: Mapping[str, str] | None = None
) -> str:
    """What to add to a message that refuses a name or several: "; did you mean ...?", or "".

    Args:
        given: what was not understood.
        known: names that would be.
        elsewhere: names that are understood in another place, with a sentence that says where.

    Example:
        >>> did_you_mean("LBFGS", ["BFGS", "L-BFGS-B"])
        '; did you mean L-BFGS-B?'
        >>> did_you_mean(["max_iter", "foo"], ["disp", "maxiter"])
        '; max_iter: did you mean maxiter?'
        >>> did_you_mean("gtol", ["method", "tol"], {"gtol": "gtol is an option"})
        '; gtol is an option'
    """
    names = [given] if isinstance(given, str) else [str(name) for name in given]
    known, elsewhere = list(known), elsewhere or {}
    hints = {name: _hint(name, known, elsewhere) for name in names[:_FEW]}
    alone = len(names) == 1
    return "".join(
        f"; {hint}" if alone else f"; {name}: {hint}" for name, hint in hints.items() if hint
    )


def listed(names: Iterable[object]) -> str:
    """Names in one line; of many, the first few and the number of the others.

    Example:
        >>> listed(range(1000))
        '0, 1, 2, 3, 4, 5 and 994 more'
    """
    every = [str(name) for name in names]
    more = len(every) - _FEW
    return ", ".join(every[:_FEW]) + (f" and {more} more" if more > 0 else "")


def shown(value: object) -> str:
    """``repr(value)`` in one line, shortened where it is long.

    Example:
        >>> shown([1.5] * 1000)
        '[1.5, 1.5, 1.5, 1.5, 1.5, 1.5, ...]'
        >>> shown(np.zeros(1000))
        'an array of shape (1000,) and dtype float64'
    """
    return " ".join(_SHORT.repr(value).split())


def nearest(name: str, names: list[str]) -> str | None:
    """The one of ``names`` that was meant by ``name``, if any."""
    plain, spelt = _plain(name), {_plain(other): other for other in reversed(names)}
    if plain in spelt:
        return spelt[plain]
    for other in _SYNONYMS.get(plain, ()):
        if other in names:
            return other
    close = difflib.get_close_matches(plain, spelt, n=1, cutoff=0.75)
    # "method_bfgs" holds a name, and "QR" begins one.
    held = sorted((other for other in spelt if len(other) > 3 and other in plain), key=len)
    begun = [other for other in spelt if len(plain) > 1 and other.startswith(plain)]
    found = close or held[-1:] or (begun if len(begun) == 1 else [])
    return spelt[found[0]] if found else None


def _hint(name: str, known: list[str], elsewhere: Mapping[str, str]) -> str:
    advice = _ADVICE.get(_plain(name))
    if advice is not None:
        return advice
    found = nearest(name, [*known, *elsewhere])
    if found is None:
        return ""
    return f"did you mean {found}?" if found in known else elsewhere[found]


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


class _Short(reprlib.Repr):
    """Arrays and tensors by their shape, everything else cut; by the names of the types."""

    def repr_ndarray(self, value: Any, level: int) -> str:
        if not isinstance(value, np.ndarray) or value.size <= _FEW:
            return self.repr_instance(value, level)
        return f"an array of shape {value.shape} and dtype {value.dtype}"

    def repr_Tensor(self, value: Any, level: int) -> str:
        if not isinstance(value, Tensor) or is_lazy(value) or value.numel() <= _FEW:
            return self.repr_instance(value, level)
        return f"a tensor of shape {tuple(value.shape)} and dtype {value.dtype}"

    repr_Parameter = repr_Tensor


_SHORT = _Short()
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = _SHORT.maxset = _SHORT.maxarray = _FEW
_SHORT.maxlevel = 3
_SHORT.maxstring = _SHORT.maxother = _LONG
