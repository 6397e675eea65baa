"""scipy alone: the oracle of every test of paths."""

from __future__ import annotations

from typing import Any

import scipy
import scipy.optimize
import threadpoolctl
from instance import Instance

from pytorch_minimize.curvature.positive_definite import shift_to_positive_definite
from pytorch_minimize.scipy_minimize.methods import METHODS

VERSION = tuple(int(part) for part in scipy.__version__.split(".")[:2])


def minimize(fun: Any, x0: Any, **keywords: Any) -> Any:
    """`scipy.optimize.minimize` as :func:`call` calls it."""
    return call("minimize", fun, x0, **keywords)


def call(name: str, *args: Any, **keywords: Any) -> Any:
    """A function of `scipy.optimize`, scipy's BLAS held to one thread as the optimizers hold it.

    SLSQP's sums, and with them the last bits of its path, depend on the number of threads.
    """
    pools = threadpoolctl.ThreadpoolController()
    libraries = [pool.filepath for pool in pools.lib_controllers if "scipy.libs" in pool.filepath]
    with pools.select(filepath=libraries).limit(limits=1):
        return getattr(scipy.optimize, name)(*args, **keywords)


def path(instance: Instance, method: str | None = None, **keywords: Any) -> Any:
    """scipy's own run on an instance's loss, with all the derivatives that the method can use."""
    return minimize(
        instance.fun, instance.x0, method=method, **(derivatives(instance, method) | keywords)
    )


def derivatives(instance: Instance, method: str | None) -> dict[str, Any]:
    """The keywords of `minimize` that stand for what an optimizer takes from autograd."""
    if method is None:
        return {"jac": instance.jac}
    row = METHODS[method.lower()]
    given: dict[str, Any] = {"jac": instance.jac} if row.gradient else {}
    if row.asks.positive_definite:
        hess = instance.converted.hess
        return given | {"hess": lambda x: shift_to_positive_definite(hess(x))[0]}
    if row.curvature:
        name = row.curvature[0]
        given[name] = getattr(instance.converted, name)
    return given
