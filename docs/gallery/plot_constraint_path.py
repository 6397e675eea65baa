r"""
A constraint on a norm
======================

Himmelblau's function has four minima, all outside of :math:`\lVert x \rVert \le 2`. A
``ClosureConstraint`` is a function of the model, like the closure; its gradient is autograd's. Three
methods go from the same start to the border.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch

from pytorch_minimize import ClosureConstraint, MinimizeWrapper

RADIUS, START = 2.0, (-0.4, -1.2)


def himmelblau(x, y):
    return (x**2 + y - 11) ** 2 + (x + y**2 - 7) ** 2


def path(method):
    """Where the iterates are, and the optimizer."""
    x = torch.nn.Parameter(torch.tensor(START, dtype=torch.float64))
    inside = ClosureConstraint(lambda: x.square().sum(), -np.inf, RADIUS**2)
    iterates = [START]

    def follow(xk, *state):
        iterates.append(tuple(xk))

    arguments = dict(method=method, constraints=inside, callback=follow)
    optimizer = MinimizeWrapper([x], arguments)
    optimizer.step(lambda: himmelblau(*x))
    return np.array(iterates), optimizer


# %%
fig, ax = plt.subplots(figsize=(5.8, 5.2), layout="constrained")
side = np.linspace(-4.5, 4.5, 200)
surface = himmelblau(*np.meshgrid(side, side))
filled = ax.contourf(side, side, np.log10(surface + 1), 20, cmap="Greys", alpha=0.8)
fig.colorbar(filled, ax=ax, label="log10(loss + 1)", shrink=0.8)
ax.add_patch(plt.Circle((0, 0), RADIUS, fill=False, linewidth=2, color="C2", label="norm 2"))
for method, style in (("SLSQP", "C0o-"), ("trust-constr", "C1s-"), ("COBYQA", "C3^-")):
    iterates, optimizer = path(method)
    label = f"{method}: {optimizer.res.nfev} evaluations, loss {optimizer.res.fun:.3f}"
    ax.plot(*iterates.T, style, ms=4, linewidth=1.2, label=label)
    print(f"{method:13} norm {np.linalg.norm(optimizer.res.x):.9f}  {optimizer.res.message}")
ax.plot(*START, "k*", ms=12, label="start")
ax.set(xlabel="$x_0$", ylabel="$x_1$", xlim=(-4.5, 4.5), ylim=(-4.5, 4.5), aspect="equal")
ax.legend(fontsize=8, loc="lower left")
plt.show()
