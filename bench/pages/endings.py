"""The tables of docs/guide/why-it-stopped.md: each status of each method, and what to do.

The statuses of ours come from :class:`~pytorch_minimize.run.endings.Ending`. Those of methods are
written here, since scipy has them in no table; a test provokes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from pytorch_minimize.run.endings import Ending

from .markdown import Report, markdown

__all__ = ["ENDINGS", "STOPS", "Stop"]


@dataclass(frozen=True)
class Stop:
    """One way in which methods end.

    Attributes:
        status, message: of the result, the message as far as all scipys have it.
        success: of the result.
        do: what it means, and what to do about it.
        only: the methods of the family that end so; all where empty.
    """

    status: int
    success: bool
    message: str
    do: str
    only: tuple[str, ...] = ()


_AT_ITS_LIMIT = "a limit: raise `maxiter`, or go on by another `step`"
_PRECISION = (
    "the line search finds no lower loss although the gradient promises one. In float32 that is "
    "how most fits end, and they are done; in float64: the gradient is not that of the loss "
    "(`check_closure=True`), or the loss is rough"
)
_NAN = "the loss or x became NaN: [When the loss fails](failures.md)"
_OUR_LIMITED = ("torch-L-BFGS", "SS-L-BFGS")

QUASI_NEWTON = ("CG", "BFGS", "torch-BFGS", "SSBFGS", "SSBroyden", "torch-CG")
LIMITED = ("L-BFGS-B", *_OUR_LIMITED)
NEWTON_CG = ("Newton-CG", "torch-Newton-CG")
_OUR_TRUST_REGION = ("torch-trust-ncg", "torch-gauss-newton-cg")
_SCIPYS_TRUST_REGION = ("trust-ncg", "trust-krylov", "trust-exact", "dogleg")
TRUST_REGION = (*_SCIPYS_TRUST_REGION, *_OUR_TRUST_REGION)
OF_VALUES = ("Nelder-Mead", "Powell")
OF_MATRICES = ("trf", "dogbox", "lm", "torch-lm")

STOPS: Mapping[str, tuple[tuple[str, ...], Sequence[Stop]]] = {
    "stops_quasi_newton": (
        QUASI_NEWTON,
        (
            Stop(0, True, "Optimization terminated successfully.", "the gradient is within `gtol`"),
            Stop(1, False, "Maximum number of iterations has been exceeded.", _AT_ITS_LIMIT),
            Stop(
                2,
                False,
                "Desired error not necessarily achieved due to precision loss.",
                _PRECISION,
            ),
            Stop(3, False, "NaN result encountered.", _NAN),
        ),
    ),
    "stops_limited": (
        LIMITED,
        (
            Stop(
                0,
                True,
                "CONVERGENCE: NORM OF PROJECTED GRADIENT <= PGTOL",
                "the gradient is within `gtol`",
            ),
            Stop(
                0,
                True,
                "CONVERGENCE: RELATIVE REDUCTION OF F <= FACTR*EPSMCH",
                "the loss falls no more, by `ftol`. Too early for you: `ftol=0.0`",
            ),
            Stop(1, False, "STOP: TOTAL NO. OF ITERATIONS REACHED LIMIT", _AT_ITS_LIMIT),
            Stop(
                1,
                False,
                "STOP: TOTAL NO. OF F,G EVALUATIONS EXCEEDS LIMIT",
                "a limit: raise `maxfun`, 15000 by default",
            ),
            Stop(2, False, "ABNORMAL: ", _PRECISION),
            Stop(3, False, "NaN result encountered.", _NAN, only=_OUR_LIMITED),
        ),
    ),
    "stops_newton": (
        NEWTON_CG,
        (
            Stop(0, True, "Optimization terminated successfully.", "the step is within `xtol`"),
            Stop(
                1,
                False,
                "Warning: Maximum number of iterations has been exceeded.",
                _AT_ITS_LIMIT,
            ),
            Stop(
                2,
                False,
                "Warning: Desired error not necessarily achieved due to precision loss.",
                _PRECISION,
            ),
            Stop(
                3,
                False,
                "Warning: CG iterations didn't converge. The Hessian is not positive definite.",
                "take `trust-ncg` or `torch-trust-ncg`, which go along such directions",
            ),
        ),
    ),
    "stops_trust_region": (
        TRUST_REGION,
        (
            Stop(0, True, "Optimization terminated successfully.", "the gradient is within `gtol`"),
            Stop(1, False, "Maximum number of iterations has been exceeded.", _AT_ITS_LIMIT),
            Stop(
                2,
                False,
                "A bad approximation caused failure to predict improvement.",
                "the model of second order predicts no decrease: as precision loss, above",
            ),
            Stop(
                3,
                False,
                "A linalg error occurred, such as a non-psd Hessian.",
                "a Hessian with NaN; scipy's own",
                only=_SCIPYS_TRUST_REGION,
            ),
            Stop(3, False, "NaN result encountered.", _NAN, only=_OUR_TRUST_REGION),
        ),
    ),
    "stops_of_values": (
        OF_VALUES,
        (
            Stop(
                0, True, "Optimization terminated successfully.", "`xatol`, `fatol`; `xtol`, `ftol`"
            ),
            Stop(
                1,
                False,
                "Maximum number of function evaluations has been exceeded.",
                "a limit: raise `maxfev`; 200 n and 1000 n evaluations by default",
            ),
            Stop(2, False, "Maximum number of iterations has been exceeded.", _AT_ITS_LIMIT),
        ),
    ),
    "stops_tnc": (
        ("TNC",),
        (
            Stop(0, True, "Local minimum reached", "the gradient is within `gtol`"),
            Stop(1, True, "Converged (|f_n-f_(n-1)| ~= 0)", "the loss falls no more, by `ftol`"),
            Stop(2, True, "Converged (|x_n-x_(n-1)| ~= 0)", "the steps are within `xtol`"),
            Stop(3, False, "Max. number of function evaluations reached", "raise `maxfun`"),
            Stop(4, False, "Linear search failed", _PRECISION),
            Stop(6, False, "Unable to progress", _PRECISION),
        ),
    ),
    "stops_slsqp": (
        ("SLSQP",),
        (
            Stop(0, True, "Optimization terminated successfully", "loss or step are within `ftol`"),
            Stop(
                4,
                False,
                "Inequality constraints incompatible",
                "no point satisfies them near this one, linearised: another start, or fewer",
            ),
            Stop(
                6,
                False,
                "Singular matrix C in LSQ subproblem",
                "equality constraints depend on each other: leave one out",
            ),
            Stop(
                8,
                False,
                "Positive directional derivative for linesearch",
                f"constraints that cannot hold together; or {_PRECISION}",
            ),
            Stop(9, False, "Iteration limit reached", "raise `maxiter`, 100 by default"),
        ),
    ),
    "stops_trust_constr": (
        ("trust-constr",),
        (
            Stop(1, True, "`gtol` termination condition is satisfied.", "converged"),
            Stop(
                2,
                True,
                "`xtol` termination condition is satisfied.",
                "the region is small: converged, or the derivatives are wrong",
            ),
            Stop(
                0,
                False,
                "The maximum number of function evaluations is exceeded.",
                "raise `maxiter`, 1000 by default",
            ),
        ),
    ),
    "stops_cobyqa": (
        ("COBYQA",),
        (
            Stop(
                0,
                True,
                "The lower bound for the trust-region radius has been reached",
                "converged, to `final_tr_radius`",
            ),
            Stop(
                5,
                False,
                "The maximum number of function evaluations has been exceeded",
                "raise `maxfev`, 500 n by default",
            ),
            Stop(
                6,
                False,
                "The maximum number of iterations has been exceeded",
                "raise `maxiter`, 1000 n by default",
            ),
        ),
    ),
    "stops_least_squares": (
        OF_MATRICES,
        (
            Stop(
                -3,
                False,
                "The residuals or the Jacobian at the start are not finite.",
                "the others end with 105 there. Another start: a square root, for example, has no "
                "derivative at 0",
                only=("torch-lm",),
            ),
            Stop(
                0,
                False,
                "The maximum number of function evaluations is exceeded.",
                "a limit: raise `max_nfev`, 100 n by default, or go on by another `step`",
            ),
            Stop(
                1,
                True,
                "`gtol` termination condition is satisfied.",
                "the gradient is within `gtol`; of lm, the cosines between residuals and "
                "columns of J",
            ),
            Stop(
                2,
                True,
                "`ftol` termination condition is satisfied.",
                "the cost falls no more, by `ftol`. Too early for you: a smaller one",
            ),
            Stop(
                3,
                True,
                "`xtol` termination condition is satisfied.",
                "the steps are within `xtol`: converged, or the derivatives are wrong",
            ),
            Stop(
                4,
                True,
                "Both `ftol` and `xtol` termination conditions are satisfied.",
                "converged, as both say it",
            ),
        ),
    ),
}
"""Table -> the methods that it is of, and how they end."""

_DO: Mapping[str, str] = {
    "FIXED": "nothing is left to search: loosen the bounds, if that was not meant",
    "ITERATIONS": "`maxiter`, of a method that knows none (TNC)",
    "CALLBACK": "your callback ended it; the parameters hold the iterate that it was told of",
    "TIMEOUT": "go on by another `step`, or tomorrow: [Limits](limits.md)",
    "EVALUATIONS": "the same",
    "STALLED": "converged, as `rtol` says it",
    "BROKEN_DOWN": "the parameters hold the best point; another method, or float64",
    "NONFINITE": "the parameters hold the best point: [When the loss fails](failures.md)",
    "UNSURE": "look at the gradient, or go on by another `step` from there",
    "RAISED": "what was raised came out of `step`; the parameters hold the best point",
    "HOPELESS": "of one of [many starts](../many-starts.md), which others are far below",
}


def ours(report: Report) -> str:
    """Of any method."""
    lines = [
        [ending.status, "yes" if ending.success else "no", ending.message, _DO[ending.name]]
        for ending in sorted(Ending, key=lambda ending: ending.status)
    ]
    return markdown(("status", "success", "message", "what it means, and what to do"), lines)


def of_family(report: Report, table: str) -> str:
    _, stops = STOPS[table]
    lines = [
        [
            stop.status,
            "yes" if stop.success else "no",
            f"{stop.message.replace('|', chr(92) + '|')}{_of(stop)}",
            stop.do,
        ]
        for stop in stops
    ]
    return markdown(("status", "success", "message", "what it means, and what to do"), lines)


def _of(stop: Stop) -> str:
    return f" ({', '.join(stop.only)})" if stop.only else ""


ENDINGS: Mapping[str, tuple[set[str], Callable[[Report], str]]] = {
    "stops_ours": (set(), ours),
    **{table: (set(), partial(of_family, table=table)) for table in STOPS},
}
