"""What ranks are given to do: fits whose data are shared out among them, and what came of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from ranks import answered
from scipy.optimize import OptimizeResult
from torch import Tensor, nn

from pytorch_minimize import optim
from pytorch_minimize.typing import Array

ROWS = 61


class Ended(NamedTuple):
    """Where a rank is after a step."""

    x: Array
    grad: Array
    loss: float
    res: OptimizeResult
    counts: Mapping[str, int]
    history: Array
    best: Array


class Shared:
    """A fit whose rows are shared out: all of them where there is one process.

    Args:
        rank, size: which share, of how many.
        kind: "convex", a logistic regression; "tanh", a small network; "complex", a fit of complex
            weights; "float32", the network in that dtype.
    """

    def __init__(self, rank: int, size: int, kind: str = "tanh") -> None:
        torch.manual_seed(0)
        self.kind = kind
        dtype = {"float32": torch.float32, "complex": torch.complex128}.get(kind, torch.float64)
        inputs = torch.randn(ROWS, 4, dtype=torch.float64)
        targets = (inputs.sum(1) + 0.3 * torch.randn(ROWS, dtype=torch.float64)).sign()
        # Shares of unequal size, but in one piece.
        cuts = [0, *(ROWS * (r + 1) // size + 3 * (r % 2) for r in range(size - 1)), ROWS]
        begin, end = (0, ROWS) if size == 1 else cuts[rank : rank + 2]
        self.inputs, self.targets = inputs[begin:end].to(dtype), targets[begin:end].to(dtype)
        layers: list[nn.Module] = [nn.Linear(4, 1)]
        if kind in ("tanh", "float32"):
            layers = [nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1)]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Complex modules are a new feature", UserWarning)
            self.model = nn.Sequential(*layers).to(dtype)
        self.weight = end - begin

    def losses(self, model: nn.Module | None = None) -> Tensor:
        """One a row."""
        out = (self.model if model is None else model)(self.inputs).squeeze(-1)
        if self.kind == "convex":
            decay = 0.05 * sum(p.square().sum() for p in self.model.parameters())
            return nn.functional.softplus(-self.targets * out) + decay
        losses: Tensor = (out - self.targets).abs().square()
        return losses

    def loss(self) -> Tensor:
        return self.losses().mean()


def ended(optimizer: Any, loss: Tensor) -> Ended:
    return Ended(
        optimizer.bridge.flatten_params(),
        optimizer.bridge.flatten_grads(),
        float(loss),
        optimizer.res,
        dict(optimizer.profile.counts),
        optimizer.history.loss,
        optimizer._best.x,
    )


def require_same(answers: list[Any]) -> Ended:
    """The leader's end, if all others have it bit for bit."""
    leaders, *others = answered(answers)
    for other in others:
        assert np.array_equal(leaders.x, other.x)
        assert np.array_equal(leaders.grad, other.grad)
        assert np.array_equal(leaders.best, other.best)
        assert np.array_equal(leaders.history, other.history)
        assert leaders.loss == other.loss
        for name in ("fun", "nit", "nfev", "status", "success", "message", "nonfinite"):
            assert leaders.res.get(name) == other.res.get(name)
        assert np.array_equal(leaders.res.x, other.res.x)
    return leaders


def fit(
    rank: int,
    size: int,
    args: Mapping[str, Any],
    kind: str = "tanh",
    keywords: Mapping[str, Any] | None = None,
) -> Ended:
    """One step of ``MinimizeWrapper``; without a group where there is one process."""
    shared = Shared(rank, size, kind)
    together = {"distributed": True, "weight": shared.weight} if size > 1 else {}
    optimizer = optim.MinimizeWrapper(
        shared.model.named_parameters(), args, **{**together, **(keywords or {})}
    )
    return ended(optimizer, optimizer.step(shared.loss))


def fits(rank: int, size: int, cases: list[tuple[dict[str, Any], str]]) -> list[Ended]:
    """Several, one after the other."""
    return [fit(rank, size, args, kind) for args, kind in cases]


def searched(rank: int, size: int, name: str, vectorized: bool = False) -> Ended:
    """A step of one of the global optimisers, on Rastrigin's function by shares."""
    x = nn.Parameter(torch.tensor([0.6, -1.3], dtype=torch.float64))
    # The sum over all shares is the whole.
    part = 1.0 if size == 1 else (rank + 1) / sum(range(1, size + 1))

    def rastrigin(x: Tensor) -> Tensor:
        waves = 10 - 10 * torch.cos(2 * torch.pi * x)
        return (part * x.square() + (waves / size if size > 1 else waves)).sum(-1)

    keywords: dict[str, Any] = {"rng": 0}
    together = {"distributed": True, "reduction": "sum"} if size > 1 else {}
    if name == "BasinHoppingWrapper":
        optimizer: Any = optim.BasinHoppingWrapper([x], {}, keywords | {"niter": 4}, **together)
    else:
        keywords |= {"bounds": [(-3.0, 3.0)] * 2, "maxiter": 5}
        optimizer = optim.DifferentialEvolutionWrapper([x], keywords, **together)
    many = {"vectorized": lambda xs: rastrigin(xs[0])} if vectorized else {}
    return ended(optimizer, optimizer.step(lambda: rastrigin(x), **many))


def constrained(rank: int, size: int, method: str) -> Ended:
    shared = Shared(rank, size, "convex")
    weight = shared.model[0].weight
    ball = optim.ClosureConstraint(lambda: weight.square().sum(), ub=0.3)
    args = {"method": method, "constraints": [ball], "options": {"maxiter": 10}}
    groups = [{"params": [weight], "bounds": (-0.6, 0.6)}, {"params": [shared.model[0].bias]}]
    keywords = {"distributed": True, "weight": shared.weight} if size > 1 else {}
    optimizer = optim.MinimizeWrapper(groups, args, **keywords)
    return ended(optimizer, optimizer.step(shared.loss))


def counted(rank: int, size: int, layers: int, method: str) -> tuple[dict[str, list[int]], Ended]:
    """The bytes of each of torch's collectives in a step, by name."""
    seen: dict[str, list[int]] = {"broadcast": [], "reduce": [], "all_gather": []}
    names = {name: getattr(dist, name) for name in dir(dist) if callable(getattr(dist, name))}
    moving = [n for n in ("all_reduce", "send", "recv", "barrier", "scatter") if n in names]

    def counting(name: str) -> Callable[..., Any]:
        def collective(*args: Any, **keywords: Any) -> Any:
            tensor = args[1] if name == "all_gather" else args[0]
            seen.setdefault(name, []).append(tensor.nbytes)
            return names[name](*args, **keywords)

        return collective

    torch.manual_seed(0)
    model = nn.Sequential(*[nn.Linear(2, 2) for _ in range(layers)]).double()
    keywords = {"distributed": True}
    args = {"method": method, "options": {"maxiter": 5}}
    optimizer = optim.MinimizeWrapper(model.parameters(), args, **keywords)
    try:
        for name in [*seen, *moving]:
            setattr(dist, name, counting(name))
        loss = optimizer.step(lambda: (model(torch.ones(2).double()) - rank).square().sum())
    finally:
        for name in [*seen, *moving]:
            setattr(dist, name, names[name])
    return seen, ended(optimizer, loss)


def micro_batches(rank: int, size: int) -> Ended:
    """The gradient is accumulated over one micro-batch, or over three."""
    shared = Shared(rank, size)
    count = 3 if rank == 1 else 1

    def closure() -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for losses in shared.losses().tensor_split(count):
            part = losses.sum() / shared.weight
            part.backward(retain_graph=True)
            total += part.detach()
        return total

    optimizer = optim.MinimizeWrapper(
        shared.model.parameters(),
        {"method": "trust-ncg", "options": {"maxiter": 5}},
        distributed=True,
        weight=shared.weight,
    )
    return ended(optimizer, optimizer.step(closure))


def called_back(rank: int, size: int) -> tuple[list[Any], Ended]:
    """What the user's callback sees of the parameters' gradients; in the leader alone."""
    seen: list[Any] = []
    shared = Shared(rank, size, "float32")

    def callback(intermediate_result: OptimizeResult) -> None:
        grads = [p.grad for p in shared.model.parameters()]
        seen.append((intermediate_result.fun, torch.cat([g.reshape(-1) for g in grads]).numpy()))

    keywords = {"distributed": True, "weight": shared.weight} if size > 1 else {}
    args = {"method": "trust-ncg", "callback": callback, "options": {"maxiter": 4}}
    optimizer = optim.MinimizeWrapper(shared.model.parameters(), args, **keywords)
    return seen, ended(optimizer, optimizer.step(shared.loss))


def recovering(rank: int, size: int) -> Ended:
    """The third and fourth run raise what ``recover`` names, in one rank each."""
    shared, calls = Shared(rank, size), 0

    def closure() -> Tensor:
        nonlocal calls
        calls += 1
        if calls in (3, 4) and (size == 1 or rank == calls - 3):
            raise torch.linalg.LinAlgError("not positive definite")
        return shared.loss()

    keywords = {"distributed": True, "weight": shared.weight} if size > 1 else {}
    args = {"method": "L-BFGS-B", "options": {"maxiter": 6}}
    recover = torch.linalg.LinAlgError
    optimizer = optim.MinimizeWrapper(shared.model.parameters(), args, recover=recover, **keywords)
    return ended(optimizer, optimizer.step(closure))


def started(rank: int, size: int, start: str) -> Ended:
    """From parameters that are others in each rank."""
    shared = Shared(rank, size)
    with torch.no_grad():
        shared.model[2].weight[0, 1] += 0.25 * rank
    args = {"method": "BFGS", "options": {"maxiter": 5}}
    optimizer = optim.MinimizeWrapper(
        shared.model.named_parameters(), args, distributed=True, distributed_start=start
    )
    return ended(optimizer, optimizer.step(shared.loss))


def of_other_kinds(rank: int, size: int, what: str) -> Ended:
    """Optimizers that are not the same in each rank."""
    shared = Shared(rank, size)
    params = list(shared.model.parameters())
    keywords: dict[str, Any] = {"distributed": True}
    args: dict[str, Any] = {"method": "BFGS"}
    if rank == 1 and what == "numbers":
        params = params[1:]
    elif rank == 1 and what == "shapes":
        params = params[::-1]
    elif rank == 1 and what == "reductions":
        keywords["reduction"] = "sum"
    elif rank == 1 and what == "a start of NaN":
        params[0].data.fill_(torch.nan)
    elif rank == 1 and what == "bounds":
        params[0].requires_grad_(False)
    optimizer = optim.MinimizeWrapper(params, args, **keywords)
    return ended(optimizer, optimizer.step(shared.loss))


def resumed(rank: int, size: int, path: str, iterations: int, go_on: bool) -> Ended:
    """A fit with a checkpoint, from what is there already if it is to go on."""
    shared = Shared(rank, size)
    keywords = {"distributed": True, "weight": shared.weight} if size > 1 else {}
    args = {"method": "L-BFGS-B", "options": {"maxiter": iterations}}
    optimizer = optim.MinimizeWrapper(
        shared.model.parameters(), args, checkpoint=(path, 0.0), **keywords
    )
    if go_on:
        optimizer.load_state_dict(torch.load(path, weights_only=True))
        optimizer.load_best()
    return ended(optimizer, optimizer.step(shared.loss))


def subgroup(rank: int, size: int) -> Ended | None:
    """Of the last two of the ranks, whatever the others do."""
    members = [size - 2, size - 1]
    group = dist.new_group(members)
    if rank not in members:
        return None
    shared = Shared(members.index(rank), 2)
    args = {"method": "BFGS", "options": {"maxiter": 5}}
    optimizer = optim.MinimizeWrapper(
        shared.model.parameters(), args, distributed=group, weight=shared.weight
    )
    return ended(optimizer, optimizer.step(shared.loss))


def profiled(rank: int, size: int) -> tuple[dict[str, float], float]:
    """Seconds by part, and in all."""
    shared = Shared(rank, size)
    args = {"method": "trust-ncg", "options": {"maxiter": 5}}
    optimizer = optim.MinimizeWrapper(shared.model.parameters(), args, distributed=True)
    optimizer.step(shared.loss)
    record = optimizer.profile.as_dict()
    total = record.pop("total")
    record.pop("counts")
    return record, total


def saved(rank: int, size: int) -> dict[str, Any]:
    """The state after a step that does not end at its best point."""
    x = nn.Parameter(torch.tensor([3.0, -1.0], dtype=torch.float64))
    args = {"method": "SLSQP", "options": {"maxiter": 3}}
    constraint = optim.ClosureConstraint(lambda: x.sum(), lb=1.0)
    optimizer = optim.MinimizeWrapper([x], args | {"constraints": constraint}, distributed=True)
    optimizer.step(lambda: ((x - rank) ** 4).sum())
    state = optimizer.state_dict()
    for entry in state["state"].values():
        entry["best"] = entry["best"].numpy()
    return state
