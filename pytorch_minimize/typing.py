"""The types that all rooms speak of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch.distributed
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Array", "Loss", "ProcessGroup", "UserClosure"]

if torch.distributed.is_available():
    from torch.distributed import ProcessGroup
else:  # torch was built without

    class ProcessGroup:  # type: ignore[no-redef]
        """There is none."""


Array = NDArray[np.float64]

UserClosure = Callable[[], Any]

Loss = float | Tensor
"""A loss; a tensor, without a graph, where to read it would be to wait for its device."""
