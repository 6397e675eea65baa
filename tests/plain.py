"""scipy alone: the oracle of every test of paths."""

from __future__ import annotations

from typing import Any

import scipy.optimize
import threadpoolctl


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
