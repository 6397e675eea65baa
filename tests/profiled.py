"""A profiler that torch does not warn about."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.profiler import ProfilerActivity


def profiler(activities: Sequence[ProfilerActivity]) -> torch.profiler.profile:
    """Of one stretch: torch 2.10 and 2.11 warn that it forgets an earlier one's events."""
    return torch.profiler.profile(activities=activities, acc_events=True)
