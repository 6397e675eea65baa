"""One table: what each global optimiser of scipy.optimize takes and leaves to us.

Validation, the optimizers, the documentation and the parametrised tests all read it. The facts are
those of scipy 1.15 to 1.17; a test holds them against the signatures of the scipy that is
installed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import scipy.optimize
from scipy.optimize import OptimizeResult

from ..problem.objective import Objective
from ..row import Habits
from ..typing import Array
from .sampled_constraints import as_inequalities, as_scipys

__all__ = ["ALGORITHMS", "Algorithm"]


@dataclass(frozen=True)
class Algorithm:
    """What one global optimiser takes, and what it leaves to us.

    Attributes:
        name: scipy's function.
        run: calls it; the same form for all: ``run(fun, **keywords) -> OptimizeResult``.
        habits: how it behaves; what its callback is told is () where it has none.
        keywords: those that go to scipy as the user gave them.
        elsewhere: scipy's other keywords, with where they are stated here.
        options: the names that its ``options`` dict knows; empty where it has none.
        box: scipy's name for the box of finite bounds, which is ``bounds`` to our users; "" where
            it needs none.
        open_box: keywords -> whether every low must be below its high, equal ones being refused.
        takes_x0: it starts from the model's parameters.
        local: n -> the ``minimizer_args`` of its local minimiser where the user gives none; None
            where it has no local minimiser.
        local_method: of the local minimiser where the user names none.
        autograd: ``jac=False`` for the local minimiser means autograd like ``jac=True``.
        constraints: the user's constraints in the form that it takes; None where it takes none.
        dict_constraints: they may be dicts, as for ``scipy.optimize.minimize``.
        asks_for_result: its callback may ask for an ``intermediate_result``.
        iterates: its callback comes once per iteration with the best point so far, so that
            ``rtol`` has a meaning.
        limits_iterations: its ``maxiter`` is how often its callback may come.
        polish: the solution is improved by a gradient-based local search of ours at the end,
            unless the user says ``polish=False``.
    """

    name: str
    run: Callable[..., OptimizeResult]
    habits: Habits
    keywords: tuple[str, ...]
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    box: str = "bounds"
    open_box: Callable[[Mapping[str, Any]], bool] = lambda keywords: False
    takes_x0: bool = False
    local: Callable[[int], dict[str, Any]] | None = None
    local_method: str | None = None
    autograd: bool = False
    constraints: Callable[[Objective[Array], Any], list[Any]] | None = None
    dict_constraints: bool = False
    asks_for_result: bool = False
    iterates: bool = False
    limits_iterations: bool = False
    polish: bool = False


def differential_evolution(fun: Callable[..., Any], **keywords: Any) -> OptimizeResult:
    """scipy's own polish would take finite differences; ours comes afterwards."""
    return scipy.optimize.differential_evolution(fun, polish=False, **keywords)


def direct(
    fun: Callable[..., float], *, callback: Callable[..., Any], **keywords: Any
) -> OptimizeResult:
    """``scipy.optimize.direct``, whose C code goes on where ``fun`` raises, before scipy 1.17.

    An error is raised once it can be: where the iteration ends. ``fun`` is not asked until then.
    """
    raised: list[BaseException] = []  # emptied, lest error, traceback and list hold each other

    def guarded(x: Any) -> float:
        if not raised:
            try:
                return fun(x)
            except BaseException as error:
                raised.append(error)
        return 0.0

    def at_iteration(x: Any) -> None:
        if raised:
            raise raised.pop()
        callback(x)

    res = scipy.optimize.direct(guarded, callback=at_iteration, **keywords)
    if raised:
        raise raised.pop()
    return res


def brute(fun: Callable[..., float], *, ranges: Any, **keywords: Any) -> OptimizeResult:
    """``scipy.optimize.brute`` with a result like that of the others."""
    evaluations = 0

    def counted(x: Any) -> float:
        nonlocal evaluations
        evaluations += 1
        return fun(x)

    x, value, grid, values = scipy.optimize.brute(counted, ranges, full_output=True, **keywords)
    return OptimizeResult(
        x=np.atleast_1d(x),
        fun=value,
        grid=grid,
        grid_values=values,
        nfev=evaluations,
        success=True,
        status=0,
        message="The grid has been evaluated.",
    )


def _dual_annealing_local(n: int) -> dict[str, Any]:
    # The cap is dual_annealing's own, for local searches that the user has not described.
    return {"method": "L-BFGS-B", "options": {"maxiter": min(max(6 * n, 100), 1000)}}


def _habits(*told: str, stops_by: Literal["True", ""] = "") -> Habits:
    return Habits(documented=False, told=told, true_ends=True, stops_by=stops_by, ends_at_best=True)


_WORKERS = "there is one model, so points are evaluated one after the other; leave workers out"
_ARGS = "the closure takes no argument; leave args out"
_X0 = "x0 is the parameters' current values; leave x0 out"
_FUN = "func is the closure, which step takes"
_LOCAL = "the local minimiser is described by minimizer_args"
_SEED = ("rng", "seed")

ALGORITHMS: dict[str, Algorithm] = {
    algorithm.name: algorithm
    for algorithm in (
        Algorithm(
            "basinhopping",
            scipy.optimize.basinhopping,
            _habits("x", "fun", "accept"),
            keywords=(
                *("niter", "T", "stepsize", "take_step", "accept_test", "callback", "interval"),
                *("disp", "niter_success", "target_accept_rate", "stepwise_factor", *_SEED),
            ),
            elsewhere={"func": _FUN, "x0": _X0, "minimizer_kwargs": _LOCAL},
            box="",
            takes_x0=True,
            local=lambda n: {},
        ),
        Algorithm(
            "differential_evolution",
            differential_evolution,
            _habits("x", "convergence", stops_by="True"),
            keywords=(
                *("bounds", "strategy", "maxiter", "popsize", "tol", "mutation", "recombination"),
                *("callback", "disp", "init", "atol", "updating", "constraints", "integrality"),
                *_SEED,
            ),
            elsewhere={
                "func": _FUN,
                "x0": _X0,
                "args": _ARGS,
                "workers": f"{_WORKERS}, or see vectorized",
                "vectorized": "give the callable to step: step(closure, vectorized=...)",
            },
            takes_x0=True,
            constraints=as_scipys,
            asks_for_result=True,
            iterates=True,
            limits_iterations=True,
            polish=True,
        ),
        Algorithm(
            "shgo",
            scipy.optimize.shgo,
            _habits("x"),
            keywords=(
                *("bounds", "constraints", "n", "iters", "callback", "options"),
                "sampling_method",
            ),
            elsewhere={
                "func": _FUN,
                "args": _ARGS,
                "minimizer_kwargs": _LOCAL,
                "workers": _WORKERS,
            },
            options=(
                *("f_min", "f_tol", "maxiter", "maxfev", "maxev", "maxtime", "minhgrd"),
                *("symmetry", "minimize_every_iter", "local_iter", "infty_constraints", "disp"),
            ),
            # The others triangulate their points, which then must span the box.
            open_box=lambda keywords: keywords.get("sampling_method", "simplicial") != "simplicial",
            local=lambda n: {"method": "SLSQP", "options": {"ftol": 1e-12}},
            local_method="SLSQP",
            autograd=True,
            constraints=as_inequalities,
            dict_constraints=True,
        ),
        Algorithm(
            "dual_annealing",
            scipy.optimize.dual_annealing,
            _habits("x", "fun", "context", stops_by="True"),
            keywords=(
                *("bounds", "maxiter", "initial_temp", "restart_temp_ratio", "visit", "accept"),
                *("maxfun", "no_local_search", "callback", *_SEED),
            ),
            elsewhere={"func": _FUN, "x0": _X0, "args": _ARGS, "minimizer_kwargs": _LOCAL},
            open_box=lambda keywords: True,
            takes_x0=True,
            local=_dual_annealing_local,
            local_method="L-BFGS-B",
            autograd=True,
            iterates=True,
            polish=True,
        ),
        Algorithm(
            "direct",
            direct,
            _habits("x"),
            keywords=(
                *("bounds", "eps", "maxfun", "maxiter", "locally_biased", "f_min", "f_min_rtol"),
                *("vol_tol", "len_tol", "callback"),
            ),
            elsewhere={"func": _FUN, "args": _ARGS},
            open_box=lambda keywords: True,
            iterates=True,
            limits_iterations=True,
        ),
        Algorithm(
            "brute",
            brute,
            _habits(),
            keywords=("bounds", "ranges", "Ns", "finish", "disp"),
            elsewhere={
                "func": _FUN,
                "args": _ARGS,
                "workers": _WORKERS,
                "full_output": "res has the grid and its values in any case; leave it out",
            },
            box="ranges",
        ),
    )
}
