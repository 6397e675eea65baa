"""Which bridge lies over which parameters, for arrays and for tensors."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from ..extension import chosen_bridge, load_extension
from .interface import Bridge
from .parameters import checked
from .python import PythonBridge, PythonTensorBridge

__all__ = ["make_bridge", "native_bridge", "tensor_bridge"]


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
    return native_bridge(params) if chosen_bridge() == "native" else PythonBridge(checked(params))


def native_bridge(params: Iterable[Tensor]) -> Bridge:
    """The bridge in C++, which sees at once where nothing has to be looked at closely."""
    native, params = load_extension(), list(params)
    bridge: Bridge = native.ParameterBridge(params if native.are_plain(params) else checked(params))
    return bridge


def tensor_bridge(bridge: Bridge) -> Bridge[Tensor]:
    """The same bridge for flat tensors on the parameters' device, for solvers that work there.

    On the CPU a vector is read and written where it is, with no copy beyond the cast. On a CUDA
    device both ways are one launch on the current stream, and :meth:`Bridge.evaluation` waits
    once, for 16 bytes; solvers of our own read those and their scalars by one wait as well.

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
    made: Bridge[Tensor] = load_extension().TensorBridge(bridge)
    return made
