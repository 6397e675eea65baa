r"""
A constraint on a norm
======================

Rosenbrock's valley has its minimum at (1, 1), outside of :math:`\lVert x \rVert \le 1`. A
``ClosureConstraint`` is a function of the model, like the closure; its gradient is autograd's.
Three methods go from one start to the lowest point of the disc, which lies on its border.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

from pytorch_minimize import ClosureConstraint, MinimizeWrapper

RADIUS, START = 1.0, (-0.8, 0.5)


def rosenbrock(x, y):
    return 0.01 * (1 - x) ** 2 + (y - x**2) ** 2  # SLSQP's first step is as long as the gradient


def path(method):
    """Where the iterates are, and the optimizer."""
    x = torch.nn.Parameter(torch.tensor(START, dtype=torch.float64))
    inside = ClosureConstraint(lambda: x.square().sum(), -np.inf, RADIUS**2)
    iterates = [START]

    def follow(xk, *state):
        iterates.append(tuple(xk))

    arguments = dict(method=method, constraints=inside, callback=follow)
    optimizer = MinimizeWrapper([x], arguments)
    optimizer.step(lambda: rosenbrock(*x))
    return np.array(iterates), optimizer


# %%
fig, ax = plt.subplots(figsize=(5.8, 5.2), layout="constrained")
side = np.linspace(-1.3, 1.3, 200)
surface = rosenbrock(*np.meshgrid(side, side))
filled = ax.contourf(side, side, np.log10(surface), 20, cmap="Greys", alpha=0.8)
fig.colorbar(filled, ax=ax, label="log10(loss)", shrink=0.8)
ax.add_patch(plt.Circle((0, 0), RADIUS, fill=False, linewidth=2, color="C2", label="norm 1"))
for method, style in (("SLSQP", "C0o-"), ("trust-constr", "C1s-"), ("COBYQA", "C3^-")):
    iterates, optimizer = path(method)
    label = f"{method}: {optimizer.res.nfev} evaluations, loss {optimizer.res.fun:.5f}"
    ax.plot(*iterates.T, style, ms=4, linewidth=1.2, label=label)
    print(f"{method:13} norm {np.linalg.norm(optimizer.res.x):.9f}  {optimizer.res.message}")
ax.plot(*START, "k*", ms=12, label="start")
ax.set(xlabel="$x_0$", ylabel="$x_1$", xlim=(-1.3, 1.3), ylim=(-1.3, 1.3), aspect="equal")
fig.legend(loc="outside lower center", ncols=2, fontsize=8)
plt.show()
