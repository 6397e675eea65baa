"""One line when a run starts and one when it ends, under the logger ``pytorch_minimize``."""

from __future__ import annotations

import logging

from scipy.optimize import OptimizeResult

from ._arguments import Arguments
from ._bridge import Bridge
from ._profile import Profile

__all__ = ["log_end", "log_failure", "log_start", "logger"]

logger = logging.getLogger("pytorch_minimize")


def log_start(arguments: Arguments, bridge: Bridge) -> None:
    """Method, size, dtypes, devices and bridge."""
    if logger.isEnabledFor(logging.INFO):
        logger.info(
            "%s over %d variables in %d tensors (%s on %s), %s",
            arguments.name,
            bridge.numel,
            len(bridge.params),
            ", ".join(sorted({str(p.dtype) for p in bridge.params})),
            ", ".join(sorted({str(p.device) for p in bridge.params})),
            type(bridge).__name__,
        )


def log_end(arguments: Arguments, res: OptimizeResult, profile: Profile) -> None:
    """How it ended and what it took."""
    if logger.isEnabledFor(logging.INFO):
        logger.info(
            "%s, %d closure runs in %.3g s",
            arguments.report(res),
            profile.counts.get("closure", 0),
            profile.total,
        )


def log_failure(arguments: Arguments, error: BaseException, profile: Profile) -> None:
    """The line at the end of a run that raised."""
    if logger.isEnabledFor(logging.INFO):
        logger.info(
            "%s: ended by %s, the best point is kept, %d closure runs in %.3g s",
            arguments.name,
            type(error).__name__,
            profile.counts.get("closure", 0),
            profile.total,
        )
