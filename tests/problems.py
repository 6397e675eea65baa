"""The table of problems that the tests of paths, curvature and global search run over."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import sklearn.datasets
import torch
from instance import Instance, join
from torch import Tensor, nn

# By trust-exact and five Newton steps on Instance.fun, jac, hess.
SIGNAL_MINIMUM = 0.7435223869782
LOGISTIC_MINIMUM = 0.2662010008025
NETWORK_MINIMUM = 0.0208974544053


@dataclasses.dataclass(frozen=True)
class Problem:
    """A problem's name and how to make an instance of it in a dtype."""

    name: str
    make: Callable[[torch.dtype], Instance]

    def __str__(self) -> str:
        return self.name


# Rosenbrock: a curved valley; five variables in three tensors, one of them 0-dim.


def rosenbrock(dtype: torch.dtype = torch.float64) -> Instance:
    def loss(tensors: Sequence[Tensor]) -> Tensor:
        x = join(tensors)
        return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()

    start = ([[1.3, 0.7]], 0.8, [1.9, 1.2])
    return Instance([torch.tensor(t, dtype=dtype) for t in start], loss, 0.0)


# A quadratic (x - c)' Q D Q (x - c) / 2 with Q a reflection; condition number 1e4.

_Q = np.eye(6) - 1 / 3
_D = np.logspace(-2, 2, 6)
_CENTRE = np.array([1.0, -2.0, 3.0, 0.5, -0.25, 2.0])


def quadratic(dtype: torch.dtype = torch.float64) -> Instance:
    q, d, centre = (torch.tensor(array, dtype=dtype) for array in (_Q, _D, _CENTRE))

    def loss(tensors: Sequence[Tensor]) -> Tensor:
        return (d * (q @ (join(tensors) - centre)) ** 2).sum() / 2

    return Instance([torch.zeros(2, 2, dtype=dtype), torch.ones(2, dtype=dtype)], loss, 0.0)


# Himmelblau: four minima; two 0-dim parameters.


def himmelblau(dtype: torch.dtype = torch.float64) -> Instance:
    def loss(tensors: Sequence[Tensor]) -> Tensor:
        x, y = tensors
        return (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2

    return Instance([torch.tensor(0.0, dtype=dtype), torch.tensor(1.0, dtype=dtype)], loss, 0.0)


# Least squares in a matrix and a vector: |A X B + u - C|^2.

_RNG = np.random.default_rng(20)
_A, _B, _C = (_RNG.standard_normal(shape) for shape in ((7, 3), (2, 5), (7, 5)))


def matrix(dtype: torch.dtype = torch.float64) -> Instance:
    a, b, c = (torch.tensor(array, dtype=dtype) for array in (_A, _B, _C))

    def loss(tensors: Sequence[Tensor]) -> Tensor:
        x, u = tensors
        return (a @ x @ b + u - c).square().sum()

    # Row-major vec(A X B) is (A kron B') vec(X).
    design = np.hstack([np.kron(_A, _B.T), np.tile(np.eye(5), (7, 1))])
    minimum = np.linalg.lstsq(design, _C.reshape(-1))[1].item()
    return Instance([torch.zeros(3, 2, dtype=dtype), torch.zeros(5, dtype=dtype)], loss, minimum)


# A complex signal seen through a complex matrix: |F z - s|^2 + |z|^4 / 10; two reals an element.


def signal(dtype: torch.dtype = torch.float64) -> Instance:
    parts = np.random.default_rng(5).standard_normal((2, 4, 4))
    f, s = (torch.tensor(p[:, :3] + 1j * p[:, 1:]).to(dtype.to_complex()) for p in parts)

    def loss(tensors: Sequence[Tensor]) -> Tensor:
        (z,) = tensors
        return (f @ z - s[:, :1]).abs().square().sum() + z.abs().square().square().sum() / 10

    return Instance(
        [torch.full((3, 1), 0.5 - 0.25j, dtype=dtype.to_complex())], loss, SIGNAL_MINIMUM
    )


# Multinomial logistic regression of the iris data; regularised, hence strictly convex.


def logistic(dtype: torch.dtype = torch.float64) -> Instance:
    features, labels = sklearn.datasets.load_iris(return_X_y=True)
    standard = (features - features.mean(0)) / features.std(0)
    inputs, targets = torch.tensor(standard, dtype=dtype), torch.tensor(labels)

    def loss(tensors: Sequence[Tensor]) -> Tensor:
        weight, bias = tensors
        fit = nn.functional.cross_entropy(inputs @ weight.T + bias, targets)
        return fit + 0.005 * (weight.square().sum() + bias.square().sum())

    return Instance(
        [torch.zeros(3, 4, dtype=dtype), torch.zeros(3, dtype=dtype)], loss, LOGISTIC_MINIMUM
    )


# A network with one hidden layer of tanh, fitted to a sine, with weight decay.


def network(dtype: torch.dtype = torch.float64) -> Instance:
    inputs = torch.linspace(-2, 2, 25, dtype=dtype)[:, None]
    targets = torch.sin(2 * inputs)

    def loss(tensors: Sequence[Tensor]) -> Tensor:
        hidden, hidden_bias, out, out_bias = tensors
        outputs = torch.tanh(inputs @ hidden + hidden_bias) @ out + out_bias
        return (outputs - targets).square().mean() + 1e-3 * join(tensors).square().sum()

    start = ([[0.0, 1.0, 0.7]], [0.7, 1.6, -1.2], [[-0.6], [-1.3], [-0.1]], [1.0])
    return Instance([torch.tensor(w, dtype=dtype) for w in start], loss, NETWORK_MINIMUM)


PROBLEMS = (
    Problem("rosenbrock", rosenbrock),
    Problem("quadratic", quadratic),
    Problem("himmelblau", himmelblau),
    Problem("matrix", matrix),
    Problem("signal", signal),
    Problem("logistic", logistic),
    Problem("network", network),
)
