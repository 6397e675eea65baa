"""
Vectorised differential evolution
=================================

The frequency of a chirp has many local minima: a gradient method finds the nearest. Differential
evolution searches the box, and ``vectorize`` evaluates a generation in one forward pass.
"""

import time

import matplotlib.pyplot as plt
import torch
from torch import nn

from pytorch_minimize import DifferentialEvolutionWrapper, MinimizeWrapper, vectorize

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
times = torch.linspace(0, 1, 200)


class Chirp(nn.Module):
    def __init__(self):
        super().__init__()
        self.frequency = nn.Parameter(torch.tensor(6.0))
        self.rate = nn.Parameter(torch.tensor(0.0))
        self.phase = nn.Parameter(torch.tensor(0.0))

    def forward(self, times):
        turns = self.frequency * times + self.rate * times**2
        return torch.sin(2 * torch.pi * turns + self.phase)


truth = Chirp()
with torch.no_grad():
    truth.frequency.fill_(17.3), truth.rate.fill_(5.2), truth.phase.fill_(0.7)
    heard = truth(times) + 0.3 * torch.randn_like(times)


def loss_of(model):
    return nn.functional.mse_loss(model(times), heard)


# %%
# L-BFGS-B from its start, and differential evolution in a box, once point by point.

local = Chirp()
MinimizeWrapper(local.parameters(), dict(method="L-BFGS-B")).step(lambda: loss_of(local))

box = [(5, 30), (-10, 10), (-3.2, 3.2)]
keywords = dict(bounds=box, popsize=40, maxiter=40, tol=0, rng=0)
searches = {}
for name in ("point by point", "vectorised"):
    model = Chirp()
    population = vectorize(model, loss_of) if name == "vectorised" else None
    search = DifferentialEvolutionWrapper(model.parameters(), keywords)
    begin = time.perf_counter()
    search.step(lambda model=model: loss_of(model), vectorized=population)
    searches[name] = search, time.perf_counter() - begin
    print(f"{name:15} {search.res.nfev} forward passes, loss {search.res.fun:.5f}")

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained")
left.plot(times, heard, ".", color="0.6", ms=3, label="heard")
with torch.no_grad():
    left.plot(times, local(times), color="C3", linewidth=0.9, label="L-BFGS-B")
    left.plot(times, model(times), color="C0", label="differential evolution")
left.set(xlabel="time (s)", ylabel="amplitude", xlim=(0, 0.6), ylim=(-2, 2.6))
left.legend(fontsize=8, ncols=3, loc="upper center")
for (name, (search, seconds)), colour in zip(searches.items(), ("C3", "C0"), strict=True):
    label = f"{name}: {seconds:.1f} s"
    search.history.plot(right, against="seconds", label=label, color=colour)
right.set_ylabel("best loss of the generation")
right.legend()
plt.show()
