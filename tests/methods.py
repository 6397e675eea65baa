"""The methods under test, by what they use."""

from __future__ import annotations

from typing import Any

import plain

from pytorch_minimize.scipy_minimize.methods import METHODS

GRADIENT = ("CG", "BFGS", "L-BFGS-B", "TNC", "SLSQP")
GRADIENT_FREE = ("Nelder-Mead", "Powell", "COBYLA", "COBYQA")
CURVATURE = ("Newton-CG", "trust-ncg", "trust-krylov", "trust-exact", "trust-constr", "dogleg")
LOCAL = GRADIENT + GRADIENT_FREE
ALL = LOCAL + CURVATURE

# The COBYLA of scipy 1.15, in Fortran, takes inequalities only.
EQUALITIES = tuple(
    row.name
    for row in METHODS.values()
    if row.constraints and (row.name != "COBYLA" or plain.VERSION >= (1, 16))
)

# One of each way in which scipy's code calls ours: in Python, in C with the state of the run
# inside, by gradients alone, without, by Hessians or their products; and whose callbacks differ.
# What is promised whatever the method is tested on these; what each method promises is tested by
# its contract, in test_method_contract.py.
KINDS = ("L-BFGS-B", "TNC", "Nelder-Mead", "COBYLA", "COBYQA", "trust-exact", "trust-constr")

# COBYLA and COBYQA take milliseconds of Python an evaluation; a path is long enough to
# show a difference after so many.
CAPPED: dict[str | None, dict[str, Any]] = {
    "COBYLA": {"maxiter": 150},
    "COBYQA": {"maxfev": 60},
    "Powell": {"maxfev": 600},
    "Nelder-Mead": {"maxfev": 600},
}


def arguments(method: str | None, **more: Any) -> dict[str, Any]:
    """`minimizer_args` for a method; None leaves the choice to scipy."""
    return ({} if method is None else {"method": method}) | more
