"""Basin hopping fits a small classifier with local methods that use gradients."""

from __future__ import annotations

import functools

import pytest
import torch
from sklearn.datasets import make_classification
from torch import Tensor, nn

from pytorch_minimize.optim import BasinHoppingWrapper

METHODS = ("L-BFGS-B", "TNC", "trust-ncg")


@functools.cache
def samples() -> tuple[Tensor, Tensor]:
    """120 samples of 20 features in 10 classes."""
    features, classes = make_classification(
        n_samples=120,
        n_features=20,
        n_informative=10,
        n_classes=10,
        n_clusters_per_class=1,
        class_sep=2.0,
        random_state=0,
    )
    return torch.from_numpy(features), torch.from_numpy(classes)


def options(method: str) -> dict[str, int]:
    """Enough for each."""
    return {"maxfun": 150} if method == "TNC" else {"maxiter": 40}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("method", METHODS)
def test_the_training_loss_falls_below_a_tenth(method: str, dtype: torch.dtype) -> None:
    features, classes = samples()
    model = nn.Sequential(nn.Linear(20, 8), nn.Tanh(), nn.Linear(8, 10)).to(dtype)
    inputs = features.to(dtype)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs), classes)
        loss.backward()
        return loss

    optimizer = BasinHoppingWrapper(
        model.parameters(), {"method": method, "options": options(method)}, {"niter": 4, "rng": 0}
    )
    loss = optimizer.step(closure)
    assert loss.dtype == dtype
    assert loss < 0.1
    assert nn.functional.cross_entropy(model(inputs), classes).item() == loss.item()
