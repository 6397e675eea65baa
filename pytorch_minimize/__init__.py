"""scipy.optimize as a drop-in torch.optim.Optimizer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import extension as _extension  # noqa: F401  refuses a missing or stale extension

if TYPE_CHECKING:
    from .optim import (
        BasinHoppingWrapper,
        BruteWrapper,
        ClosureConstraint,
        ClosureResiduals,
        DifferentialEvolutionWrapper,
        DirectWrapper,
        DualAnnealingWrapper,
        LeastSquaresWrapper,
        MinimizeWrapper,
        MultiStartWrapper,
        NonfiniteError,
        OtherProcessError,
        SHGOWrapper,
        vectorize,
    )
    from .solvers.plain import ssbfgs, ssbroyden

__version__ = "0.1.0"

__all__ = [
    "BasinHoppingWrapper",
    "BruteWrapper",
    "ClosureConstraint",
    "ClosureResiduals",
    "DifferentialEvolutionWrapper",
    "DirectWrapper",
    "DualAnnealingWrapper",
    "LeastSquaresWrapper",
    "MinimizeWrapper",
    "MultiStartWrapper",
    "NonfiniteError",
    "OtherProcessError",
    "SHGOWrapper",
    "ssbfgs",
    "ssbroyden",
    "vectorize",
]

# scipy calls these, without a model: what optimizers need is not imported for them.
_OF_SOLVERS = ("ssbfgs", "ssbroyden")


def __getattr__(name: str) -> Any:
    """The public names, whose modules are imported where the first of them is asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _OF_SOLVERS:
        from .solvers import plain

        return getattr(plain, name)
    from . import optim

    return getattr(optim, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
