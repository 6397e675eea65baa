"""
Micro-batches
=============

A batch whose graph does not fit into memory is summed up in parts: the closure calls ``backward``
for each. The fit is the same, to rounding; what autograd keeps for the backward pass is less.
"""

import copy

import matplotlib.pyplot as plt
import torch
from torch import nn

from pytorch_minimize import MinimizeWrapper

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
inputs = torch.randn(4000, 4)
targets = torch.sin(inputs.sum(1, keepdim=True))
start = nn.Sequential(nn.Linear(4, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 1))


class Kept:
    """Counts the bytes that autograd keeps between forward and backward."""

    def __init__(self):
        self.most = 0

    def around(self):
        now = {}

        def keep(tensor):
            now[tensor.data_ptr()] = tensor.nbytes
            self.most = max(self.most, sum(now.values()))
            return tensor

        return torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)


def fit(parts):
    """The history, and the megabytes kept at most, of a fit whose batch comes in so many parts."""
    model, kept = copy.deepcopy(start), Kept()

    def closure():
        model.zero_grad()
        total = 0.0
        for x, y in zip(inputs.chunk(parts), targets.chunk(parts), strict=True):
            with kept.around():
                loss = (model(x) - y).square().sum() / len(inputs)
            loss.backward()  # frees the graph of this part
            total += loss.detach()
        return total

    optimizer = MinimizeWrapper(
        model.parameters(), dict(method="L-BFGS-B", options=dict(maxiter=40))
    )
    optimizer.step(closure)
    return optimizer.history, kept.most / 1e6


# %%
# Methods with Hessian products take micro-batches as well: ``curvature="replay"`` runs the closure
# for each product, and frees each part's graph again.

fig, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained")
numbers, megabytes = (1, 2, 4, 8, 16), []
for number, width in zip(numbers, (8, 6, 4, 2, 0.7), strict=True):
    history, most = fit(number)
    megabytes.append(most)
    history.plot(left, label=str(number), linewidth=width)
left.legend(title="parts")
right.bar([str(number) for number in numbers], megabytes, color="0.6", edgecolor="k")
right.set(xlabel="parts of the batch", ylabel="kept for the backward pass (MB)")
plt.show()
