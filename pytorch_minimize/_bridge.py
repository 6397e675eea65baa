"""The bridge between a model's tensors and one flat float64 vector.

Two implementations of one interface: `_C.ParameterBridge` in C++, and
`PythonBridge`, which gives the same bits slowly. The environment variable
``PYTORCH_MINIMIZE_BRIDGE`` (``native``, the default, or ``python``) chooses when
this module is imported and again for each bridge that is made.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.parameter import is_lazy

from pytorch_minimize._python_bridge import (
    PythonBridge,
    python_distance,
    python_largest,
    python_same_values,
)
from pytorch_minimize._wording import did_you_mean, shown

if TYPE_CHECKING:
    from types import ModuleType

__all__ = [
    "Bridge",
    "PythonBridge",
    "coarsest_eps",
    "distance",
    "largest",
    "make_bridge",
    "native",
    "same_values",
]

Vector = NDArray[np.float64]

_VARIABLE = "PYTORCH_MINIMIZE_BRIDGE"
_REBUILD = "pip install --no-build-isolation --no-deps --force-reinstall ."


class Bridge(Protocol):
    """Parameters as one flat float64 vector of `numel` reals.

    The vector holds the distinct tensors of `params` in the order given, each in
    row-major order; a complex element is two reals. Every method checks all its
    tensors before it writes the first. Arrays returned are the caller's.

    Raises:
        TypeError: a dtype that is not one of float16, bfloat16, float32, float64,
            complex64, complex128; something that is not a tensor or an array.
        ValueError: a shape, device or memory layout that does not fit.
        RuntimeError: a parameter resized or converted since the bridge was made.
    """

    @property
    def numel(self) -> int: ...

    @property
    def params(self) -> list[Tensor]: ...

    def flatten_params(self) -> Vector:
        """The parameters' values."""

    def flatten_grads(self) -> Vector:
        """The gradients, zeros where a parameter has none."""

    def gradient(self) -> tuple[Vector, bool]:
        """`flatten_grads()`, and whether all of it is finite."""

    def evaluation(self, loss: Tensor) -> tuple[float, Vector, bool, float]:
        """The loss, `gradient()`, and the seconds waited for a device to compute them.

        From a device that both are on they come in one transfer.
        """

    def flatten(self, tensors: Iterable[Tensor | None]) -> Vector:
        """One tensor of each parameter's shape, zeros for None."""

    def load_params(self, x: Vector) -> None:
        """Writes x into the parameters, in place."""

    def load_grads(self, x: Vector) -> None:
        """Writes x into the gradients, in place where they fit, new tensors elsewhere."""

    def unflatten(self, x: Vector) -> list[Tensor]:
        """x as new contiguous tensors of the parameters' shapes, dtypes and devices."""

    def has_grads(self) -> bool:
        """Whether any parameter has a gradient."""

    def clear_grads(self) -> None:
        """Sets every gradient to None."""

    def release(self) -> None:
        """Frees the memory that waits to be reused."""


def _choice() -> str:
    choice = os.environ.get(_VARIABLE, "native")
    if choice not in ("native", "python"):
        hint = did_you_mean(choice, ("native", "python"))
        raise ValueError(f"{_VARIABLE} must be 'native' or 'python', got {shown(choice)}{hint}")
    return choice


def _load_extension() -> ModuleType:
    """The C++ extension, once it is known to fit the torch that is running."""
    try:
        from pytorch_minimize import _C
    except ImportError as error:
        raise ImportError(
            "the C++ extension of pytorch_minimize is missing, or was built for another torch than "
            f"{torch.__version__} ({error}). Build it, in the source directory: {_REBUILD}"
        ) from error
    built_for = _C.build_info()["torch"]
    if built_for != torch.__version__:
        raise ImportError(
            f"the C++ extension of pytorch_minimize was built for torch {built_for}, but torch "
            f"{torch.__version__} is running. Rebuild it, in the source directory: {_REBUILD}"
        )
    return _C


def make_bridge(params: Iterable[Tensor]) -> Bridge:
    """The bridge over `params` that ``PYTORCH_MINIMIZE_BRIDGE`` asks for.

    >>> bridge = make_bridge([torch.tensor([[1.0, 2.0]]), torch.tensor(3 + 4j)])
    >>> bridge.flatten_params()
    array([1., 2., 3., 4.])

    Raises:
        TypeError, ValueError: parameters that cannot be variables; see `Bridge`.
    """
    if isinstance(params, Tensor) or not isinstance(params, Iterable):
        raise TypeError(f"expected a list of tensors, got a single {type(params).__name__}.")
    params = list(params)
    for i, param in enumerate(params):
        if is_lazy(param):
            raise ValueError(
                f"parameter {i} belongs to a lazy module and has no shape yet; "
                "run the model once before making the optimizer."
            )
    if _choice() == "python":
        return PythonBridge(params)
    bridge: Bridge = _load_extension().ParameterBridge(params)
    return bridge


def coarsest_eps(bridge: Bridge) -> float:
    """The machine epsilon of the coarsest dtype among the parameters."""
    return max(torch.finfo(param.dtype).eps for param in bridge.params)


native: ModuleType | None = None if _choice() == "python" else _load_extension()
"""The extension, unless the Python bridge was chosen."""

same_values: Callable[[Vector, Vector], bool] = (
    python_same_values if native is None else native.same_values
)
"""Whether two float64 vectors have the same length and the same bits."""

distance: Callable[[Vector, Vector], float] = python_distance if native is None else native.distance
"""The Euclidean distance of two float64 vectors."""

largest: Callable[[Vector], float] = python_largest if native is None else native.largest
"""max |v_i| of a vector without NaN; 0 if it is empty."""
