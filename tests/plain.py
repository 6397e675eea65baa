"""scipy alone: the oracle of every test of paths."""

from __future__ import annotations

from typing import Any

import scipy.optimize
import threadpoolctl


def minimize(fun: Any, x0: Any, **keywords: Any) -> Any:
    """`scipy.optimize.minimize` with scipy's BLAS held to one thread, as the optimizer holds it.

    SLSQP's sums, and with them the last bits of its path, depend on the number of threads.
    """
    pools = threadpoolctl.ThreadpoolController()
    libraries = [pool.filepath for pool in pools.lib_controllers if "scipy.libs" in pool.filepath]
    with pools.select(filepath=libraries).limit(limits=1):
        return scipy.optimize.minimize(fun, x0, **keywords)
