"""
Five methods compared
=====================

One small network, one start, one budget of closure calls: Adam, ``torch.optim.LBFGS``, and three
methods of this package. ``history.plot`` draws into axes of yours, one line for each run.
"""

import copy

import matplotlib.pyplot as plt
import torch
from torch import nn

from pytorch_minimize import MinimizeWrapper

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
CALLS = 600
inputs = torch.linspace(-1, 1, 200).unsqueeze(1)
targets = torch.sin(6 * inputs) * torch.exp(-inputs)
start = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1))


class Fit:
    """A copy of the start, and the loss at each call of its closure."""

    def __init__(self):
        self.model, self.losses = copy.deepcopy(start), []

    def __call__(self):
        self.model.zero_grad()
        loss = nn.functional.mse_loss(self.model(inputs), targets)
        loss.backward()
        self.losses.append(loss.item())
        return loss


# %%
# torch's own optimizers are stepped until the budget is used up.

adam, lbfgs = Fit(), Fit()
optimizer = torch.optim.Adam(adam.model.parameters(), lr=3e-3)
while len(adam.losses) < CALLS:
    optimizer.step(adam)
optimizer = torch.optim.LBFGS(
    lbfgs.model.parameters(), max_iter=CALLS, max_eval=CALLS, history_size=20,
    tolerance_grad=0, tolerance_change=0, line_search_fn="strong_wolfe",
)  # fmt: skip
loss = optimizer.step(lbfgs)

# %%
# Ours need one step each, which ``max_evaluations`` ends.

fig, ax = plt.subplots(figsize=(7.2, 4.2), layout="constrained")
ax.plot(torch.tensor(adam.losses).cummin(0).values, color="0.6", label="Adam")
ax.plot(torch.tensor(lbfgs.losses).cummin(0).values, color="0.2", label="torch.optim.LBFGS")
for method, options, colour in (
    ("L-BFGS-B", dict(maxcor=20, ftol=0, gtol=0, maxfun=CALLS), "C0"),
    ("BFGS", dict(gtol=0), "C2"),
    ("SSBroyden", dict(gtol=0), "C3"),
):
    fit = Fit()
    options["maxiter"] = CALLS
    optimizer = MinimizeWrapper(
        fit.model.parameters(), dict(method=method, options=options), max_evaluations=CALLS
    )
    optimizer.step(fit)
    optimizer.history.plot(ax, against="evaluations", label=method, color=colour)
    print(f"{method:10} {optimizer.res.fun:.2e}  {optimizer.res.message}")
ax.set(xlabel="closure calls (loss and gradient)", ylabel="loss, the lowest so far")
ax.grid(alpha=0.3)
ax.legend()
plt.show()
