"""
A Gaussian process
==================

Length scale, period, amplitude and noise of a kernel by the marginal likelihood, in plain PyTorch.
Where a line search tries parameters for which the Cholesky factorisation fails, ``recover`` lets it
step back instead of ending the run.
"""

import math

import matplotlib.pyplot as plt
import torch

from pytorch_minimize import MinimizeWrapper

torch.manual_seed(1)
torch.set_default_dtype(torch.float64)
inputs = torch.sort(6 * torch.rand(60)).values
inputs = inputs[(inputs < 3.2) | (inputs > 4.0)]  # a gap, over which the period must carry
targets = torch.sin(2 * math.pi * inputs) + 0.4 * inputs + 0.15 * torch.randn_like(inputs)
targets = targets - targets.mean()

names = ("amplitude", "slow length", "period", "ripple", "noise")
logs = torch.nn.Parameter(torch.tensor([0.0, 0.5, 0.05, 0.0, -1.0]))


def kernel(a, b):
    amplitude, slow, period, ripple, _ = logs.exp()
    distance = a[:, None] - b[None, :]
    repeats = -2 * (torch.sin(math.pi * distance / period) / ripple) ** 2
    trend = torch.exp(-((distance / slow) ** 2) / 2)
    return amplitude**2 * (trend + torch.exp(repeats - (distance / (4 * slow)) ** 2 / 2))


def factor():
    noise = logs[4].exp()
    return torch.linalg.cholesky(kernel(inputs, inputs) + noise**2 * torch.eye(len(inputs)))


def negative_log_likelihood():
    root = factor()
    whitened = torch.linalg.solve_triangular(root, targets.unsqueeze(1), upper=False)
    return whitened.square().sum() / 2 + root.diagonal().log().sum()


@torch.no_grad()
def predict(x):
    root = factor()
    across = torch.linalg.solve_triangular(root, kernel(inputs, x), upper=False)
    whitened = torch.linalg.solve_triangular(root, targets.unsqueeze(1), upper=False)
    variance = kernel(x[:1], x[:1]).squeeze() - across.square().sum(0)
    return (across.T @ whitened).squeeze(1), variance.clamp(min=0).sqrt()


# %%
# The prediction before and after the fit.

fig, axes = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained", sharey=True)
x = torch.linspace(-0.5, 8, 300)


def draw(ax, title):
    mean, deviation = predict(x)
    band = (mean - 2 * deviation, mean + 2 * deviation)
    ax.fill_between(x, *band, color="C0", alpha=0.25, label="two standard deviations")
    ax.plot(x, mean, color="C0", label="mean")
    ax.plot(inputs, targets, "k.", ms=5, label="data")
    ax.set(title=title, xlabel="x")


draw(axes[0], f"before: loss {negative_log_likelihood().item():.1f}")
optimizer = MinimizeWrapper([logs], dict(method="L-BFGS-B"), recover=torch.linalg.LinAlgError)
loss = optimizer.step(negative_log_likelihood)
draw(axes[1], f"after {optimizer.res.nfev} evaluations: loss {loss.item():.1f}")
axes[0].set_ylabel("y")
axes[0].legend(fontsize=8, loc="upper left")
plt.show()

# %%
print({name: round(value, 3) for name, value in zip(names, logs.exp().tolist(), strict=True)})
print(optimizer.res.message, "stepped back:", optimizer.res.recovered)
