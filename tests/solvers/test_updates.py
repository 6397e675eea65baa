"""The algebra of the updates, on random cases."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pytorch_minimize.solvers.inverse import ArrayInverse, TensorInverse
from pytorch_minimize.solvers.updates import UPDATES, rank_two

Array = NDArray[np.float64]
CASES = 400


def cases() -> Iterator[tuple[Array, Array, Array, float]]:
    """H, s, y with s'y > 0, and s'Bs for a step s along -H g."""
    rng = np.random.default_rng(0)
    for _ in range(CASES):
        n = int(rng.integers(2, 12))
        root = rng.standard_normal((n, n))
        h = root @ root.T / n + 0.1 * np.eye(n)
        gradient = rng.standard_normal(n)
        step = 10.0 ** rng.uniform(-3, 1)
        s = -step * h @ gradient
        other = rng.standard_normal((n, n))
        y = 10.0 ** rng.uniform(-2, 2) * (other @ other.T / n + 0.1 * np.eye(n)) @ s
        yield h, s, y, float(-step * (s @ gradient))


def relative(a: Array, b: Array) -> float:
    return float(abs(a - b).max() / abs(b).max())


@pytest.mark.parametrize("name", UPDATES)
@pytest.mark.parametrize("kind", ["array", "tensor"])
def test_the_algebra(name: str, kind: str) -> None:
    for h, s, y, sbs in cases():
        n, w, sy = s.size, h @ y, s @ y
        yhy = y @ w
        update = UPDATES[name](sbs / sy, yhy / sy, n)
        v = s / sy - w / yhy
        scaled = (h - np.outer(w, w) / yhy + update.phi * yhy * np.outer(v, v)) / update.tau
        literal = scaled + np.outer(s, s) / sy
        change = rank_two(update, sy, yhy)
        if kind == "array":
            inverse = ArrayInverse(n, h)
            inverse.update(change, s, w)
            found = inverse.dense()
        else:
            tensors = TensorInverse(n, torch.device("cpu"), torch.from_numpy(h))
            tensors.update(change, torch.from_numpy(s), torch.from_numpy(w))
            found = tensors.dense().numpy()
        assert relative(found, literal) < 1e-12
        assert relative(found @ y, s) < 1e-11, "the secant equation"
        assert np.linalg.eigvalsh(found).min() > 0.0
        assert update.tau > 0.0


def test_bfgs_is_the_product_form_of_scipys() -> None:
    for h, s, y, _ in cases():
        sy, identity = s @ y, np.eye(s.size)
        left = identity - np.outer(s, y) / sy
        product = left @ h @ left.T + np.outer(s, s) / sy
        inverse = ArrayInverse(s.size, h)
        inverse.update(rank_two(UPDATES["BFGS"](1.0, 1.0, s.size), sy, y @ h @ y), s, h @ y)
        assert relative(inverse.dense(), product) < 1e-12


@pytest.mark.parametrize("name", [name for name in UPDATES if name.startswith("SSBroyden")])
def test_where_a_pair_tells_nothing_new_only_the_scale_is_left(name: str) -> None:
    # H y is along s, so that b h = 1.
    for b in (0.2, 1.0, 5.0):
        assert UPDATES[name](b, 1.0 / b, 7) == (min(1.0, 1.0 / b), 1.0)


@pytest.mark.parametrize("name", UPDATES)
def test_one_variable_has_one_update(name: str) -> None:
    h, s, y = np.array([[2.0]]), np.array([0.5]), np.array([3.0])
    change = rank_two(UPDATES[name](0.25 / 2 / 1.5, 18 / 1.5, 1), 1.5, 18.0)
    inverse = ArrayInverse(1, h)
    inverse.update(change, s, h @ y)
    assert inverse.dense() == pytest.approx(np.array([[0.5 / 3.0]]))


def test_the_variants_differ() -> None:
    found = {UPDATES[f"SSBroyden-{variant}"](0.8, 9.0, 20) for variant in (1, 2, 3)}
    assert len(found) == 3
