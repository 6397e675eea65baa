"""Which of scipy's ``hess`` and ``hessp`` come from autograd, and which from the user."""

from __future__ import annotations

from typing import Any

from scipy.optimize import HessianUpdateStrategy

from ..row import Row
from ..wording import did_you_mean, shown

__all__ = ["curvature_by_autograd"]

_NAMES = ("hess", "hessp")
_DIFFERENCES = ("2-point", "3-point")


def curvature_by_autograd(row: Row, given: dict[str, Any]) -> str:
    """The one that autograd provides, or ""; what scipy is not to see leaves ``given``.

    True asks for autograd and False for none. Without either it is what the method's row lists
    first, unless the user gave something. A callable method gets what is asked for.

    Raises:
        ValueError: values that are not understood, or that exclude each other.

    Example:
        >>> from pytorch_minimize.scipy_minimize.methods import find_method
        >>> curvature_by_autograd(find_method("Newton-CG"), {})
        'hessp'
        >>> curvature_by_autograd(find_method("Newton-CG"), {"hess": True})
        'hess'
        >>> curvature_by_autograd(find_method("Newton-CG"), {"hess": "2-point"})
        ''
    """
    values = {name: given.get(name) for name in _NAMES}
    asked = [name for name, value in values.items() if value is True]
    own = [name for name, value in values.items() if value is not None and value is not True]
    if len(asked) == 2 or (asked and own):
        raise ValueError(
            f"expected True for one of hess and hessp, and the other left out; got "
            f"hess={shown(values['hess'])} and hessp={shown(values['hessp'])}"
        )
    for name, value in values.items():
        if isinstance(value, bool):
            del given[name]
        elif value is not None and not row.habits.as_given:
            _check(row, name, value)
    if asked:
        return asked[0]
    return "" if own or not row.curvature else row.curvature[0]


def _check(row: Row, name: str, value: object) -> None:
    if callable(value) and not isinstance(value, type):
        return
    dense_only = "hessp" not in row.curvature
    if name == "hess" and not dense_only:
        known_word = isinstance(value, str) and value in _DIFFERENCES
        if known_word or isinstance(value, HessianUpdateStrategy):
            return
        also = f", one of {_DIFFERENCES} (differences of gradients), BFGS() or SR1()"
    else:
        also = ""
    raise ValueError(
        f"{row.name}: expected {name} to be True (autograd), a callable on the flat x{also}; got "
        f"{_what(value)}"
    )


def _what(value: object) -> str:
    if isinstance(value, type):
        return f"the class {value.__name__}; give an instance: {value.__name__}()"
    hint = did_you_mean(value, _DIFFERENCES) if isinstance(value, str) else ""
    return f"{shown(value)}{hint}"
