"""The types that all rooms speak of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Array", "Loss", "UserClosure"]

Array = NDArray[np.float64]

UserClosure = Callable[[], Any]

Loss = float | Tensor
"""A loss; a tensor, without a graph, where to read it would be to wait for its device."""
