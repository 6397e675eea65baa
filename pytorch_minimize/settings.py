"""Keyword arguments that every optimizer of this package takes besides scipy's own."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import Any, Literal, TypedDict, get_args, get_type_hints

from torch import Tensor

from .typing import ProcessGroup
from .wording import did_you_mean, shown

__all__ = ["OnNonfinite", "RunKeywords", "Settings", "Strategy"]

OnNonfinite = Literal["recover", "raise"]
Strategy = Literal["graph", "replay"]
Reduction = Literal["mean", "sum"]
Start = Literal["same", "leader"]
Automatic = Literal["auto"]
Exceptions = type[Exception] | tuple[type[Exception], ...]
PathAndSeconds = tuple[str | os.PathLike[str], float]


class RunKeywords(TypedDict, total=False):
    """Names and types of the keywords once more, in the only form that type checkers unpack."""

    blas_threads: int | Automatic | None
    nonfinite: OnNonfinite
    recover: Exceptions
    progress: bool
    timeout: float | None
    max_evaluations: int | None
    rtol: float | None
    checkpoint: PathAndSeconds | None
    warm_start: bool
    captured_graph: bool
    curvature: Strategy
    check_closure: bool
    hessian_block_bytes: int
    lr: float | Tensor | None
    distributed: bool | ProcessGroup
    weight: float
    reduction: Reduction
    distributed_start: Start


def _is_count(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1


def _are_threads(value: object) -> bool:
    return value is None or (isinstance(value, str) and value == "auto") or _is_count(value)


def _is_positive(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and float(value) > 0


def _is_weight(value: object) -> bool:
    return _is_positive(value) and math.isfinite(float(value))  # type: ignore[arg-type]


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
    kinds = value if isinstance(value, tuple) else (value,)
    return all(isinstance(kind, type) and issubclass(kind, Exception) for kind in kinds)


def _or_none(check: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or check(value)


# What is accepted, and how a message calls it.
_Kind = tuple[Callable[[object], bool], str]
_BOOL: _Kind = (lambda value: isinstance(value, bool), "True or False")


def _words(first: str, second: str) -> _Kind:
    return lambda value: isinstance(value, str) and value in (first, second), (
        f'"{first}" or "{second}"'
    )


def _keyword(kind: _Kind, meaning: str) -> dict[str, Any]:
    accepts, expected = kind
    return {"accepts": accepts, "expected": expected, "meaning": " ".join(meaning.split())}


# From when scipy's own threads alone were held.
_OLD_NAME = "scipy_blas_threads"


@dataclass(frozen=True)
class Settings:
    """How a run is carried out, whichever solver carries it out.

    A field is a keyword: its default, what is accepted and what it means are said here, and
    `pytorch_minimize.signatures` shows them to users.
    """

    blas_threads: int | Automatic | None = field(
        default="auto",
        metadata=_keyword(
            (_are_threads, 'a positive int, "auto", or None to leave it alone'),
            """threads of scipy's and numpy's own BLAS while a solver of scipy's runs (not torch's,
            and not while the closure runs); None leaves them alone. "auto" is 1, but None for BFGS
            of 900 variables or more, whose products of n x n matrices gain by threads.
            ``scipy_blas_threads`` is an older name of it.""",
        ),
    )
    nonfinite: OnNonfinite = field(
        default="recover",
        metadata=_keyword(
            _words(*get_args(OnNonfinite)),
            """"recover" answers a loss or gradient with NaN or infinity so that the solver steps
            back, counts it in ``res.nonfinite`` and warns once; "raise" stops with
            ``NonfiniteError``.""",
        ),
    )
    recover: Exceptions = field(
        default=(),
        metadata=_keyword(
            (
                _are_exceptions,
                "an exception class or a tuple of them, such as (torch.linalg.LinAlgError,)",
            ),
            """exceptions of the closure that mean the same as a loss of NaN, a class or a tuple of
            classes: ``torch.linalg.LinAlgError`` where a Cholesky factorisation may fail. They
            were announced: they are counted in ``res.recovered``, not in ``res.nonfinite``, are
            not warned of, and do not become errors by ``nonfinite="raise"``. Constraints and
            callbacks may not raise them.""",
        ),
    )
    progress: bool = field(
        default=False,
        metadata=_keyword(_BOOL, "show a tqdm bar."),
    )
    timeout: float | None = field(
        default=None,
        metadata=_keyword(
            (_or_none(_is_positive), "a positive number of seconds, or None"),
            """seconds after which a step ends with the best point seen; looked at before each
            evaluation of the closure but the first, never inside one.""",
        ),
    )
    max_evaluations: int | None = field(
        default=None,
        metadata=_keyword(
            (_or_none(_is_count), "a positive int, or None"),
            """evaluations of the loss after which a step ends with the best point seen; runs of
            the closure that only curvature needs are not counted.""",
        ),
    )
    rtol: float | None = field(
        default=None,
        metadata=_keyword(
            (_or_none(_is_positive), "a positive number, or None"),
            """end a step where the loss has fallen by less than this share of itself over the last
            ten iterations; for losses of any scale. With constraints, where it has changed by less
            and the iterate is feasible.""",
        ),
    )
    checkpoint: PathAndSeconds | None = field(
        default=None,
        metadata=_keyword(
            (_or_none(_is_path_and_seconds), "(path, seconds), or None"),
            """write ``state_dict()`` with the best point seen to the path at most every so many
            seconds during a step, and at its end. A write that fails is told by a warning, and the
            run goes on.""",
        ),
    )
    warm_start: bool = field(
        default=False,
        metadata=_keyword(
            _BOOL,
            """start BFGS, torch-BFGS, SSBFGS or SSBroyden from the inverse Hessian of the last
            step that ended with one, or of a state that was loaded; ``state_dict()`` then holds it,
            n x n numbers. At a limit (``timeout``, ``max_evaluations``, ``rtol``) scipy's BFGS ends
            with none, the others do.""",
        ),
    )
    captured_graph: bool = field(
        default=False,
        metadata=_keyword(
            _BOOL,
            """the closure replays a captured CUDA graph: the tensors that are in ``.grad`` when a
            step begins are those that it fills, or adds to. They are set to zero where other
            gradients are cleared, and are in ``.grad`` again when the step ends. For methods
            without Hessians.""",
        ),
    )
    curvature: Strategy = field(
        default="graph",
        metadata=_keyword(
            _words(*get_args(Strategy)),
            """how Hessian products come out of the closure. "graph" keeps the graph of the
            gradient at the current point and goes through it once a product. "replay" runs the
            closure for each product and frees the graph of each of its ``backward()`` calls, so
            that a loss summed over micro-batches needs the memory of one of them.""",
        ),
    )
    check_closure: bool = field(
        default=False,
        metadata=_keyword(
            _BOOL,
            """before the run, at x0, compare two evaluations of the closure; for methods that use
            gradients, the gradient with differences of the loss, inside the bounds; for methods
            that use curvature, a Hessian product with a difference of gradients.""",
        ),
    )
    hessian_block_bytes: int = field(
        default=1 << 26,
        metadata=_keyword(
            (_is_count, "a positive int"),
            """about how much memory a dense Hessian may take besides itself: so many of its rows
            are computed at a time.""",
        ),
    )
    lr: float | Tensor | None = field(
        default=None,
        metadata=_keyword(
            (lambda value: True, "a number of at least 0"),  # looked at where those of groups are
            """accepted, here and in param groups, for the schedulers and monitors that look for
            it; does nothing. So are keywords of torch's own optimizers that are 0, False or
            None.""",
        ),
    )
    distributed: bool | ProcessGroup = field(
        default=False,
        metadata=_keyword(
            (
                lambda value: isinstance(value, (bool, ProcessGroup)),
                "True, False or a ProcessGroup",
            ),
            """make one fit of all processes of a group of torch.distributed, True being the default
            group: each has the model and a share of the data, the loss is that of all shares, and
            every process ends with the same parameters. ``step`` is to be called in each of them;
            the first runs the solver and the callbacks, and writes checkpoints.""",
        ),
    )
    weight: float = field(
        default=1.0,
        metadata=_keyword(
            (_is_weight, "a positive number"),
            """with ``distributed``: of this process's loss, such as the number of its rows.""",
        ),
    )
    reduction: Reduction = field(
        default="mean",
        metadata=_keyword(
            _words(*get_args(Reduction)),
            """with ``distributed``: "mean" minimises sum(w f) / sum(w) over the losses f and
            weights w of all processes, "sum" minimises sum(w f).""",
        ),
    )
    distributed_start: Start = field(
        default="same",
        metadata=_keyword(
            _words(*get_args(Start)),
            """with ``distributed``: "same" refuses to start from parameters that are not the same
            in all processes, "leader" takes those of the first process.""",
        ),
    )

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
        keywords = dict(keywords)
        if _OLD_NAME in keywords:
            if "blas_threads" in keywords:
                raise TypeError(f"{_OLD_NAME} is an older name of blas_threads: give one of them")
            keywords["blas_threads"] = keywords.pop(_OLD_NAME)
        known = [keyword.name for keyword in fields(cls)]
        unknown = sorted(set(keywords) - set(known))
        if unknown:
            raise TypeError(
                f"expected keyword arguments among {', '.join(known)}; got {shown(unknown)}"
                f"{did_you_mean(unknown, known, elsewhere)}"
            )
        for keyword in fields(cls):
            value = keywords.get(keyword.name, keyword.default)
            if not keyword.metadata["accepts"](value):
                words = [w for w in get_args(get_type_hints(cls)[keyword.name]) if type(w) is str]
                hint = did_you_mean(value, words) if isinstance(value, str) else ""
                expected = keyword.metadata["expected"]
                raise ValueError(f"{keyword.name}: expected {expected}, got {shown(value)}{hint}")
        return cls(**keywords)

    def __deepcopy__(self, memo: object) -> Settings:
        return self  # nothing in it is ever written to; a process group could not be copied

    def __getstate__(self) -> dict[str, Any]:
        # Where it is loaded there is another group, if there is one.
        return self.__dict__ | {"distributed": self.distributed is not False}

    @property
    def recovered(self) -> tuple[type[Exception], ...]:
        """``recover`` as a tuple."""
        return self.recover if isinstance(self.recover, tuple) else (self.recover,)

    def stated(self) -> dict[str, Any]:
        """Those that are not the defaults."""
        values = {keyword.name: getattr(self, keyword.name) for keyword in fields(self)}
        defaults = {keyword.name: keyword.default for keyword in fields(self)}
        return {name: value for name, value in values.items() if value != defaults[name]}

    def as_saved(self) -> dict[str, Any]:
        """As plain values, for who reads a state; classes and paths are another machine's."""
        left_out = ("checkpoint", "recover", "lr", "distributed", "weight")
        names = [f.name for f in fields(self) if f.name not in left_out]
        return {name: getattr(self, name) for name in names}
