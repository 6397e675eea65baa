"""
Bounds on one layer
===================

A spectrum is a sum of lines whose heights cannot be negative, while places are free. Bounds belong
to a param group, so that a layer, or one tensor, has its own.
"""

import copy
import math

import matplotlib.pyplot as plt
import torch
from torch import nn

from pytorch_minimize import MinimizeWrapper

torch.manual_seed(3)
torch.set_default_dtype(torch.float64)
energies = torch.linspace(0, 10, 250)


class Lines(nn.Module):
    """Gaussian lines, and a linear layer that adds them up."""

    def __init__(self, count):
        super().__init__()
        self.places = nn.Parameter(torch.linspace(1, 9, count))
        self.log_widths = nn.Parameter(torch.full((count,), -0.7))
        self.heights = nn.Linear(count, 1, bias=False)
        nn.init.constant_(self.heights.weight, 0.5)

    def shapes(self):
        apart = (energies[:, None] - self.places) / self.log_widths.exp()
        return torch.exp(-apart.square() / 2)

    def forward(self):
        return self.heights(self.shapes()).squeeze(1)


truth = Lines(3)
with torch.no_grad():
    truth.places.copy_(torch.tensor([3.0, 4.1, 7.0]))
    truth.log_widths.copy_(torch.tensor([0.4, 0.6, 0.3]).log())
    truth.heights.weight.copy_(torch.tensor([[1.0, 0.7, 1.4]]))
    measured = truth() + 0.08 * torch.randn_like(energies)

# %%
# The same start, once free and once with ``bounds=(0, None)`` on the layer. A bound on the widths
# keeps a line from following the noise of a single point.

free = Lines(7)
bounded = copy.deepcopy(free)


def fit(model, groups):
    optimizer = MinimizeWrapper(groups, dict(method="L-BFGS-B", options=dict(maxiter=2000)))
    optimizer.step(lambda: (model() - measured).square().sum())
    print(optimizer.res.message, model.heights.weight.detach().numpy().round(2))


fit(free, free.parameters())
fit(
    bounded,
    [
        {"params": [bounded.places]},
        {"params": [bounded.log_widths], "bounds": (math.log(0.2), math.log(2.0))},
        {"params": bounded.heights.parameters(), "bounds": (0.0, None)},
    ],
)

# %%
fig, axes = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained", sharey=True)
for ax, model, title in zip(axes, (free, bounded), ("free", "heights at least 0"), strict=True):
    with torch.no_grad():
        lines = model.shapes() * model.heights.weight
        ax.plot(energies, measured, ".", color="0.7", ms=3, label="measured")
        ax.plot(energies, model(), color="k", label="sum")
        for line in lines.T:
            ax.fill_between(energies, line, color="C3" if line.sum() < 0 else "C0", alpha=0.3)
    ax.set(title=title, xlabel="energy", ylim=(-0.7, 2.0))
axes[0].set_ylabel("intensity")
axes[0].legend(fontsize=8)
plt.show()
