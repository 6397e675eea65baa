"""A torch optimizer whose param groups may state bounds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from scipy.optimize import Bounds

from ._bounds import any_group_bounds, check_group, flat_bounds
from ._bridge import Bridge

__all__ = ["BoundedGroups"]


class BoundedGroups(torch.optim.Optimizer):
    """Param groups with ``bounds=(low, high)``, as bounds on the flat vector.

    Args:
        params: parameters, named parameters or param groups, as for any torch optimizer.
    """

    def __init__(self, params: Iterable[Any]) -> None:
        super().__init__(params, {"bounds": None})
        self._flat_bounds()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters to those that are optimised, as for any torch optimizer.

        Args:
            param_group: ``params``, and ``bounds=(low, high)`` where they have some: numbers,
                None, or arrays that broadcast to each of the parameters.

        Raises:
            ValueError: the bounds do not fit, or the method takes none.
        """
        super().add_param_group(dict(param_group))  # a copy, since torch writes into it
        try:
            check_group(self.param_groups, len(self.param_groups) - 1)
            self._groups_changed()
        except BaseException:
            self.param_groups.pop()
            raise

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

    def _flat_bounds(self) -> Bounds | None:
        """Bounds on the flat vector, the user's or the groups'; None where all are infinite.

        Read anew at each step, since the groups may have changed.
        """
        return flat_bounds(self._given_bounds(), self.param_groups, self._current_bridge().params)
