"""
Spectrum of the Hessian
=======================

``optimizer.hessian(closure)`` is a linear operator of scipy: Hessian products by autograd, never
the matrix. Its ends come from ``eigsh``; of a small model all of it can be had.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy.sparse.linalg import eigsh
from torch import nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from pytorch_minimize import MinimizeWrapper

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
angle = torch.pi * torch.rand(300)
moon = torch.arange(300) % 2
inputs = torch.stack(
    [torch.cos(angle + torch.pi * moon) + moon, torch.sin(angle + torch.pi * moon) + 0.5 * moon], 1
) + 0.12 * torch.randn(300, 2)
model = nn.Sequential(nn.Linear(2, 10), nn.Tanh(), nn.Linear(10, 10), nn.Tanh(), nn.Linear(10, 2))


def closure():
    decay = sum(p.square().sum() for p in model.parameters())
    return nn.functional.cross_entropy(model(inputs), moon) + 1e-4 * decay


optimizer = MinimizeWrapper(model.parameters(), dict(method="L-BFGS-B"), rtol=1e-8)
optimizer.step(closure)
hessian = optimizer.hessian(closure)
print(hessian.shape, optimizer.res.fun)

# %%
# Three at each end by Lanczos' method, and all of them.

largest, stiff = eigsh(hessian, k=3, which="LA")
print("largest", largest[::-1].round(4))
everything, vectors = np.linalg.eigh(hessian @ np.eye(hessian.shape[0]))
print("negative:", int((everything < 0).sum()), "of", len(everything))

# %%
# The loss along the stiffest direction and a soft one.

fig, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained")
left.semilogy(np.sort(np.abs(everything))[::-1], ".-", color="C0", label="|eigenvalue|")
left.axhline(2e-4, color="0.5", linestyle="--", label="weight decay")
left.set(xlabel="number", ylabel="curvature")
left.legend()
solution = parameters_to_vector(model.parameters()).detach()
lengths = np.linspace(-1.5, 1.5, 61)
for name, direction in (("stiffest", stiff[:, -1]), ("median", vectors[:, len(vectors) // 2])):
    losses = []
    for length in lengths:
        vector_to_parameters(solution + length * torch.as_tensor(direction), model.parameters())
        losses.append(closure().item())
    right.semilogy(lengths, losses, label=name)
vector_to_parameters(solution, model.parameters())
right.set(xlabel="distance along the eigenvector", ylabel="loss")
right.legend()
plt.show()
