"""
Log to TensorBoard
==================

A callback is called once an iteration with the iterate's loss, and costs no evaluation. While it
runs the model holds the iterate, so that anything may be looked at.
"""

import tempfile

import matplotlib.pyplot as plt
import torch
from torch import nn

from pytorch_minimize import MinimizeWrapper

try:
    from torch.utils.tensorboard import SummaryWriter
except ImportError:  # pip install tensorboard

    class SummaryWriter:
        """Stands in for it here: keeps what it is given."""

        def __init__(self, log_dir):
            self.scalars = {}

        def add_scalar(self, name, value, step):
            self.scalars.setdefault(name, []).append((step, value))

        def close(self):
            print("tensorboard is not installed; kept", ", ".join(self.scalars))


torch.manual_seed(0)
inputs = torch.linspace(-1, 1, 80, dtype=torch.float64).unsqueeze(1)
order = torch.randperm(80)
train, test = order[:50], order[50:]
targets = torch.sin(5 * inputs) + 0.3 * torch.randn_like(inputs)
model = nn.Sequential(nn.Linear(1, 30), nn.Tanh(), nn.Linear(30, 1)).double()

# %%
# The parameter of the callback must be called ``intermediate_result``, as in scipy.

writer = SummaryWriter(tempfile.mkdtemp())
validation = []


def log(intermediate_result):
    with torch.no_grad():
        validation.append(nn.functional.mse_loss(model(inputs[test]), targets[test]).item())
    step = len(validation)
    writer.add_scalar("loss/train", intermediate_result.fun, step)
    writer.add_scalar("loss/validation", validation[-1], step)
    if step > 30 and min(validation[-30:]) > min(validation):
        raise StopIteration  # ends the run: no better for 30 iterations


optimizer = MinimizeWrapper(
    model.parameters(), dict(method="BFGS", callback=log, options=dict(maxiter=500))
)
optimizer.step(lambda: nn.functional.mse_loss(model(inputs[train]), targets[train]))
writer.close()
print(optimizer.res.message, f"after {optimizer.res.nit} iterations")

# %%
# What was logged, which is in ``optimizer.history`` as well, without a callback.

fig, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
optimizer.history.plot(ax, label="training", color="C0")
ax.plot(range(1, len(validation) + 1), validation, color="C1", label="validation")
best = min(range(len(validation)), key=validation.__getitem__)
ax.axvline(best + 1, color="0.6", linestyle="--", label="best of the validation")
ax.set_ylabel("mean squared error")
ax.legend()
plt.show()
