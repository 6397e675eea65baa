"""By hand: torchrun --standalone --nproc-per-node 2 processes/fit.py"""

import json

import torch
import torch.distributed as dist
from torch import nn

from pytorch_minimize import MinimizeWrapper

dist.init_process_group("gloo")
torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)
torch.manual_seed(0)  # the same data and models in each process
inputs = torch.randn(10001, 8)
targets = torch.sin(inputs.sum(1, keepdim=True))


def fit(x, y, **together):
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Linear(8, 40), nn.Tanh(), nn.Linear(40, 40), nn.Tanh(), nn.Linear(40, 1)
    )
    arguments = dict(method="L-BFGS-B", options=dict(maxiter=60))
    optimizer = MinimizeWrapper(model.parameters(), arguments, **together)
    optimizer.step(lambda: nn.functional.mse_loss(model(x), y))
    return {"loss": optimizer.history.to_dict()["loss"], "profile": optimizer.profile.as_dict()}


share = slice(dist.get_rank(), None, dist.get_world_size())
mine = inputs[share], targets[share]
together = fit(*mine, distributed=True, weight=len(mine[0]))  # in every process
if dist.get_rank() == 0:
    print(json.dumps({"alone": fit(inputs, targets), "together": together}))
dist.destroy_process_group()
