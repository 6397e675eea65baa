"""The bridge between a model's tensors and one flat float64 vector.

Two implementations of one interface: `_C.ParameterBridge` in C++, and `PythonBridge`, which
gives the same bits slowly. The vector is an array of numpy's, or a tensor on the parameters' own
device.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from torch import Tensor
from typing_extensions import TypeVar

from ..typing import Array

__all__ = ["Bridge", "V"]

V = TypeVar("V", default=Array)


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
