"""The small matrices of limited memory against the two-loop recursion and dense matrices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pytest
from limited import two_loops
from runs import Array

from pytorch_minimize.extension import native
from pytorch_minimize.solvers.compact import Compact, compact_of
from pytorch_minimize.solvers.inverse import ArrayInverse
from pytorch_minimize.solvers.updates import UPDATES, rank_two

N, M = 30, 6

both = pytest.mark.parametrize("scales", [False, True])

# In numpy, and as it is chosen: in C++ unless tests run on the Python bridge.
MAKES = {"numpy": Compact, "chosen": compact_of}


@pytest.fixture(params=MAKES)
def make(request: pytest.FixtureRequest) -> Callable[..., Compact]:
    return MAKES[request.param]


class Case(NamedTuple):
    """Pairs as the compact form knows them, the rows by slot, and the pairs by age."""

    compact: Compact
    rows: Array
    pairs: list[tuple[Array, Array, float]]

    def product(self, v: Array) -> Array:
        found = self.compact.weights(self.rows @ v)
        return np.asarray(found.gamma * v + found.rows @ self.rows)


def cases(
    make: Callable[..., Compact] = Compact, *, scales: bool
) -> Iterator[tuple[Case, np.random.Generator]]:
    """Fewer pairs than slots, as many, and more."""
    rng = np.random.default_rng(0)
    for count in (1, 2, M - 1, M, M + 1, 2 * M + 3) * 10:
        root = rng.standard_normal((N, N))
        curvature = root @ root.T / N + 0.1 * np.eye(N)
        compact, rows, pairs = make(M, scales=scales), np.zeros((0, N)), []
        for _ in range(count):
            s, tau = rng.standard_normal(N), rng.uniform(0.2, 1.0) if scales else 1.0
            y = curvature @ s
            slot = compact.slot
            compact.add(rows[0::2] @ y, rows[1::2] @ y, s @ y, y @ y, tau)
            rows = np.vstack([rows[: 2 * slot], s, y, rows[2 * slot + 2 :]])
            pairs.append((s, y, tau))
        yield Case(compact, rows, pairs[-M:]), rng


@both
def test_the_two_loop_recursion(make: Callable[..., Compact], scales: bool) -> None:
    for case, rng in cases(make, scales=scales):
        v = rng.standard_normal(N)
        expected = two_loops(case.pairs, v)
        np.testing.assert_allclose(case.product(v), expected, rtol=0, atol=1e-12 * N)
        found = case.compact.weights(case.rows @ v)
        assert found.gamma * v @ v + found.along == pytest.approx(v @ expected, rel=1e-11)


@both
def test_dense_updates_from_the_same_scale(make: Callable[..., Compact], scales: bool) -> None:
    """BFGS, and self-scaled BFGS, of the pairs that are kept, from gamma times I."""
    for case, _ in cases(make, scales=scales):
        s, y, _ = case.pairs[-1]
        dense = ArrayInverse(N, s @ y / (y @ y) * np.eye(N))
        for s, y, tau in case.pairs:
            w = dense.product(y)
            member = UPDATES["BFGS"](1.0, 1.0, N)._replace(tau=tau)
            dense.update(rank_two(member, s @ y, y @ w), s, w)
        found = np.array([case.product(e) for e in np.eye(N)])
        np.testing.assert_allclose(found, dense.dense(), rtol=0, atol=1e-11)


def test_self_scaled_is_plain_limited_memory_of_other_pairs() -> None:
    r"""Of :math:`\sqrt{c_i} s_i, y_i / \sqrt{c_i}` and another first scale."""
    for case, rng in cases(scales=True):
        taus = np.array([tau for *_, tau in case.pairs])
        c = [float(np.prod(1.0 / taus[i + 1 :])) for i in range(len(taus))]
        s, y, _ = case.pairs[-1]
        dense = ArrayInverse(N, s @ y / (y @ y) * np.prod(1.0 / taus) * np.eye(N))
        for (s, y, _), factor in zip(case.pairs, c, strict=True):
            s, y = s * factor**0.5, y / factor**0.5
            w = dense.product(y)
            dense.update(rank_two(UPDATES["BFGS"](1.0, 1.0, N), s @ y, y @ w), s, w)
        v = rng.standard_normal(N)
        np.testing.assert_allclose(case.product(v), dense.product(v), rtol=1e-10, atol=1e-11)


@both
def test_the_part_of_free_variables(scales: bool) -> None:
    for case, rng in cases(scales=scales):
        h = np.array([case.product(e) for e in np.eye(N)])
        free = rng.random(N) < 0.6
        v = np.where(free, rng.standard_normal(N), 0.0)
        part = case.rows * free
        found = case.compact.reduced(case.rows @ case.rows.T, part @ part.T, part @ v)
        expected = np.linalg.solve(np.linalg.inv(h)[np.ix_(free, free)], v[free])
        product = (found.gamma * v + found.rows @ case.rows)[free]
        np.testing.assert_allclose(product, expected, rtol=0, atol=1e-10)
        assert found.gamma * v @ v + found.along == pytest.approx(v[free] @ expected, rel=1e-9)


def test_both_ways_agree_where_pairs_fade() -> None:
    """Scales far apart, and slots in any order."""
    rng = np.random.default_rng(1)
    ways = [make(4, scales=True) for make in MAKES.values()]
    rows = np.zeros((0, N))
    for age in range(11):
        s = rng.standard_normal(N) * 10.0 ** rng.uniform(-8, 8)
        y = s * np.geomspace(1e-3, 1e3, N)
        slot = ways[0].slot
        for compact in ways:
            with_s, with_y = (rows[0::2] @ y).tolist(), (rows[1::2] @ y).tolist()
            compact.add(with_s, with_y, s @ y, y @ y, 0.5 ** (age % 3))
        rows = np.vstack([rows[: 2 * slot], s, y, rows[2 * slot + 2 :]])
        products = (rows @ rng.standard_normal(N)).tolist()
        numpys, chosen = (compact.weights(products) for compact in ways)
        assert chosen.gamma == pytest.approx(numpys.gamma, rel=1e-14)
        np.testing.assert_allclose(chosen.rows, numpys.rows, rtol=1e-9)
        assert chosen.along == pytest.approx(numpys.along, rel=1e-9)


def test_no_pairs_are_the_identity(make: Callable[..., Compact]) -> None:
    compact = make(3)
    assert len(compact) == 0
    found = compact.weights([])
    assert (found.gamma, found.rows.size, found.along) == (1.0, 0, 0.0)


def test_what_is_not_finite_is_said(make: Callable[..., Compact]) -> None:
    compact = make(2, scales=True)
    compact.add([], [], 1.0, 1.0, tau=1e-200)
    compact.add([1.0], [1.0], 1.0, 1.0, tau=1e-200)
    with pytest.raises(ArithmeticError, match="not finite"):
        compact.weights([1.0] * 4)
    plain = make(1)
    plain.add([], [], 1.0, 1.0)
    with pytest.raises(ArithmeticError, match="not finite"):
        plain.weights([np.inf, 1.0])
    with pytest.raises(ArithmeticError, match="not finite"):
        plain.weights([1e200, 0.0])  # what they have along g is not


@pytest.mark.skipif(native is None, reason="the Python bridge is chosen")
def test_what_the_one_in_cpp_refuses() -> None:
    known = np.eye(2), np.eye(2)
    for tau, order, products in (
        (None, [0, 2], [1.0] * 4),
        (None, [1], [1.0] * 2),
        (None, [0, 1], [1.0] * 3),
        (np.ones(3), [0], [1.0] * 2),
    ):
        with pytest.raises(ValueError, match="expected"):
            native.pair_weights(*known, tau, order, 1.0, products)
    with pytest.raises(ValueError, match="expected"):
        native.pair_weights(np.eye(2), np.eye(3), None, [0], 1.0, [1.0] * 2)
