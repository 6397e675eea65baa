"""scipy.optimize as a drop-in torch.optim.Optimizer."""

from pytorch_minimize import _bridge as _bridge  # refuses a missing or stale extension

__version__ = "0.1.0"
