"""The Jacobian of residuals, by autograd: in rows, in columns, or as products alone."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from math import prod
from typing import Any, Generic, Literal

import torch
from torch import Tensor

from ..bridge.interface import Bridge, V
from ..closure.autograd_graph import leaves_below, nodes_below
from ..closure.explain import OUT_OF_MEANS, explained

__all__ = ["ResidualJacobian", "Way"]

Way = Literal["auto", "rows", "columns"]

# Several products at once save what each costs beside its arithmetic. Of so few there is nothing to
# save, and on the host those that leave its cache take longer than one by one.
_FEW, _CACHE_BYTES = 8, 1 << 24
# Vectors of the size of a layer that are alive at once in a product through the graph.
_ALIVE = 4


class ResidualJacobian(Generic[V]):
    r"""Takes :math:`J_{ij} = \partial r_i / \partial x_j`, or products with it, out of a graph.

    *Rows* are vector-Jacobian products with unit vectors. *Columns* are Jacobian-vector products:
    J'u is linear in u, so that differentiating <J'u, v> by u gives J v, for one more pass through
    the graph of J'u, which is kept. Both come several at a time, so many as fit into
    ``block_bytes``, or one at a time where an operator of the graph cannot be batched.

    Args:
        bridge: says how the parameters lie in x; its vectors are what is returned.
        empty: (m, n) -> a matrix of the vectors' kind.
        block_bytes: about how much memory products may take at once, besides the Jacobian.
        way: "rows", "columns", or whichever takes less time.
    """

    def __init__(
        self,
        bridge: Bridge[V],
        empty: Callable[[tuple[int, int]], V],
        block_bytes: int,
        way: Way = "auto",
    ) -> None:
        self._bridge, self._empty = bridge, empty
        self._block_bytes, self._way = block_bytes, way
        self._one_at_a_time: set[str] = set()
        self._checked = self._trusted = False
        self._forward: _Forward | None = None

    def empty(self, count: int) -> V:
        """Memory for so many rows."""
        return self._empty((count, self._bridge.numel))

    def matrix(self, flat: Tensor, out: V | None = None) -> V:
        """J, of shape (m, n), in ``out`` or new; columns of parameters without influence are 0."""
        self._check(flat)
        m, n = flat.numel(), self._bridge.numel
        out = self.empty(m) if out is None else out
        # A column takes as long as a row (measured, on networks), half or a third of what one by
        # dual numbers takes, which would run the closure for each.
        by_columns = self._way == "columns" or (self._way == "auto" and n < m)
        if by_columns:
            try:
                self._by_columns(flat, out)
                return out
            except OUT_OF_MEANS:
                raise
            except RuntimeError as error:
                if self._way == "columns":
                    raise
                cause = str(error).split(". ")[0]
            # Said only where rows do not fail as well.
            self._by_rows(flat, out)
            self._way = "rows"
            _warn(f"in rows, because columns need second derivatives ({cause})")
            return out
        self._by_rows(flat, out)
        return out

    def transposed_product(self, flat: Tensor, u: Tensor) -> V:
        """J'u, a fresh vector; u of the shape of ``flat``."""
        self._check(flat)
        return self._bridge.flatten(self._row(flat, u.to(flat)))

    def product(self, flat: Tensor, v: V) -> Tensor:
        """J v, of the shape of ``flat``."""
        self._check(flat)
        with explained():
            rows: Any = v
            seeds = [stack[0] for stack in self._bridge.unflatten_rows(rows[None])]
            return self._forward_of(flat).product(seeds)

    def drop(self) -> None:
        """Let go of the graphs."""
        self._forward = None

    def _check(self, flat: Tensor) -> None:
        """Refuse residuals that do not depend on the parameters; once a run."""
        if not flat.requires_grad:
            raise RuntimeError(
                "the method needs a Jacobian, but the closure returned residuals that require no "
                "grad. Return residuals that depend on the parameters (no .item(), .detach() or "
                "no_grad on the way), or use scipy's differences: jac='2-point'."
            )
        if self._checked:
            return
        params = {id(param) for param in self._bridge.params}
        if not any(id(leaf) in params for leaf in leaves_below([flat])):
            raise RuntimeError(
                "the closure's residuals have a graph, but it reaches none of the parameters that "
                "are optimised. Is it of a copy of the model, or was the model replaced, or its "
                "parameters, after the optimizer was made?"
            )
        self._checked = True

    def _by_rows(self, flat: Tensor, out: V) -> None:
        def take(begin: int, end: int) -> None:
            seeds = _unit_rows(begin, end, flat.numel(), flat)
            stacks = torch.func.vmap(lambda seed: self._row(flat, seed))(seeds)
            self._bridge.flatten_rows(stacks, _rows(out, begin, end))

        def take_one(i: int) -> None:
            seed = _unit_rows(i, i + 1, flat.numel(), flat)[0]
            _tensor(out)[i] = _tensor(self._bridge.flatten(self._row(flat, seed)))

        self._in_blocks("rows", flat, flat.numel(), take, take_one)

    def _by_columns(self, flat: Tensor, out: V) -> None:
        with explained():
            forward = self._forward_of(flat)
        n, like = self._bridge.numel, _tensor(out)

        def seeds(begin: int, end: int) -> list[Tensor]:
            rows: Any = _unit_rows(begin, end, n, like)
            return self._bridge.unflatten_rows(rows if isinstance(out, Tensor) else rows.numpy())

        def take(begin: int, end: int) -> None:
            found = torch.func.vmap(lambda *v: forward.product(v))(*seeds(begin, end))
            like[:, begin:end] = found.T.to(like)

        def take_one(i: int) -> None:
            like[:, i] = forward.product([stack[0] for stack in seeds(i, i + 1)]).to(like)

        try:
            with explained():
                self._in_blocks("columns", flat, n, take, take_one)
        finally:
            self.drop()

    def _in_blocks(
        self,
        name: str,
        flat: Tensor,
        count: int,
        take: Callable[[int, int], None],
        take_one: Callable[[int], None],
    ) -> None:
        """All rows or columns, in blocks of bounded memory."""
        cause = None
        block_bytes = min(self._block_bytes, _CACHE_BYTES) if flat.is_cpu else self._block_bytes
        step = block_bytes // self._product_bytes(flat)
        if min(step, count) >= _FEW and name not in self._one_at_a_time:
            try:
                for begin in range(0, count, step):
                    take(begin, min(begin + step, count))
                return
            except OUT_OF_MEANS:
                raise
            except Exception as error:
                cause = f"{type(error).__name__}: {str(error).split('. ')[0]}"
        for i in range(count):
            take_one(i)
        if cause is not None:
            # Said only now: had single products failed as well, the batch would not be to blame.
            self._one_at_a_time.add(name)
            what = name.removesuffix("s")
            _warn(
                f"one {what} at a time, because the closure has an operator that torch cannot "
                f"batch ({cause})"
            )

    def _product_bytes(self, flat: Tensor) -> int:
        """What one product takes at once, about: by the largest tensors of the graph."""
        largest = max(
            (prod(output.shape) for node in nodes_below([flat]) for output in _outputs(node)),
            default=0,
        )
        return 8 * (self._bridge.numel + flat.numel() + _ALIVE * max(largest, flat.numel()))

    def _row(self, flat: Tensor, seed: Tensor) -> Sequence[Tensor]:
        return torch.autograd.grad(
            flat, self._bridge.params, seed, retain_graph=True, materialize_grads=True
        )

    def _forward_of(self, flat: Tensor) -> _Forward:
        if self._forward is None or self._forward.flat is not flat:
            self._forward = _Forward(flat, self._bridge.params)
        if not self._trusted:
            self._require_adjoint(flat, self._forward)
            self._trusted = True
        return self._forward

    def _require_adjoint(self, flat: Tensor, forward: _Forward) -> None:
        """Refuse J v where it is not that of the rows; once a run.

        torch takes what a backward computes without a graph for a constant, and the derivative of
        J'u by u then lacks it without a word: <u, J v> is not <J'u, v>.
        """
        u = torch.arange(flat.numel(), dtype=flat.dtype, device=flat.device).cos()
        v = [_wave(param) for param in self._bridge.params]
        image, row = forward.product(v), self._row(flat, u)
        ahead = torch.dot(u, image)
        back = _inner(row, v, ahead)
        scale = u.norm() * image.norm() + (_inner(row, row, ahead) * _inner(v, v, ahead)).sqrt()
        if bool((ahead - back).abs() > torch.finfo(flat.dtype).eps ** 0.5 * scale):
            raise RuntimeError(
                "columns of the Jacobian and products with it need second derivatives, which some "
                "operator of the closure does not give: its backward is marked with "
                "@once_differentiable, or computes something without a graph. Use jac='rows'."
            )


class _Forward:
    """J v at one point: the derivative of <J'u, v> by u.

    Args:
        flat: the residuals, with their graph.
        params: by which they are differentiated.
    """

    def __init__(self, flat: Tensor, params: Sequence[Tensor]) -> None:
        self.flat = flat
        self._u = torch.zeros_like(flat, requires_grad=True)
        found = torch.autograd.grad(
            flat, list(params), self._u, create_graph=True, materialize_grads=True
        )
        self._kept = [i for i, gradient in enumerate(found) if gradient.requires_grad]
        self._gradients = [found[i] for i in self._kept]

    def product(self, v: Sequence[Tensor]) -> Tensor:
        """J v; v one tensor for each parameter, of its shape and dtype."""
        if not self._gradients:
            return torch.zeros_like(self.flat)
        (found,) = torch.autograd.grad(
            self._gradients,
            self._u,
            [v[i] for i in self._kept],
            retain_graph=True,
            materialize_grads=True,
        )
        return found


def _wave(param: Tensor) -> Tensor:
    """Numbers of no pattern, in the shape of a parameter."""
    places = torch.arange(param.numel(), dtype=torch.float64, device=param.device) + 1.0
    return places.sin().to(param.dtype).reshape(param.shape)


def _inner(first: Sequence[Tensor], second: Sequence[Tensor], like: Tensor) -> Tensor:
    """The inner product of two lists of tensors as vectors of reals."""
    total = torch.zeros_like(like)
    for a, b in zip(first, second, strict=True):
        total = total + ((a.conj() * b).real if a.is_complex() else a * b).sum().to(like)
    return total


def _outputs(node: Any) -> Sequence[Any]:
    """Shapes of what a node of the graph computed; none where torch does not say."""
    found: Sequence[Any] = getattr(node, "_input_metadata", ())
    return found


def _unit_rows(begin: int, end: int, count: int, like: Tensor) -> Tensor:
    """Those rows of the identity of that size, of the kind of ``like``."""
    rows = torch.zeros(end - begin, count, dtype=like.dtype, device=like.device)
    rows.diagonal(begin).fill_(1.0)
    return rows


def _tensor(matrix: Any) -> Tensor:
    """An array as a tensor of the same memory."""
    return matrix if isinstance(matrix, Tensor) else torch.from_numpy(matrix)


def _rows(matrix: V, begin: int, end: int) -> V:
    part: V = matrix[begin:end]  # type: ignore[index]
    return part


def _warn(how: str) -> None:
    warnings.warn(f"the Jacobian of the residuals is computed {how}", RuntimeWarning, stacklevel=2)
