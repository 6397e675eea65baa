"""A torch optimizer whose param groups may state bounds."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from scipy.optimize import Bounds
from torch import Tensor

from ..bridge.interface import Bridge
from .bounds import any_group_bounds, check_group, flat_bounds
from .group_keys import LR, as_groups, believes, check_written, understood_group

__all__ = ["BoundedGroups"]


class BoundedGroups(torch.optim.Optimizer):
    """Param groups with ``bounds=(low, high)``, as bounds on the flat vector.

    Every group has an ``lr``, for the schedulers and monitors that read and write it, and it does
    nothing.

    Args:
        params: parameters, named parameters or param groups, as for any torch optimizer.
        lr: of groups that state none; None is 1, as for torch.optim.LBFGS.
    """

    _lr_is_told = False

    def __init__(self, params: Iterable[Any], lr: Any = None) -> None:
        self._tell_lr(lr)
        super().__init__(as_groups(params), {"lr": LR if lr is None else lr, "bounds": None})
        self._flat_bounds(self._current_bridge().params)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters to those that are optimised, as for any torch optimizer.

        Args:
            param_group: ``params``, and ``bounds=(low, high)`` where they have some: numbers,
                None, or arrays that broadcast to each of the parameters. ``lr`` does nothing, and
                neither does ``name``, which monitors show.

        Raises:
            ValueError: keys that are not understood, bounds that do not fit, or a method that
                takes none.
            TypeError: it is no dict.
        """
        where = f"param group {len(self.param_groups)}"
        group = understood_group(param_group, where)  # a copy, since torch writes into it
        if "initial_lr" not in group:  # a scheduler has been there
            self._tell_lr(group.get("lr"))
        super().add_param_group(group)
        try:
            check_group(self.param_groups, len(self.param_groups) - 1)
            self._groups_changed()
        except BaseException:
            self.param_groups.pop()
            raise

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:  # of a state that an earlier version saved
            group.setdefault("lr", LR)

    def _tell_lr(self, lr: Any) -> None:
        if self._lr_is_told or not believes(lr):
            return
        self._lr_is_told = True
        warnings.warn(
            f"lr={lr} does nothing: scipy's methods find the length of their steps themselves. It "
            f"is kept in the param groups, where schedulers and monitors look for it; leave it "
            f"out, or give lr=1",
            UserWarning,
            stacklevel=2,
        )

    def _check_written(self) -> None:
        check_written(self.param_groups)

    def _groups_changed(self) -> None:
        """Called where param groups were added, and where they may have been changed."""

    @property
    def _has_group_bounds(self) -> bool:
        return any_group_bounds(self.param_groups)

    def _given_bounds(self) -> Any:
        """Bounds on the flat vector that the user gave, in one of scipy's forms, or None."""
        raise NotImplementedError

    def _current_bridge(self) -> Bridge:
        """Between the flat vector and the parameters that are optimised now."""
        raise NotImplementedError

    def _flat_bounds(self, params: Sequence[Tensor]) -> Bounds | None:
        """Bounds on the flat vector, the user's or the groups'; None where all are infinite.

        Read anew at each step, since the groups may have changed.

        Args:
            params: of the flat vector.
        """
        return flat_bounds(self._given_bounds(), self.param_groups, params)
