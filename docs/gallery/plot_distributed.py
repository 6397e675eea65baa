"""
One fit in two processes
========================

Each process has the model and a share of the data; all of them make one fit. This page starts
``processes/fit.py``, which lies beside it, in two processes, as ``torchrun`` would, and draws
what came of it.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
who = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
processes = [
    subprocess.Popen(
        [sys.executable, "processes/fit.py"],
        env=os.environ | who | {"RANK": str(rank)},
        stdout=subprocess.PIPE,
        text=True,
    )
    for rank in range(2)
]
printed = [process.communicate(timeout=120)[0] for process in processes]
runs = json.loads(printed[0])

# %%
# The script itself. ``weight`` is the number of rows, for the shares are of 5001 and 5000.

print(Path("processes/fit.py").read_text())

# %%
# The same losses, but for rounding; and where the time of the first process went. What it waits for
# the other is communication.

fig, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6), layout="constrained")
left.semilogy(runs["alone"]["loss"], color="0.7", linewidth=5, label="one process")
left.semilogy(runs["together"]["loss"], color="C0", label="two processes")
left.set(xlabel="iteration", ylabel="loss")
left.legend()
bottoms = [0.0, 0.0]
for part in ("closure", "communication", "bridge", "solver"):
    heights = [run["profile"][part] for run in (runs["alone"], runs["together"])]
    right.bar(["one process", "two processes"], heights, bottom=bottoms, label=part, width=0.6)
    bottoms = [bottom + height for bottom, height in zip(bottoms, heights, strict=True)]
right.set(ylabel="time of the fit (s)", ylim=(0, 1.3 * max(bottoms)))
right.legend(ncols=2, loc="upper center")
plt.show()
