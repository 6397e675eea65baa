"""Fit scikit-learn's handwritten digits by full-batch scipy: logistic regression and an MLP.

python examples/digits.py --model both --method L-BFGS-B --dtype float64

With --checkpoints FOLDER a fit that was killed goes on where it was, when it is started again.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from tqdm import tqdm

from pytorch_minimize.optim import MinimizeWrapper

# On every parameter, biases included: the logistic problem is then strictly convex.
WEIGHT_DECAY = 1e-3

# Tight enough for every method to find that problem's optimum to 1e-6. Under trust-krylov the
# norm of the gradient cannot get below 1.4e-8: its square is then taken for zero, inside scipy.
TOLERANCE = {"trust-krylov": 1e-7}
DEFAULT_TOLERANCE = 1e-8


class Data(NamedTuple):
    """A quarter of the 1797 images is kept for the test."""

    inputs: Tensor
    targets: Tensor
    test_inputs: Tensor
    test_targets: Tensor


def load(device: str, dtype: torch.dtype, seed: int) -> Data:
    pixels, labels = load_digits(return_X_y=True)
    split = train_test_split(pixels, labels, test_size=0.25, stratify=labels, random_state=seed)
    inputs, test_inputs, targets, test_targets = (
        torch.as_tensor(part).to(device) for part in split
    )
    return Data((inputs / 16).to(dtype), targets, (test_inputs / 16).to(dtype), test_targets)


def make_model(name: str, device: str, dtype: torch.dtype, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    layers: list[nn.Module] = [nn.Linear(64, 10)]
    if name == "mlp":
        layers = [nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10)]
    return nn.Sequential(*layers).to(device, dtype)


def objective(model: nn.Module, data: Data) -> Tensor:
    """The mean cross-entropy over the training images plus the weight decay."""
    decay = sum(p.square().sum() for p in model.parameters())
    return nn.functional.cross_entropy(model(data.inputs), data.targets) + WEIGHT_DECAY / 2 * decay


def fit(model: nn.Module, data: Data, method: str, file: Path | None = None) -> MinimizeWrapper:
    """Minimise the objective over the model's parameters; one step is the whole fit.

    It is saved in ``file`` as it goes on; from what is there already it goes on.
    """
    tol = TOLERANCE.get(method.lower(), DEFAULT_TOLERANCE)
    arguments = {"method": method, "tol": tol, "options": {"maxiter": 1000}}
    checkpoint = None if file is None else (file, 10.0)
    optimizer = MinimizeWrapper(model.parameters(), arguments, checkpoint=checkpoint)
    if file is not None and file.exists():
        optimizer.load_state_dict(torch.load(file, weights_only=True))
        optimizer.load_best()

    with tqdm(desc=method, unit=" evaluations") as progress:

        def closure() -> Tensor:
            loss = objective(model, data)
            # True where the line is drawn anew, which is the only time the loss is read.
            if progress.update():
                progress.set_postfix_str(f"loss {loss.item():.6f}", refresh=False)
            return loss

        optimizer.step(closure)
        progress.set_postfix_str(f"loss {optimizer.res.fun:.6f}")
    return optimizer


@torch.no_grad()
def accuracy(model: nn.Module, data: Data) -> float:
    right: Tensor = model(data.test_inputs).argmax(1) == data.test_targets
    return right.double().mean().item()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Fit handwritten digits by full-batch scipy.")
    parser.add_argument("--model", choices=["logistic", "mlp", "both"], default="both")
    parser.add_argument("--method", default="L-BFGS-B", help="a method of scipy.optimize.minimize")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float64")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoints", type=Path, help="a folder: fits are saved and resumed")
    args = parser.parse_args(argv)

    try:
        torch.empty(0, device=args.device)
    except (AssertionError, RuntimeError) as error:  # not built for it, not there, not a device
        parser.error(f"--device {args.device}: {error}")
    dtype = getattr(torch, args.dtype)
    data = load(args.device, dtype, args.seed)
    for name in ["logistic", "mlp"] if args.model == "both" else [args.model]:
        model = make_model(name, args.device, dtype, args.seed)
        file = None if args.checkpoints is None else args.checkpoints / f"{name}.pt"
        optimizer = fit(model, data, args.method, file)
        res = optimizer.res
        print(f"\n{name}: {sum(p.numel() for p in model.parameters())} parameters, {args.method}")
        print(f"  train loss     {res.fun:.8f}")
        print(f"  test accuracy  {accuracy(model, data):.4f}")
        print(f"  iterations     {res.get('nit', 'not counted')}")
        print(f"  evaluations    {res.nfev}")
        print(optimizer.profile)


if __name__ == "__main__":
    main()
