"""A solver of a few lines over any kind of flat vector: what a run promises holds for it too."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult

from pytorch_minimize.bridge.make import tensor_bridge
from pytorch_minimize.bridge.space import ARRAYS, TensorSpace
from pytorch_minimize.closure.runner import ClosureRunner
from pytorch_minimize.problem.evaluator import Evaluator
from pytorch_minimize.problem.guard import make_guard
from pytorch_minimize.problem.make import make_evaluator
from pytorch_minimize.row import Asks, Habits
from pytorch_minimize.run.endings import Ending, ended
from pytorch_minimize.run.optimizer import FullBatchOptimizer, Run
from pytorch_minimize.run.plan import Plan
from pytorch_minimize.settings import Settings

ASKS = Asks(gradient=True)


class Descent(FullBatchOptimizer):
    """x <- x - rate g, ``steps`` times; half the rate where that is not finite."""

    def __init__(
        self, params: Iterable[Any], kind: str, callback: Any = None, **keywords: Any
    ) -> None:
        self.kind, self.callback, self.rate, self.steps = kind, callback, 0.05, 40
        super().__init__(params, Settings.parse(keywords))

    @property
    def _plan(self) -> Plan:
        return Plan("descent", ASKS, Habits(stops_by=""), self.callback, self.steps)

    def _check_sizes(self, n: int) -> None:
        pass

    def _given_bounds(self) -> Any:
        return None

    def _method_name(self) -> str:
        return "descent"

    def _make_evaluator(self, runner: ClosureRunner) -> Evaluator[Any]:
        bridge, space = {
            "arrays": lambda: (runner.bridge, ARRAYS),
            "tensors": lambda: (tensor_bridge(runner.bridge), TensorSpace()),
        }[self.kind]()
        guard = make_guard(self.profile)
        return make_evaluator(
            runner, bridge, space, guard, self.profile, ASKS, self._settings, keeps_points=True
        )

    def _solve(self, run: Run) -> OptimizeResult:
        x, ending, at, rate = run.x0, None, None, self.rate
        last, gradient = run.x0, 0.0 * run.x0
        while ending is None:
            ending = run.watch.due() if run.watch.looks else None
            if ending is not None:
                break
            found = run.objective.evaluate(x)
            if found.finite:
                ending = run.watch.iteration(x, OptimizeResult(x=x, fun=found.value))
                at = x if ending is Ending.CALLBACK else None
                last, gradient = x, found.gradient
            else:
                rate *= 0.5
                assert rate > 1e-9
            x = last - rate * gradient
        assert ending is not None
        fields = ("jac", "njev")
        res = ended(ending, run.objective, fields, x=at, nit=run.watch.nit)
        res.njev = np.int64(run.evaluator.evaluations)
        return res
