"""What runs came to: kept from step to step, saved and loaded."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from ..bridge.variables import Variables
from ..problem.best_point import BestPoint
from ..problem.objective import Objective
from ..record.history import History
from ..record.profile import Profile
from ..record.saved import plain_part
from ..region.bounds import as_array
from ..region.groups import BoundedGroups
from ..settings import Settings
from .saved_state import VERSION, SavedState, check_is_ours
from .warm_start import InverseHessian

__all__ = ["Resumable"]


class Resumable(BoundedGroups):
    """An optimizer whose runs can be resumed, here or from a file.

    Its state is what runs came to: history, counters, best point, curvature. How a run is made
    (method, options, limits, bounds, constraints) is said where the optimizer is constructed, and
    nowhere else: a script that is started again with another limit means that limit. Such things
    are in a saved state only for those who read it.
    """

    history: History
    profile: Profile
    _settings: Settings
    _objective: Objective[Any] | None  # of the step that runs
    _running: bool
    _best: BestPoint | None
    _inverse: InverseHessian | None

    def load_best(self) -> None:
        """Set the parameters to the best point of the last run, or of the state that was loaded.

        It is the point with the lowest loss, feasible if one was. A loaded state is followed until
        the next :meth:`step` has found a finite loss. Bounds are looked after by :meth:`step`.

        Raises:
            RuntimeError: there has been no run, and no state of one was loaded.

        Example:
            >>> import torch
            >>> from pytorch_minimize.optim import MinimizeWrapper
            >>> x = torch.nn.Parameter(torch.tensor([3.0, -1.0], dtype=torch.float64))
            >>> saved = MinimizeWrapper([x], dict(method="BFGS"))
            >>> loss = saved.step(lambda: ((x - 1) ** 2).sum())
            >>> y = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
            >>> optimizer = MinimizeWrapper([y], dict(method="BFGS"))
            >>> optimizer.load_state_dict(saved.state_dict())  # from a file, mostly
            >>> optimizer.load_best()
            >>> y.detach().round(decimals=6)
            tensor([1., 1.], dtype=torch.float64)
        """
        self._refuse_inside_a_run("load_best")
        best = self._best_of(None)
        if best is None:
            raise RuntimeError(
                "load_best: there is no best point; expected a step to have run, or a state_dict() "
                "to have been loaded that was saved after or during one"
            )
        best.load()

    def state_dict(self) -> dict[str, Any]:
        """What runs came to, ready to be saved.

        Returns:
            torch's ``state``, with ``best`` for each parameter that was optimised, and
            ``param_groups``; and ``run``:

            - ``version`` of this format, 2.
            - ``history`` and the counters that go with it.
            - ``loss`` of the best point; None, and no ``best``, before any run.
            - ``variables``: how many numbers the best point has.
            - ``hess_inv``, the inverse Hessian (n, n), with ``warm_start`` only.
            - ``method``, ``settings``, ``arguments``: how the run was made, for who reads it.

            All of it can be loaded by ``torch.load(file, weights_only=True)``.
        """

        def complete(_: Any, state: dict[str, Any]) -> None:
            self._complete(state)

        # Before the user's own hooks, which are to see all of it.
        handle = self.register_state_dict_post_hook(complete, prepend=True)
        try:
            return super().state_dict()
        finally:
            handle.remove()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a :meth:`state_dict`, also one of another device or dtype.

        History, counters and, with ``warm_start``, the inverse Hessian are restored. No parameter
        is changed, neither now nor at the next :meth:`step`; :meth:`load_best` sets them to the
        best point. Method, options, limits, bounds (those in param groups too) and constraints
        stay those of this optimizer; one warning says so where its method or the groups' bounds
        are not the saved ones. Other entries of param groups are restored, as torch does.

        Raises:
            TypeError, ValueError: it is no state of an optimizer of this package, or of other
                parameters, or a part of it is missing or spoilt. Nothing is changed then.

        Example:
            >>> from pytorch_minimize.optim import MinimizeWrapper
            >>> x = torch.nn.Parameter(torch.zeros(2))
            >>> optimizer = MinimizeWrapper([x], dict(method="BFGS"))
            >>> optimizer.load_state_dict(torch.load("run.pt"))  # doctest: +SKIP
            >>> optimizer.load_best()  # doctest: +SKIP
            >>> optimizer.step(closure)  # doctest: +SKIP
        """
        self._refuse_inside_a_run("load_state_dict")
        check_is_ours(state_dict)
        loaded: list[SavedState] = []

        def check(_: Any, state: dict[str, Any]) -> dict[str, Any]:
            saved = SavedState.parse(state, self.param_groups)
            self._tell_differences(saved)
            loaded.append(saved)
            return saved.rest

        bounds = [group.get("bounds") for group in self.param_groups]

        def restore(_: Any) -> None:
            for group, own in zip(self.param_groups, bounds, strict=True):
                group["bounds"] = own
            self._restore(loaded[0])

        # The user's own hooks may change the state before it is checked, and see all of it after.
        handles = (
            self.register_load_state_dict_pre_hook(check),
            self.register_load_state_dict_post_hook(restore, prepend=True),
        )
        try:
            super().load_state_dict(dict(state_dict))
        finally:
            for handle in handles:
                handle.remove()

    def _refuse_inside_a_run(self, what: str) -> None:
        if self._running:
            raise RuntimeError(f"{what} was called from inside a step of the same optimizer")

    def _best_of(self, objective: Objective[Any] | None) -> BestPoint | None:
        """The best point of a run if it has one, else what there was before."""
        best = self._best
        if objective is not None and math.isfinite(objective.best_value):
            variables = Variables.of(objective.evaluator.bridge.params)
            # A copy: a solver of ours may end with this very vector, which users write into.
            x = np.array(objective.evaluator.space.to_host(objective.best_x))
            return BestPoint(variables, x, objective.best_value)
        if best is None:
            return None
        # Users who edit param_groups may have taken parameters out.
        known = {id(param) for group in self.param_groups for param in group["params"]}
        return best if all(id(param) in known for param in best.variables.params) else None

    def _complete(self, state: dict[str, Any]) -> None:
        """Add to torch's part of a state what is ours."""
        state["param_groups"] = groups = [plain_part(group) for group in state["param_groups"]]
        objective = self._objective
        best = self._best_of(objective)
        if best is not None:
            numbers = {
                id(param): number
                for own, group in zip(self.param_groups, groups, strict=True)
                for param, number in zip(own["params"], group["params"], strict=True)
            }
            for param, value in zip(best.variables.params, best.values(), strict=True):
                number = numbers[id(param)]
                state["state"][number] = {**state["state"].get(number, {}), "best": value}
        running = (0, 0.0) if objective is None else (objective.evaluations, self.profile.total)
        state["run"] = self._record() | {
            "version": VERSION,
            "history": self.history.state_dict(*running),
            "loss": None if best is None else best.loss,
            "variables": 0 if best is None else best.variables.numel,
        }
        if self._settings.warm_start and self._inverse is not None and best is not None:
            state["run"] |= self._inverse.as_saved(best.variables)

    def _record(self) -> dict[str, Any]:
        """How a run is made, as plain values, for who reads a state."""
        return {
            "method": self._method_name(),
            "settings": plain_part(self._settings.as_saved()),
            "arguments": {},
        }

    def _method_name(self) -> str:
        """Of the solver, as users name it."""
        raise NotImplementedError

    def _restore(self, saved: SavedState) -> None:
        self.history.load_state_dict(saved.history)
        self._best = saved.best
        self._inverse = saved.inverse if self._settings.warm_start else None

    def _tell_differences(self, saved: SavedState) -> None:
        """Warn once of what the saved run had and this optimizer has not."""
        own, differences = self._method_name(), []
        if saved.method is not None and saved.method.lower() != own.lower():
            differences.append(f"its method is {saved.method} and this optimizer's {own}")
        for number, (group, bounds) in enumerate(zip(self.param_groups, saved.bounds, strict=True)):
            if not _same_bounds(group.get("bounds"), bounds, f"saved bounds of group {number}"):
                differences.append(f"its bounds of group {number} are not this optimizer's")
        if differences:
            warnings.warn(
                f"load_state_dict: of the saved run, {'; '.join(differences)}. Those of this "
                f"optimizer hold; history, best point and curvature are loaded.",
                UserWarning,
                stacklevel=2,
            )


def _same_bounds(own: Any, saved: Any, what: str) -> bool:
    pairs = [(None, None) if bounds is None else bounds for bounds in (own, saved)]
    if not isinstance(pairs[1], (tuple, list)) or len(pairs[1]) != 2:
        raise ValueError(f"load_state_dict: {what}: expected (low, high) or None, got {saved!r}")
    for side, absent in enumerate((-np.inf, np.inf)):
        mine, its = (as_array(pair[side], f"load_state_dict: {what}", absent) for pair in pairs)
        try:
            if not (mine == its).all():
                return False
        except ValueError:  # shapes that do not broadcast
            return False
    return True
