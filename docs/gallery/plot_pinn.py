r"""
A PINN: Adam, then SSBroyden
============================

A physics-informed network for :math:`-u'' = f` on (-1, 1), zero at both ends, with a wave in the
solution and a narrow bump. Adam finds the way down; SSBroyden, a quasi-Newton method with a scaled
full inverse Hessian, finds the digits. Both count closure calls.
"""

import copy
import math

import matplotlib.pyplot as plt
import torch
from torch import nn

from pytorch_minimize import MinimizeWrapper

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)


def exact(x):
    return torch.sin(2 * math.pi * x) * (1 - x**2) + 0.5 * (1 - x**2) * torch.exp(-50 * x**2)


def minus_second_derivative(function, x):
    x = x.detach().requires_grad_()
    (slope,) = torch.autograd.grad(function(x).sum(), x, create_graph=True)
    return -torch.autograd.grad(slope.sum(), x, create_graph=True)[0]


points = torch.linspace(-1, 1, 100).unsqueeze(1)
source = minus_second_derivative(exact, points).detach()
net = nn.Sequential(nn.Linear(1, 20), nn.Tanh(), nn.Linear(20, 20), nn.Tanh(), nn.Linear(20, 1))


def loss_of(net):
    solution = lambda x: (1 - x**2) * net(x)  # noqa: E731  zero at the ends
    return (minus_second_derivative(solution, points) - source).square().mean()


# %%
# 500 steps of Adam, then a copy goes on with Adam and the network itself with SSBroyden.


def adam(net, calls):
    losses, optimizer = [], torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(calls):
        optimizer.zero_grad()
        loss = loss_of(net)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


FIRST, MORE = 500, 1200
start = adam(net, FIRST)
other = copy.deepcopy(net)
onwards = adam(other, MORE)
optimizer = MinimizeWrapper(
    net.parameters(),
    dict(method="SSBroyden", options=dict(maxiter=MORE, gtol=1e-12)),
    max_evaluations=MORE,
)
optimizer.step(lambda: loss_of(net))
optimizer.history

# %%
# The loss, and how far both networks are from the solution.

fig, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained")
left.semilogy(start, color="0.5", label="Adam")
left.semilogy(range(FIRST, FIRST + MORE), onwards, color="C0", label="Adam goes on")
calls = FIRST + optimizer.history.evaluations
left.semilogy(calls, optimizer.history.loss, color="C3", label="SSBroyden")
left.set(xlabel="closure calls", ylabel="mean squared residual")
left.legend()
x = torch.linspace(-1, 1, 400).unsqueeze(1)
with torch.no_grad():
    for model, name, colour in ((other, "Adam", "C0"), (net, "Adam, then SSBroyden", "C3")):
        error = ((1 - x**2) * model(x) - exact(x)).abs()
        right.semilogy(x, error, color=colour, label=name)
right.set(xlabel="x", ylabel="|u - exact|")
right.legend()
plt.show()
