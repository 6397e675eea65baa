"""What ranks are given to do with residuals: fits whose rows are shared out among them."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
import torch.distributed as dist
from ranks import answered
from scipy.optimize import OptimizeResult
from torch import Tensor, nn

from pytorch_minimize.bridge.make import make_bridge
from pytorch_minimize.least_squares import make
from pytorch_minimize.least_squares import optimizer as optimizer_module
from pytorch_minimize.optim import LeastSquaresWrapper, MinimizeWrapper
from pytorch_minimize.typing import Array

ROWS = 97


class Ended(NamedTuple):
    """Where a rank is after a step."""

    x: Array
    grad: Array
    loss: float
    res: OptimizeResult
    counts: Mapping[str, int]
    history: Array
    best: Array | None
    covariance: Array | None


def cauchy(z: Array) -> Array:
    """A loss of the user's own: rho and its derivatives."""
    return np.stack([np.log1p(z), 1 / (1 + z), -1 / (1 + z) ** 2])


class Rows:
    """A fit whose residuals are shared out, in rank order: all of them where there is one process.

    Args:
        rank, size: which share, of how many.
        kind: "convex", a line through points in four dimensions; "tanh", a small network;
            "complex", a fit of complex weights; "float32", the network in that dtype.
    """

    def __init__(self, rank: int, size: int, kind: str = "tanh") -> None:
        torch.manual_seed(0)
        dtype = {"float32": torch.float32, "complex": torch.complex128}.get(kind, torch.float64)
        inputs = torch.randn(ROWS, 4, dtype=torch.float64)
        noise = torch.randn(ROWS, dtype=torch.float64)
        targets = (0.5 * inputs.sum(1)).tanh() + 0.3 * (inputs[:, 0] + noise)
        # Shares of unequal size, but in one piece.
        cuts = [0, *(ROWS * (r + 1) // size + 3 * (r % 2) for r in range(size - 1)), ROWS]
        begin, end = (0, ROWS) if size == 1 else cuts[rank : rank + 2]
        self.inputs, self.targets = inputs[begin:end].to(dtype), targets[begin:end].to(dtype)
        layers: list[nn.Module] = [nn.Linear(4, 1)]
        if kind in ("tanh", "float32"):
            layers = [nn.Linear(4, 2), nn.Tanh(), nn.Linear(2, 1)]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Complex modules are a new feature", UserWarning)
            self.model = nn.Sequential(*layers).to(dtype)

    def residuals(self) -> Tensor:
        found: Tensor = self.model(self.inputs).squeeze(-1) - self.targets
        return torch.view_as_real(found) if found.is_complex() else found


def ended(optimizer: LeastSquaresWrapper, loss: Tensor) -> Ended:
    known = optimizer.res.jac is not None
    return Ended(
        optimizer.bridge.flatten_params(),
        optimizer.bridge.flatten_grads(),
        float(loss),
        optimizer.res,
        dict(optimizer.profile.counts),
        optimizer.history.loss,
        None if optimizer._best is None else optimizer._best.x,
        optimizer.covariance().matrix if known else None,
    )


def require_same(answers: list[Any]) -> Ended:
    """The leader's end, if all others have it bit for bit."""
    leaders, *others = answered(answers)
    for other in others:
        for name in ("x", "grad", "best", "history"):
            assert _equal(getattr(leaders, name), getattr(other, name)), name
        assert _equal(leaders.loss, other.loss)
        for name in ("cost", "nit", "nfev", "njev", "status", "success", "message", "optimality"):
            assert _equal(leaders.res.get(name), other.res.get(name)), name
        for name in ("x", "grad", "active_mask"):
            assert _equal(leaders.res[name], other.res[name]), name
        assert other.res.fun is None
        assert other.res.jac is None
    return leaders


def fit(
    rank: int,
    size: int,
    kwargs: Mapping[str, Any],
    kind: str = "tanh",
    keywords: Mapping[str, Any] | None = None,
) -> Ended:
    """One step; without a group where there is one process."""
    rows = Rows(rank, size, kind)
    together = {"distributed": True} if size > 1 else {}
    optimizer = LeastSquaresWrapper(
        rows.model.named_parameters(), kwargs, **{**together, **(keywords or {})}
    )
    return ended(optimizer, optimizer.step(rows.residuals))


def fits(rank: int, size: int, cases: Sequence[tuple[Mapping[str, Any], str]]) -> list[Ended]:
    """Several, one after the other."""
    return [fit(rank, size, kwargs, kind) for kwargs, kind in cases]


def fit_on_tensors(rank: int, size: int, kwargs: Mapping[str, Any]) -> Ended:
    """One step where the solver's vectors are tensors, as they are on a device."""
    device = torch.device("cpu")
    with (
        mock.patch.object(optimizer_module, "device_of", return_value=device),
        mock.patch.object(make, "device_of", return_value=device),
    ):
        return fit(rank, size, kwargs)


def bounded(rank: int, size: int, method: str) -> Ended:
    """Bounds in a group, one of which holds at the end; and a Jacobian of the user's for trf."""
    rows, whole = Rows(rank, size, "convex"), Rows(0, 1, "convex")
    layer = rows.model[0]
    groups = [{"params": [layer.weight], "bounds": (-0.1, 0.25)}, {"params": [layer.bias]}]
    kwargs: dict[str, Any] = {"method": method}
    if method == "trf":
        kwargs["jac"] = lambda x: np.c_[whole.inputs.numpy(), np.ones(ROWS)]
    with torch.no_grad():
        layer.weight.fill_(0.0)
    optimizer = LeastSquaresWrapper(groups, kwargs, **({"distributed": True} if size > 1 else {}))
    return ended(optimizer, optimizer.step(rows.residuals))


def stepping_back(rank: int, size: int, method: str, how: str, at: int = 2) -> Ended:
    """One run gives NaN in the last rank, or raises what ``recover`` names."""
    rows, calls = Rows(rank, size), 0

    def closure() -> Any:
        nonlocal calls
        calls += 1
        if calls == at and rank == size - 1:
            if how == "raised":
                raise torch.linalg.LinAlgError("not positive definite")
            return math.nan if how == "no residuals" else math.nan * rows.residuals()
        return rows.residuals()

    limit = {"maxiter": 6} if method == "torch-gauss-newton-cg" else {"max_nfev": 8}
    keywords: dict[str, Any] = {"recover": torch.linalg.LinAlgError}
    keywords |= {"distributed": True} if size > 1 else {}
    optimizer = LeastSquaresWrapper(rows.model.parameters(), {"method": method} | limit, **keywords)
    return ended(optimizer, optimizer.step(closure))


def resumed(rank: int, size: int, path: str, go_on: bool) -> Ended:
    """A fit with a checkpoint, from what is there already if it is to go on."""
    rows = Rows(rank, size)
    keywords = {"distributed": True} if size > 1 else {}
    optimizer = LeastSquaresWrapper(
        rows.model.parameters(), {"max_nfev": 5}, checkpoint=(path, 0.0), **keywords
    )
    if go_on:
        optimizer.load_state_dict(torch.load(path, weights_only=True))
        optimizer.load_best()
    return ended(optimizer, optimizer.step(rows.residuals))


def called_back(rank: int, size: int) -> tuple[list[Any], Ended]:
    """What the callback sees of cost and gradient; it ends the run, in the leader alone."""
    seen: list[Any] = []
    rows = Rows(rank, size)

    def callback(intermediate_result: OptimizeResult) -> None:
        grads = [p.grad.reshape(-1) for p in rows.model.parameters()]
        seen.append((intermediate_result.cost, torch.cat(grads).numpy().copy()))
        if len(seen) == 4:
            raise StopIteration

    keywords = {"distributed": True} if size > 1 else {}
    optimizer = LeastSquaresWrapper(rows.model.parameters(), {"callback": callback}, **keywords)
    return seen, ended(optimizer, optimizer.step(rows.residuals))


def asked_afterwards(rank: int, size: int) -> tuple[str, str, Array]:
    """What covariance says with a closure and without, and the Jacobian of the rows here."""
    rows = Rows(rank, size, "convex")
    optimizer = LeastSquaresWrapper(rows.model.parameters(), distributed=True)
    optimizer.step(rows.residuals)
    said = []
    for closure in (None, rows.residuals):
        try:
            said.append(str(optimizer.covariance(closure).matrix.shape))
        except (RuntimeError, ValueError) as error:
            said.append(f"{type(error).__name__}: {error}")
    return said[0], said[1], optimizer.jacobian(rows.residuals)


def counted(rank: int, size: int, kwargs: Mapping[str, Any]) -> tuple[dict[str, list[int]], Ended]:
    """The bytes of each of torch's collectives in a step, by name."""
    names = ("broadcast", "reduce", "all_gather", "send", "recv", "all_reduce", "gather", "scatter")
    seen: dict[str, list[int]] = {}
    torchs = {name: getattr(dist, name) for name in names}

    def counting(name: str) -> Callable[..., Any]:
        def collective(*args: Any, **keywords: Any) -> Any:
            tensor = args[1] if name == "all_gather" else args[0]
            seen.setdefault(name, []).append(tensor.nbytes)
            return torchs[name](*args, **keywords)

        return collective

    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(mock.patch.object(dist, name, counting(name)))
        return seen, fit(rank, size, kwargs)


def through_ddp(rank: int, size: int) -> None:
    rows = Rows(rank, size)
    model = nn.parallel.DistributedDataParallel(rows.model)
    optimizer = LeastSquaresWrapper(model.parameters(), distributed=True)
    optimizer.step(lambda: model(rows.inputs).squeeze(-1) - rows.targets)


def of_another_kind(rank: int, size: int) -> None:
    """A sum of losses in all but the leader."""
    rows = Rows(rank, size)
    if rank == 0:
        LeastSquaresWrapper(rows.model.parameters(), distributed=True).step(rows.residuals)
    optimizer = MinimizeWrapper(rows.model.parameters(), distributed=True, reduction="sum")
    optimizer.step(lambda: rows.residuals().square().sum())


def by_losses(rank: int, size: int, methods: Sequence[str], losses: Sequence[str]) -> float:
    """Each rank with a method and a loss of its own."""
    rows = Rows(rank, size)
    kwargs = {"method": methods[rank], "loss": losses[rank], "f_scale": 0.3}
    optimizer = LeastSquaresWrapper(
        rows.model.parameters(), kwargs, distributed=True, max_evaluations=5
    )
    return optimizer.step(rows.residuals).item()


class Fault(Exception):
    """What a rank raises."""


class Left(NamedTuple):
    """How a rank came out of a step in which something happened; see ``fault_cases``.

    Attributes:
        raised, message: the exception, "" for none.
        points: where the closure was called.
        x: where the parameters were left.
        status: of the result, if there is one.
        after: where the next step ended, and its loss.
    """

    raised: str
    message: str
    points: list[Array]
    x: Array
    status: int | None
    after: tuple[list[float], float]


class _Wire(torch.autograd.Function):
    """The identity, which trips where its derivative is taken."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, trip: Callable[[], None]) -> Tensor:
        ctx.trip = trip
        return values.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        ctx.trip()
        return gradient.clone(), None


class _Faulty:
    """A fit, and what happens in it, once, in the closure or in the Jacobian."""

    def __init__(self, rank: int, size: int, kind: str, at: int, kwargs: Mapping[str, Any]) -> None:
        self.kind, self.at, self.calls = kind, at, 0
        self.rows = Rows(rank, size)
        self.points: list[Array] = []
        self.optimizer = LeastSquaresWrapper(
            self.rows.model.parameters(), {**kwargs, "callback": self.called_back}, distributed=True
        )

    def closure(self) -> Tensor:
        self.calls += 1
        self.points.append(self.optimizer.bridge.flatten_params())
        residuals = _Wire.apply(self.rows.residuals(), lambda: self.happen("in the Jacobian"))
        if self.calls == self.at and self.kind == "other rows":
            self.kind = ""
            return residuals[1:]
        self.happen("")
        return residuals

    def called_back(self, x: Array) -> None:
        self.happen("callback")

    def happen(self, where: str) -> None:
        if self.calls < self.at or not self.kind.endswith(where) or not self.kind:
            return
        if not where and (" " in self.kind or self.kind == "callback"):
            return
        kind = self.kind.split()[0]
        if where != "in the Jacobian":  # where rows are tried again one by one
            self.kind = ""
        if kind == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "interrupted":
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1.0)  # it comes before this is over
        raise Fault("of this rank")

    def step(self) -> BaseException | None:
        try:
            self.optimizer.step(self.closure)
        except BaseException as error:
            return error
        return None


def faulty(rank: int, size: int, who: int, kind: str, at: int, kwargs: Mapping[str, Any]) -> Left:
    """A step in which something happens in one rank, and one more in which nothing does."""
    run = _Faulty(rank, size, kind if rank == who else "", at, kwargs)
    error = run.step()
    res, points, x = run.optimizer.res, list(run.points), run.optimizer.bridge.flatten_params()
    loss = math.nan
    if not kind.startswith("killed"):
        run.kind = ""
        loss = float(run.optimizer.step(run.closure))
    return Left(
        type(error).__name__ if error is not None else "",
        str(error),
        points,
        x,
        None if res is None else int(res.status),
        (run.optimizer.bridge.flatten_params().tolist(), loss),
    )


def lowest(points: list[Array]) -> Array:
    """That of the points with the least cost of all rows."""
    whole = Rows(0, 1)
    bridge = make_bridge(whole.model.parameters())

    def cost(x: Array) -> float:
        bridge.load_params(x)
        return whole.residuals().square().sum().item()

    return min(points, key=cost)


def _equal(one: Any, other: Any) -> bool:
    """To the bit; losses that nobody knows are NaN in all."""
    if isinstance(one, str) or one is None:
        return bool(one == other)
    return np.array_equal(one, other, equal_nan=True)
