"""One line when a run starts and one when it ends, under the logger ``pytorch_minimize``."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from .profile import Profile

__all__ = ["log_end", "log_failure", "log_start", "logger"]

logger = logging.getLogger("pytorch_minimize")


class Variables(Protocol):
    """What a run is over, as a bridge tells it."""

    @property
    def numel(self) -> int: ...

    @property
    def params(self) -> list[Tensor]: ...


def log_start(solver: str, bridge: Variables) -> None:
    """Method, size, dtypes, devices and bridge."""
    if logger.isEnabledFor(logging.INFO):
        params = bridge.params
        logger.info(
            "%s over %d variables in %d tensors (%s on %s), %s",
            solver,
            bridge.numel,
            len(params),
            ", ".join(sorted({str(p.dtype) for p in params})),
            ", ".join(sorted({str(p.device) for p in params})),
            type(bridge).__name__,
        )


def log_end(report: Callable[[], str], profile: Profile) -> None:
    """How it ended and what it took; ``report`` says how."""
    if logger.isEnabledFor(logging.INFO):
        logger.info(
            "%s, %d closure runs in %.3g s",
            report(),
            profile.counts.get("closure", 0),
            profile.total,
        )


def log_failure(solver: str, error: BaseException, profile: Profile) -> None:
    """The line at the end of a run that raised."""
    if logger.isEnabledFor(logging.INFO):
        logger.info(
            "%s: ended by %s, the best point is kept, %d closure runs in %.3g s",
            solver,
            type(error).__name__,
            profile.counts.get("closure", 0),
            profile.total,
        )
