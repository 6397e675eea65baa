"""What is fitted: each problem in the forms that the peers ask for, from one start."""

from __future__ import annotations

import importlib.util
import itertools
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from time import perf_counter
from types import ModuleType

import torch
from torch import Tensor, nn

__all__ = ["FITS", "Problem", "chain", "digits", "digits_mlp", "of_module"]

WEIGHT_DECAY = 1e-3


class Problem:
    """A loss of some tensors, with the closures by which it is handed over.

    Args:
        params: hold the start, to which :meth:`reset` returns.
        loss: at the values of ``params``.
        loss_of: the same of other tensors, one for each of ``params``.
        resets: keep a copy of the start, which :meth:`reset` needs.

    Attributes:
        evaluations: runs of any closure since the last reset.
        closure_seconds: what :meth:`closure` took in them.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        loss: Callable[[], Tensor],
        loss_of: Callable[..., Tensor],
        *,
        resets: bool = True,
    ) -> None:
        self.params = list(params)
        self._loss, self._loss_of = loss, loss_of
        self._start = [p.detach().clone() for p in self.params if resets]
        self.evaluations, self.closure_seconds = 0, 0.0

    @property
    def numel(self) -> int:
        return sum(p.numel() for p in self.params)

    @torch.no_grad()
    def reset(self) -> None:
        for p, start in zip(self.params, self._start, strict=True):
            p.copy_(start)
            p.grad = None
        self.evaluations, self.closure_seconds = 0, 0.0

    def closure(self) -> Tensor:
        """Zeroes the gradients and calls backward itself, as torch.optim's closures do."""
        start = perf_counter()
        self.evaluations += 1
        for p in self.params:
            p.grad = None
        loss = self._loss()
        loss.backward()
        self.closure_seconds += perf_counter() - start
        return loss.detach()

    def loss_to_differentiate(self) -> Tensor:
        """Zeroes the gradients and leaves backward to the optimizer."""
        self.evaluations += 1
        for p in self.params:
            p.grad = None
        return self._loss()

    def loss_of(self, *tensors: Tensor) -> Tensor:
        """The loss of other tensors, for those that differentiate functions."""
        self.evaluations += 1
        return self._loss_of(*tensors)

    def end(self) -> tuple[float, float]:
        """The loss and the largest entry of the gradient where the parameters are now."""
        evaluations = self.evaluations
        loss = self.closure().item()
        self.evaluations = evaluations
        return loss, max(float(p.grad.abs().max()) for p in self.params if p.grad is not None)


def chain(widths: Iterable[int]) -> nn.Module:
    """Linear and tanh layers in turn, linear at the end."""
    widths = list(widths)
    layers: list[nn.Module] = []
    for narrow, wide in itertools.pairwise(widths):
        layers += [nn.Linear(narrow, wide), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def digits(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """scikit-learn's 1797 handwritten digits: images of 64 pixels, and what they show."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return torch.tensor(pixels / 16, dtype=dtype), torch.tensor(labels)


def of_module(net: nn.Module, loss_with: Callable[[Callable[[Tensor], Tensor]], Tensor]) -> Problem:
    """The problem of a network's parameters, given the loss with the network as a function."""
    names = [name for name, _ in net.named_parameters()]

    def loss_of(*tensors: Tensor) -> Tensor:
        values = dict(zip(names, tensors, strict=True))
        return loss_with(lambda inputs: torch.func.functional_call(net, values, (inputs,)))

    return Problem(net.parameters(), lambda: loss_with(net), loss_of)


def _classifier(net: nn.Module, dtype: torch.dtype) -> Problem:
    inputs, targets = digits(dtype)
    net = net.to(dtype)

    def loss_with(function: Callable[[Tensor], Tensor]) -> Tensor:
        return nn.functional.cross_entropy(function(inputs), targets)

    problem = of_module(net, loss_with)
    plain, of_tensors = problem._loss, problem._loss_of

    def decay(tensors: Sequence[Tensor]) -> Tensor:
        return (
            WEIGHT_DECAY
            / 2
            * sum((t.square().sum() for t in tensors), torch.zeros((), dtype=dtype))
        )

    return Problem(
        problem.params,
        lambda: plain() + decay(problem.params),
        lambda *tensors: of_tensors(*tensors) + decay(tensors),
    )


def digits_logistic() -> Problem:
    """Multinomial logistic regression with weight decay: convex."""
    torch.manual_seed(0)
    return _classifier(nn.Linear(64, 10), torch.float64)


def digits_mlp(dtype: torch.dtype = torch.float32) -> Problem:
    """64 - 32 - 10 with tanh, and weight decay."""
    torch.manual_seed(0)
    return _classifier(chain((64, 32, 10)), dtype)


def gaussian_process() -> Problem:
    """Hyper-parameters of a Gaussian process on scikit-learn's diabetes data, float64.

    The negative log likelihood of 442 targets, of a mean, a noise, a scale, and ten length scales.
    """
    from sklearn.datasets import load_diabetes

    data, labels = load_diabetes(return_X_y=True, scaled=True)
    inputs, targets = torch.tensor(data), torch.tensor(labels)
    inputs, targets = inputs / inputs.std(0), (targets - targets.mean()) / targets.std()
    eye = torch.eye(len(targets), dtype=torch.float64)

    def loss_of(*tensors: Tensor) -> Tensor:
        log_lengths, log_scale, log_noise, mean = tensors
        scaled = inputs / log_lengths.exp()
        squares = scaled.square().sum(1)
        distances = squares[:, None] + squares - 2 * scaled @ scaled.T
        covariance = log_scale.exp() * torch.exp(-distances / 2) + log_noise.exp() * eye
        factor = torch.linalg.cholesky(covariance)
        residual = (targets - mean)[:, None]
        fitted = torch.linalg.solve_triangular(factor, residual, upper=False)
        logs = factor.diagonal().log().sum() + len(targets) * math.log(2 * math.pi) / 2
        loss: Tensor = (fitted.square().sum() / 2 + logs) / len(targets)
        return loss

    start = (torch.full((inputs.shape[1],), 1.0), *torch.tensor([0.0, -1.0, 0.0]).unbind())
    params = [nn.Parameter(tensor.to(torch.float64)) for tensor in start]
    return Problem(params, lambda: loss_of(*params), loss_of)


def poisson_network() -> Problem:
    """The network of examples/pinn.py, which lies in the source tree only."""
    pinn = _example("pinn")
    torch.manual_seed(0)
    net = pinn.Network(width=12)
    collocation = pinn.Collocation(count=800, seed=0)
    return of_module(net, collocation.loss)


def _example(name: str) -> ModuleType:
    path = Path(__file__).parents[1] / "examples" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path) if path.exists() else None
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"examples/{name}.py of the source tree is needed")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # its classes refer to the module by name
    spec.loader.exec_module(module)
    return module


FITS: dict[str, Callable[[], Problem]] = {
    "digits, logistic": digits_logistic,
    "digits, MLP": digits_mlp,
    "Gaussian process": gaussian_process,
    "Poisson network": poisson_network,
}
