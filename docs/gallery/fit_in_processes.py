"""
The script that the page above starts
=====================================

``torchrun --standalone --nproc-per-node 2 fit_in_processes.py`` runs it by hand.
"""

import json

import torch
import torch.distributed as dist
from torch import nn

from pytorch_minimize import MinimizeWrapper

dist.init_process_group("gloo")
torch.manual_seed(0)  # the same model in each process
torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
inputs = torch.randn(10001, 8)
targets = torch.sin(inputs.sum(1, keepdim=True))
share = slice(dist.get_rank(), None, dist.get_world_size())
x, y = inputs[share], targets[share]
model = nn.Sequential(nn.Linear(8, 40), nn.Tanh(), nn.Linear(40, 40), nn.Tanh(), nn.Linear(40, 1))

optimizer = MinimizeWrapper(
    model.parameters(),
    dict(method="L-BFGS-B", options=dict(maxiter=60)),
    distributed=True,
    weight=len(x),
)
optimizer.step(lambda: nn.functional.mse_loss(model(x), y))
if dist.get_rank() == 0:
    history = optimizer.history.to_dict()
    print(json.dumps({"loss": history["loss"], "profile": optimizer.profile.as_dict()}))
dist.destroy_process_group()
