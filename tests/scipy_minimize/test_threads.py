"""BLAS pools of scipy's and numpy's own are held while scipy works; closures have the user's."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import scipy.linalg  # noqa: F401  (loads the library that is looked for below)
import threadpoolctl
import torch
from instance import Array
from problems import himmelblau
from scipy.optimize import OptimizeResult
from torch import Tensor

from pytorch_minimize.extension import native
from pytorch_minimize.optim import MinimizeWrapper
from pytorch_minimize.scipy_minimize import blas_threads
from pytorch_minimize.scipy_minimize.blas_threads import _limit, _SlowLimit

USERS = 3


def threads() -> dict[str, int]:
    """Threads by pool: scipy's BLAS, numpy's BLAS, torch's."""
    found = {"torch": torch.get_num_threads()}
    for pool in threadpoolctl.threadpool_info():
        if pool["user_api"] == "blas":
            owners = (name for name in ("scipy", "numpy") if f"{name}.libs" in pool["filepath"])
            owner = next(owners, "other")
            found[owner] = pool["num_threads"]
    return found


def held_ones() -> set[str]:
    """The pools that are scipy's and numpy's own; numpy may share one with torch."""
    return {"scipy", "numpy"} & set(threads())


pytestmark = pytest.mark.skipif(
    "scipy" not in threads(), reason="this scipy has no BLAS of its own to hold"
)


@pytest.fixture(autouse=True)
def _users_setting() -> Iterator[None]:
    with threadpoolctl.threadpool_limits(limits=USERS, user_api="blas"):
        yield


class Watch:
    """Records the threads where scipy works (a method is scipy's to call) and in the closure."""

    def __init__(self) -> None:
        self.instance = himmelblau()
        self.solver: list[dict[str, int]] = []
        self.inside: list[dict[str, int]] = []

    def method(self, fun: Any, x0: Array, args: Any = (), **kwargs: Any) -> OptimizeResult:
        for step in (0.0, 0.1, 0.2):
            self.solver.append(threads())
            value = fun(x0 + step)
            self.solver.append(threads())
            kwargs["jac"](x0 + step)
        return OptimizeResult(x=x0, fun=value, success=True, nfev=3)

    def closure(self) -> Tensor:
        self.inside.append(threads())
        return self.instance.closure(1)()

    def run(self, **more: Any) -> None:
        MinimizeWrapper(self.instance.params, {"method": self.method}, **more).step(self.closure)


@pytest.mark.parametrize(
    ("more", "held"), [({}, 1), ({"blas_threads": 2}, 2), ({"scipy_blas_threads": 2}, 2)]
)
def test_held_for_scipy_alone(more: dict[str, Any], held: int) -> None:
    before = threads()
    assert before["scipy"] == USERS
    watch = Watch()
    watch.run(**more)
    assert watch.inside
    assert all(seen == before for seen in watch.inside)
    assert all(seen == before | dict.fromkeys(held_ones(), held) for seen in watch.solver)
    assert threads() == before


@pytest.mark.parametrize("method", ["L-BFGS-B", "SLSQP", "BFGS", "CG", "Nelder-Mead", "COBYQA"])
def test_held_in_scipys_callback(method: str) -> None:
    instance, seen = himmelblau(), []
    optimizer = MinimizeWrapper(
        instance.params, {"method": method, "callback": lambda xk: seen.append(threads())}
    )
    before = threads()
    optimizer.step(instance.closure(1))
    assert seen
    assert all(pools["scipy"] == 1 for pools in seen)
    assert threads() == before


@pytest.mark.parametrize(
    ("method", "n", "more", "held"),
    [
        ("BFGS", 899, {}, True),
        ("BFGS", 900, {}, False),
        ("BFGS", 900, {"blas_threads": 1}, True),
        ("L-BFGS-B", 900, {}, True),
        ("BFGS", 10, {"blas_threads": None}, False),
    ],
)
def test_products_of_large_matrices_have_their_threads(
    method: str, n: int, more: dict[str, Any], held: bool
) -> None:
    x, seen, before = torch.zeros(n, dtype=torch.float64, requires_grad=True), [], threads()
    args = {
        "method": method,
        "options": {"maxiter": 1},
        "callback": lambda xk: seen.append(threads()),
    }
    MinimizeWrapper([x], args, **more).step(lambda: (x - 1.0).square().sum())
    assert seen == [before | (dict.fromkeys(held_ones(), 1) if held else {})]
    assert threads() == before


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_restored_after_an_exception(error: type[BaseException]) -> None:
    before, calls = threads(), []
    instance = himmelblau()

    def closure() -> Tensor:
        calls.append(1)
        if len(calls) == 3:
            raise error
        return instance.closure(1)()

    with pytest.raises(error):
        MinimizeWrapper(instance.params, {"method": "L-BFGS-B"}).step(closure)
    assert threads() == before


def test_nested_steps_restore_in_turn() -> None:
    before = threads()
    inner, outer = Watch(), Watch()

    def closure() -> Tensor:
        inner.run()
        return outer.closure()

    MinimizeWrapper(outer.instance.params, {"method": outer.method}).step(closure)
    assert all(seen == before for seen in inner.inside + outer.inside)
    assert all(seen["scipy"] == 1 for seen in inner.solver + outer.solver)
    assert threads() == before


def test_libraries_are_looked_up_once_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    Watch().run()

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the loaded libraries were looked up again")

    monkeypatch.setattr(threadpoolctl.ThreadpoolController, "__init__", refuse)
    instance = himmelblau()
    MinimizeWrapper(instance.params, {"method": "BFGS"}).step(instance.closure(1))


class Pool:
    """Stands in for a library of threadpoolctl's; OpenBLAS's two functions are its own."""

    def __init__(self) -> None:
        self.number = USERS
        self.get = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: self.number)
        self.set = ctypes.CFUNCTYPE(None, ctypes.c_int)(self.set_num_threads)

    def get_num_threads(self) -> int:
        return self.number

    def set_num_threads(self, number: int) -> None:
        self.number = number


@pytest.mark.parametrize("exported", [True, False])
def test_several_holders_share_the_libraries(exported: bool) -> None:
    pools: Any = [Pool(), Pool()]
    for pool in pools:
        names = {"openblas_get_num_threads": pool.get, "openblas_set_num_threads": pool.set}
        pool.dynlib = SimpleNamespace(**(names if exported else {}))
    limit = _limit(pools)
    assert isinstance(limit, _SlowLimit) is not (exported and native is not None)
    for act, expected in [
        (lambda: limit.hold(0, 2), 2),
        (lambda: limit.hold(1, 1), 2),
        (lambda: limit.hold(1, 1), 2),  # again, after a release that was interrupted
        (lambda: limit.release(0), 2),
        (lambda: limit.release(1), USERS),
        (lambda: limit.release(1), USERS),
        (lambda: limit.hold(1, 1), 1),
        (lambda: limit.release(1), USERS),
    ]:
        act()
        assert [pool.number for pool in pools] == [expected, expected]


@pytest.mark.parametrize("exported", [True, False])
def test_a_holder_that_goes_gives_back(exported: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pool: Any = Pool()
    names = {"openblas_get_num_threads": pool.get, "openblas_set_num_threads": pool.set}
    pool.dynlib = SimpleNamespace(**(names if exported else {}))
    limit = _limit([pool])
    monkeypatch.setattr(blas_threads, "_private_blas", lambda: limit)
    first, second = blas_threads.blas_threads(2), blas_threads.blas_threads(1)
    assert first is not None
    assert second is not None
    first.hold()
    second.hold()
    assert pool.number == 2
    del first
    assert pool.number == 2
    second.release()
    assert pool.number == USERS
    second.hold()
    del second
    assert pool.number == USERS


def test_threads_that_look_at_once_share_one_limit() -> None:
    blas_threads._found_blas.cache_clear()
    start, found = threading.Barrier(6), []

    def look() -> None:
        start.wait()
        found.append(blas_threads._private_blas())

    looking = [threading.Thread(target=look) for _ in range(6)]
    for thread in looking:
        thread.start()
    for thread in looking:
        thread.join()
    assert len(set(map(id, found))) == 1


@pytest.mark.parametrize("at", [1, 2, 3])
def test_an_interrupt_beside_the_closure_leaves_the_next_run_held(
    monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Ctrl-C comes when the user's setting was just given back, before the closure began."""
    before, calls, limit = threads(), 0, blas_threads._private_blas()

    class Interrupted:
        hold = limit.hold

        @staticmethod
        def release(holder: int) -> None:
            nonlocal calls
            limit.release(holder)
            calls += 1
            if calls == at:
                raise KeyboardInterrupt

    watch = Watch()
    with monkeypatch.context() as patch:
        patch.setattr(blas_threads, "_private_blas", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            watch.run()
    assert threads() == before
    watch = Watch()
    watch.run()
    assert all(seen["scipy"] == 1 for seen in watch.solver)
    assert threads() == before
