"""
Stop after some seconds, resume tomorrow
========================================

``timeout`` ends a step with the best point seen, ``checkpoint`` writes it to a file as the run goes
on, for the case that the program is killed. A new process needs three lines to go on.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch import nn

from pytorch_minimize import MinimizeWrapper

torch.set_default_dtype(torch.float64)
inputs = torch.linspace(-1, 1, 1000).unsqueeze(1)
targets = torch.sin(8 * inputs) + inputs**3


def make():
    """Model, optimizer and closure, as the script makes them each time it is started."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(1, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 1)
    )
    optimizer = MinimizeWrapper(
        model.parameters(),
        dict(method="SSBroyden", options=dict(maxiter=10_000, gtol=1e-10)),
        timeout=0.7,  # seconds; a night, mostly
        checkpoint=(file, 0.2),
        warm_start=True,  # the state holds the inverse Hessian as well
    )
    return model, optimizer, lambda: nn.functional.mse_loss(model(inputs), targets)


file = Path(tempfile.mkdtemp()) / "run.pt"
model, optimizer, closure = make()
optimizer.step(closure)
print(optimizer.res.message)
print(f"{file.stat().st_size:,} bytes in {file.name}")

# %%
# Tomorrow, in another process: make everything as before, load, go on.

model, optimizer, closure = make()
optimizer.load_state_dict(torch.load(file, weights_only=True))
optimizer.load_best()
optimizer.step(closure)
optimizer.history

# %%
# The history goes on as well: iterations, evaluations and seconds of both.

optimizer.history.plot(against="seconds")
plt.show()
