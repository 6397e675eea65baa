"""
float32 against float64
=======================

A solver compares losses. In float32 a loss has seven digits, so that a line search cannot tell
better from worse once an iteration gains less; in float64 the same problem goes on for nine more.
"""

import matplotlib.pyplot as plt
import torch

from pytorch_minimize import MinimizeWrapper

torch.manual_seed(0)
inputs = torch.randn(400, 20, dtype=torch.float64) * torch.logspace(0, -1.5, 20)
labels = (inputs.sum(1) + 0.5 * torch.randn(400) > 0).double()


def fit(dtype, method, **options):
    """Logistic regression with a ridge, from zero."""
    x, y = inputs.to(dtype), labels.to(dtype)
    weight = torch.nn.Parameter(torch.zeros(20, dtype=dtype))

    def loss():
        fit = torch.nn.functional.binary_cross_entropy_with_logits(x @ weight, y)
        return fit + 1e-3 * weight.square().sum()

    optimizer = MinimizeWrapper([weight], dict(method=method, options=options))
    optimizer.step(loss)
    print(f"{dtype} {method:9} nit={optimizer.res.nit:3} {optimizer.res.message}")
    return optimizer


# %%
# The true minimum, by Newton's method in float64, is subtracted from all losses.

exact = fit(torch.float64, "trust-exact", gtol=1e-14)

fig, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained")
for dtype, look in (
    (torch.float32, {"color": "C1", "linewidth": 4, "alpha": 0.7}),
    (torch.float64, {"color": "C0", "linewidth": 1.2}),
):
    for method, line in (("L-BFGS-B", "-"), ("BFGS", "--")):
        tight = dict(ftol=0.0, gtol=1e-9) if method == "L-BFGS-B" else dict(gtol=1e-9)
        optimizer = fit(dtype, method, **tight)
        label = f"{method}, {str(dtype).removeprefix('torch.')}"
        style = look | {"linestyle": line, "label": label, "marker": ""}
        optimizer.history.plot(left, minus=exact.res.fun, **style)
        right.semilogy(optimizer.history.grad_norm, **style)
left.set_ylabel("loss - minimum")
right.set(xlabel="iteration", ylabel="largest |gradient|")
left.axhline(1.2e-7 * exact.res.fun, color="0.6", linestyle=":")
left.text(138, 2e-8 * exact.res.fun, "float32's last digit", fontsize=8, color="0.4", ha="right")
right.legend(fontsize=8, loc="upper right")
plt.show()

# %%
# For a model in float32, ask for less: ``gtol=1e-4``, or ``rtol=1e-6``, which ends a step where the
# loss falls by less than that share of itself over ten iterations.
