"""Keyword arguments that every optimizer of this package takes besides scipy's own."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from numbers import Integral, Real
from typing import Any, Literal, TypedDict, get_args

from torch import Tensor

from .wording import did_you_mean, shown

__all__ = ["OnNonfinite", "RunKeywords", "Settings", "Strategy"]

OnNonfinite = Literal["recover", "raise"]
Strategy = Literal["graph", "replay"]


class RunKeywords(TypedDict, total=False):
    """The keywords, for type checkers; :class:`Settings` says what they mean."""

    lr: float | Tensor | None
    scipy_blas_threads: int | None
    nonfinite: OnNonfinite
    recover: type[Exception] | tuple[type[Exception], ...]
    progress: bool
    timeout: float | None
    max_evaluations: int | None
    rtol: float | None
    checkpoint: tuple[str | os.PathLike[str], float] | None
    warm_start: bool
    captured_graph: bool
    curvature: Strategy
    check_closure: bool
    hessian_block_bytes: int


@dataclass(frozen=True)
class Settings:
    """How a run is carried out, whichever solver carries it out.

    Attributes:
        scipy_blas_threads: threads of scipy's own BLAS while scipy runs (not numpy's, not
            torch's, and not while the closure runs); None leaves it alone.
        nonfinite: "recover" answers a loss or gradient with NaN or infinity so that the solver
            steps back, counts it in ``res.nonfinite`` and warns once; "raise" stops with
            :class:`NonfiniteError`.
        recover: exceptions of the closure that mean the same as a loss of NaN, a class or a tuple
            of classes: ``torch.linalg.LinAlgError`` where a Cholesky factorisation may fail. They
            were announced: they are counted in ``res.recovered``, not in ``res.nonfinite``, are
            not warned of, and do not become errors by ``nonfinite="raise"``. Constraints and
            callbacks may not raise them.
        progress: show a tqdm bar.
        timeout: seconds after which a step ends with the best point seen; looked at before each
            evaluation of the closure but the first, never inside one.
        max_evaluations: of the loss, after which a step ends with the best point seen; runs of
            the closure that only curvature needs are not counted.
        rtol: end a step where the loss has fallen by less than this share of itself over the
            last ten iterations; for losses of any scale. With constraints, where it has changed by
            less and the iterate is feasible.
        checkpoint: (path, seconds): write ``state_dict()`` with the best point seen to ``path``
            at most every ``seconds`` during a step, and at its end. A write that fails is told by
            a warning, and the run goes on.
        warm_start: start BFGS from the inverse Hessian of the last step, or of a state that was
            loaded; ``state_dict()`` then holds it, n x n numbers.
        captured_graph: the closure replays a captured CUDA graph: the tensors that are in ``.grad``
            when a step begins are those that it fills, or adds to. They are set to zero where other
            gradients are cleared, and are in ``.grad`` again when the step ends. For methods
            without Hessians.
        curvature: how Hessian products come out of the closure. "graph" keeps the graph of the
            gradient at the current point and goes through it once a product. "replay" runs the
            closure for each product and frees the graph of each of its ``backward()`` calls, so
            that a loss summed over micro-batches needs the memory of one of them.
        check_closure: before the run, at x0, compare two evaluations of the closure; for methods
            that use gradients, the gradient with differences of the loss, inside the bounds; for
            methods that use curvature, a Hessian product with a difference of gradients.
        hessian_block_bytes: about how much memory a dense Hessian may take besides itself: so
            many of its rows are computed at a time.
    """

    scipy_blas_threads: int | None = 1
    nonfinite: OnNonfinite = "recover"
    recover: tuple[type[Exception], ...] = ()
    progress: bool = False
    timeout: float | None = None
    max_evaluations: int | None = None
    rtol: float | None = None
    checkpoint: tuple[str | os.PathLike[str], float] | None = None
    warm_start: bool = False
    captured_graph: bool = False
    curvature: Strategy = "graph"
    check_closure: bool = False
    hessian_block_bytes: int = 1 << 26

    @classmethod
    def parse(
        cls, keywords: Mapping[str, Any], elsewhere: Mapping[str, str] | None = None
    ) -> Settings:
        """Check the keywords of an optimizer's constructor.

        Args:
            keywords: the user's, without those of torch's own optimizers.
            elsewhere: names that belong in another place, with a sentence that says where.

        Raises:
            TypeError: an unknown keyword.
            ValueError: a value that is not understood.
        """
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(keywords) - set(known))
        if unknown:
            raise TypeError(
                f"expected keyword arguments among {', '.join(known)}; got {shown(unknown)}"
                f"{did_you_mean(unknown, known, elsewhere)}"
            )
        given = dict(keywords)
        if isinstance(given.get("recover"), type):
            given["recover"] = (given["recover"],)
        settings = cls(**given)
        for name, (accepts, expected) in _CHECKS.items():
            value = getattr(settings, name)
            if not accepts(value):
                hint = did_you_mean(value, _WORDS.get(name, ())) if isinstance(value, str) else ""
                raise ValueError(f"{name}: expected {expected}, got {shown(value)}{hint}")
        return settings

    def as_saved(self) -> dict[str, Any]:
        """As plain values, for who reads a state; classes and paths are another machine's."""
        left_out = ("checkpoint", "recover")
        return {k: v for k, v in asdict(self).items() if k not in left_out}


def _is_count(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1


def _is_positive(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and float(value) > 0


def _is_path_and_seconds(value: object) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and isinstance(value[0], (str, os.PathLike))
        and isinstance(value[1], Real)
        and not isinstance(value[1], bool)
        and float(value[1]) >= 0
    )


def _are_exceptions(value: object) -> bool:
    return isinstance(value, tuple) and all(
        isinstance(kind, type) and issubclass(kind, Exception) for kind in value
    )


def _is_among(words: tuple[str, ...]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and value in words


def _or_none(check: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or check(value)


_WORDS = {"nonfinite": get_args(OnNonfinite), "curvature": get_args(Strategy)}

_CHECKS: dict[str, tuple[Callable[[object], bool], str]] = {
    "scipy_blas_threads": (_or_none(_is_count), "a positive int, or None to leave it alone"),
    "nonfinite": (_is_among(_WORDS["nonfinite"]), '"recover" or "raise"'),
    "recover": (
        _are_exceptions,
        "an exception class or a tuple of them, such as (torch.linalg.LinAlgError,)",
    ),
    "progress": (lambda value: isinstance(value, bool), "True or False"),
    "timeout": (_or_none(_is_positive), "a positive number of seconds, or None"),
    "max_evaluations": (_or_none(_is_count), "a positive int, or None"),
    "rtol": (_or_none(_is_positive), "a positive number, or None"),
    "checkpoint": (_or_none(_is_path_and_seconds), "(path, seconds), or None"),
    "warm_start": (lambda value: isinstance(value, bool), "True or False"),
    "captured_graph": (lambda value: isinstance(value, bool), "True or False"),
    "curvature": (_is_among(_WORDS["curvature"]), '"graph" or "replay"'),
    "check_closure": (lambda value: isinstance(value, bool), "True or False"),
    "hessian_block_bytes": (_is_count, "a positive int"),
}
