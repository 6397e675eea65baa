"""The last local search: from the best point of an algorithm that samples, with gradients."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.optimize import Bounds, OptimizeResult

from ..closure.loss import NoGraphError
from ..region.search_box import is_inside
from ..scipy_minimize.function import ScipyFunction
from ..typing import Array

__all__ = ["Search", "polish"]

Search = Callable[..., OptimizeResult]


def polish(
    make_search: Callable[[Bounds], Search],
    function: ScipyFunction,
    res: OptimizeResult,
    box: Bounds,
    keywords: Mapping[str, Any],
) -> None:
    """Improve ``res`` in place by a local search from ``res.x``, where that finds better.

    Integers stay what they are. A solution outside the box or the constraints is not taken.

    Args:
        make_search: the box -> ``search(fun, x0, bounds=..., constraints=...)``.
        function: of the run.
        res: the algorithm's.
        box: that it searched.
        keywords: the algorithm's, of which ``integrality`` and ``constraints`` matter here.
    """
    box = _with_integers_held(box, res.x, keywords.get("integrality"))
    if np.all(box.lb == box.ub):
        return
    constraints = keywords.get("constraints", ())
    search = make_search(box)
    try:
        with warnings.catch_warnings():
            # trust-constr's advice on constraints that are linear; nobody here chose it.
            warnings.filterwarnings("ignore", "delta_grad == 0.0", UserWarning)
            found = search(function.fun, res.x.copy(), bounds=box, constraints=constraints)
    except NoGraphError:
        function.objective.evaluator.guard.forget()
        warnings.warn(
            "the solution is not polished, for the loss has no gradient; polish=False says that "
            "this is intended",
            RuntimeWarning,
            stacklevel=2,
        )
        return
    for count in ("nfev", "njev", "nhev"):
        if count in found:
            res[count] = res.get(count, 0) + found[count]
    if _is_better(found, res, box):
        res.x, res.fun = found.x, found.fun
        res.jac = found.get("grad", found.get("jac"))
        if "maxcv" in res:
            res.constr = [np.zeros_like(violation) for violation in res.constr]
            res.constr_violation = res.maxcv = 0.0


def _is_better(found: OptimizeResult, res: OptimizeResult, box: Bounds) -> bool:
    feasible = is_inside(found.x, box) and found.get("constr_violation", 0.0) <= 0.0
    return bool(feasible and found.success and found.fun <= res.fun)


def _with_integers_held(box: Bounds, x: Array, integrality: Any) -> Bounds:
    held = np.broadcast_to(np.asarray(False if integrality is None else integrality, bool), x.shape)
    return Bounds(np.where(held, x, box.lb), np.where(held, x, box.ub))
