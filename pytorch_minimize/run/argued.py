"""Optimizers whose solver is one row of a table, called as the user's dict says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from ..row import Row
from .optimizer import FullBatchOptimizer
from .plan import Plan

__all__ = ["ArguedOptimizer", "SolverArguments"]


class SolverArguments(Protocol):
    """How a solver is called, checked.

    Attributes:
        row: the method's row of its table.
        given: what the user gave.
        plan: what the run must know of it.
    """

    @property
    def row(self) -> Row: ...

    @property
    def given(self) -> Mapping[str, Any]: ...

    @property
    def plan(self) -> Plan: ...

    def for_groups(self, *, bounded: bool) -> Any:
        """Checked again where the param groups begin or cease to state bounds."""

    def check_sizes(self, n: int) -> None:
        """Refuse what is of another number of variables than n."""

    def as_saved(self) -> dict[str, Any]:
        """For ``state_dict``; callables are left out."""


class ArguedOptimizer(FullBatchOptimizer):
    """An optimizer with arguments of one solver; a subclass says of which type they are."""

    _arguments: Any

    @property
    def _argued(self) -> SolverArguments:
        found: SolverArguments = self._arguments
        return found

    @property
    def _plan(self) -> Plan:
        return self._argued.plan

    def _groups_changed(self) -> None:
        self._arguments = self._argued.for_groups(bounded=self._has_group_bounds)

    def _check_sizes(self, n: int) -> None:
        self._argued.check_sizes(n)

    def _record(self) -> dict[str, Any]:
        return super()._record() | {"arguments": self._argued.as_saved()}

    def _method_name(self) -> str:
        return self._argued.row.name

    def _given(self) -> Mapping[str, Any]:
        return dict(self._argued.given) | {"method": self._method_name()}

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_arguments": self._arguments}
