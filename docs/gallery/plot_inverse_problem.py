r"""
Inverse problem with error bars
===============================

Which conductivity :math:`k(x)` of a rod explains the temperatures that 13 sensors saw while it was
heated? The loss is the negative log posterior: misfit over the sensors' variance, and a prior that
says :math:`\log k` is smooth. Where that is lowest is the estimate, and the inverse of its Hessian
there is its covariance.
"""

import matplotlib.pyplot as plt
import torch

from pytorch_minimize import MinimizeWrapper

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
CELLS, STEPS, STEP, NOISE = 40, 60, 0.25, 0.01
middle = (torch.arange(CELLS) + 0.5) / CELLS


def temperatures(log_k):
    """Implicit Euler steps of the heat equation, the left end being held at 1: (STEPS, CELLS)."""
    k = log_k.exp()
    between = 2 / (1 / k[:-1] + 1 / k[1:])  # a harmonic mean is continuous in the flux
    left = torch.cat([2 * k[:1], between])
    right = torch.cat([between, torch.zeros(1)])
    flow = torch.diag(left + right) - torch.diag(between, 1) - torch.diag(between, -1)
    factors = torch.linalg.lu_factor(torch.eye(CELLS) + STEP * CELLS**2 * flow)
    inflow = torch.zeros(CELLS).index_put((torch.tensor(0),), STEP * CELLS**2 * left[0])
    state, states = torch.zeros(CELLS), []
    for _ in range(STEPS):
        state = torch.linalg.lu_solve(*factors, (state + inflow).unsqueeze(1)).squeeze(1)
        states.append(state)
    return torch.stack(states)


# %%
# Sensors at every third cell see the truth, and noise.

truth = -3.5 + 0.8 * torch.sin(5 * middle) - 0.9 * torch.exp(-(((middle - 0.7) / 0.08) ** 2))
sensors = slice(1, None, 3)
seen = temperatures(truth)[:, sensors]
seen = seen + NOISE * torch.randn_like(seen)

log_k = torch.nn.Parameter(torch.full((CELLS,), -3.0))


def negative_log_posterior():
    misfit = (temperatures(log_k)[:, sensors] - seen) / NOISE
    bends = log_k.diff(n=2) / 0.1
    return (misfit.square().sum() + bends.square().sum()) / 2


optimizer = MinimizeWrapper([log_k], dict(method="BFGS", options=dict(gtol=1e-3)))
optimizer.step(negative_log_posterior)
print(optimizer.res.message, f"nit={optimizer.res.nit}")

# %%
# ``optimizer.hessian`` is a linear operator, by autograd; here it is small enough to be inverted.

hessian = torch.as_tensor(optimizer.hessian(negative_log_posterior) @ torch.eye(CELLS).numpy())
deviation = torch.linalg.inv(hessian).diagonal().sqrt()

estimate = log_k.detach()
fig, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained")
band = (estimate - 2 * deviation).exp(), (estimate + 2 * deviation).exp()
left.fill_between(middle, *band, color="C0", alpha=0.25, label="two standard deviations")
left.plot(middle, estimate.exp(), color="C0", label="estimate")
left.plot(middle, truth.exp(), "k--", linewidth=1, label="truth")
places, low = middle[sensors], torch.full_like(middle[sensors], 0.04)
left.plot(places, low, "k^", ms=4, label="sensors", transform=left.get_xaxis_transform())
left.set(xlabel="place along the rod", ylabel="conductivity", yscale="log")
left.legend(fontsize=8, loc="upper right")
with torch.no_grad():
    fitted = temperatures(log_k)[:, sensors]
times = STEP * torch.arange(1, STEPS + 1)
for number, sensor in enumerate((0, 3, 6, 9, 12)):
    right.plot(times, seen[:, sensor], ".", color=f"C{number}", ms=4)
    place = middle[sensors][sensor]
    right.plot(times, fitted[:, sensor], color=f"C{number}", label=f"at {place:.2f}")
right.set(xlabel="time", ylabel="temperature")
right.legend(fontsize=8)
plt.show()
