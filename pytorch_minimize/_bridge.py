"""The bridge between a model's tensors and one flat float64 vector.

Two implementations of one interface: `_C.ParameterBridge` in C++, and
`PythonBridge`, which gives the same bits slowly. The vector is an array of
numpy's; from either `tensor_bridge` makes one whose vectors are tensors on the
parameters' own device. The environment variable
``PYTORCH_MINIMIZE_BRIDGE`` (``native``, the default, or ``python``) chooses when
this module is imported and again for each bridge that is made.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy
from typing_extensions import TypeVar

from pytorch_minimize._python_bridge import (
    PythonBridge,
    PythonTensorBridge,
    Vector,
    python_distance,
    python_largest,
    python_same_values,
)
from pytorch_minimize._rebuild import how_to_rebuild
from pytorch_minimize._wording import did_you_mean, shown

if TYPE_CHECKING:
    from types import ModuleType

__all__ = [
    "Bridge",
    "PythonBridge",
    "V",
    "coarsest_eps",
    "distance",
    "largest",
    "make_bridge",
    "native",
    "same_values",
    "tensor_bridge",
]

V = TypeVar("V", default=Vector)

_VARIABLE = "PYTORCH_MINIMIZE_BRIDGE"


class Bridge(Protocol[V]):
    """Parameters as one flat float64 vector of `numel` reals: a V, by default an array.

    The vector holds the distinct tensors of `params` in the order given, each in
    row-major order; a complex element is two reals. Every method checks all its
    tensors before it writes the first. Vectors returned are the caller's
    (Note [fresh gradients]).

    Raises:
        TypeError: a dtype that is not one of float16, bfloat16, float32, float64,
            complex64, complex128; something that is not a tensor or a V.
        ValueError: a shape, device or memory layout that does not fit.
        RuntimeError: a parameter resized or converted since the bridge was made.
    """

    @property
    def numel(self) -> int: ...

    @property
    def params(self) -> list[Tensor]: ...

    def flatten_params(self) -> V:
        """The parameters' values."""

    def flatten_grads(self) -> V:
        """The gradients, zeros where a parameter has none."""

    def gradient(self) -> tuple[V, bool]:
        """`flatten_grads()`, and whether all of it is finite."""

    def evaluation(self, loss: Tensor) -> tuple[float, V, bool, float]:
        """The loss, `gradient()`, and the seconds waited for a device to compute them.

        From a device that both are on they come in one transfer; where the gradient is
        to stay on the device, the loss and the flag alone.
        """

    def flatten(self, tensors: Iterable[Tensor | None]) -> V:
        """One tensor of each parameter's shape, zeros for None."""

    def load_params(self, x: V) -> None:
        """Writes x into the parameters, in place."""

    def load_grads(self, x: V) -> None:
        """Writes x into the gradients, in place where they fit, new tensors elsewhere."""

    def unflatten(self, x: V) -> list[Tensor]:
        """x as new contiguous tensors of the parameters' shapes, dtypes and devices."""

    def flatten_rows(self, stacks: Iterable[Tensor | None], out: V) -> bool:
        """One stack (rows, *shape) for each parameter, or None -> ``out``, shape (rows, n).

        Returns:
            Whether all of it is finite.
        """

    def unflatten_rows(self, v: V) -> list[Tensor]:
        """Vectors of shape (rows, n) -> one new stack (rows, *shape) for each parameter."""

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
            f"{torch.__version__} ({error}). Build it {how_to_rebuild()}"
        ) from error
    built_for = _C.build_info()["torch"]
    if built_for != torch.__version__:
        raise ImportError(
            f"the C++ extension of pytorch_minimize was built for torch {built_for}, but torch "
            f"{torch.__version__} is running. Rebuild it {how_to_rebuild()}"
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


def tensor_bridge(bridge: Bridge) -> Bridge[Tensor]:
    """The same bridge for flat tensors on the parameters' device, for solvers that work there.

    On the CPU a vector is read and written where it is, with no copy beyond the cast. On a CUDA
    device both ways are one launch on the current stream, and :meth:`Bridge.evaluation` waits
    once, for 16 bytes.

    >>> bridge = tensor_bridge(make_bridge([torch.tensor([1.0, 2.0]), torch.tensor(3.0)]))
    >>> bridge.flatten_params()
    tensor([1., 2., 3.], dtype=torch.float64)

    Raises:
        ValueError: the parameters are on several devices, or on one without kernels.
    """
    devices = sorted({str(param.device) for param in bridge.params})
    if len(devices) > 1:
        raise ValueError(
            f"the parameters are on {', '.join(devices[:-1])} and {devices[-1]}, but a flat tensor "
            "is on one device; move them to one, or use a method of scipy's."
        )
    if isinstance(bridge, PythonBridge):
        return PythonTensorBridge(bridge.params)
    made: Bridge[Tensor] = _load_extension().TensorBridge(bridge)
    return made


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
