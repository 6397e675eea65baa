"""What is refused before processes talk, and what an optimizer with a group can be kept in."""

from __future__ import annotations

import copy
import pickle
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn

from pytorch_minimize.distributed.checksum import checksums
from pytorch_minimize.distributed.group import Group
from pytorch_minimize.distributed.memory import Memory
from pytorch_minimize.optim import MinimizeWrapper
from pytorch_minimize.record.profile import Profile


@pytest.fixture
def alone() -> Iterator[None]:
    """A group of this process."""
    with tempfile.TemporaryDirectory() as folder:
        where = f"file://{Path(folder, 'store')}"
        dist.init_process_group("gloo", init_method=where, rank=0, world_size=1)
        yield
        dist.destroy_process_group()


def optimizer(**keywords: Any) -> tuple[nn.Parameter, MinimizeWrapper]:
    x = nn.Parameter(torch.tensor([3.0, -1.0], dtype=torch.float64))
    return x, MinimizeWrapper([x], {"method": "BFGS"}, **keywords)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"distributed": 2}, "distributed: expected True, False or a ProcessGroup"),
        ({"weight": 0}, "weight: expected a positive number, got 0"),
        ({"weight": float("inf")}, "weight: expected a positive number"),
        ({"reduction": "max"}, 'reduction: expected "mean" or "sum"'),
        ({"distributed_start": "first"}, 'distributed_start: expected "same" or "leader"'),
    ],
)
def test_keywords_that_are_refused(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        optimizer(**keywords)


def test_without_a_group() -> None:
    x, minimize = optimizer(distributed=True)
    with pytest.raises(RuntimeError, match=r"call torch\.distributed\.init_process_group|Call"):
        minimize.step(lambda: x.square().sum())


@pytest.mark.usefixtures("alone")
def test_a_group_of_one_is_a_run_as_ever() -> None:
    x, minimize = optimizer(distributed=True, weight=7.0)
    y, plain = optimizer()
    loss = minimize.step(lambda: (x**4).sum())
    assert loss == plain.step(lambda: (y**4).sum())
    assert torch.equal(x, y)
    assert torch.equal(x.grad, y.grad)
    assert minimize.res.nfev == plain.res.nfev
    assert minimize.profile.counts["reduce"] == minimize.res.nfev


@pytest.mark.usefixtures("alone")
def test_copies_and_states_hold_no_group() -> None:
    x, minimize = optimizer(distributed=dist.group.WORLD, weight=2.0)
    minimize.step(lambda: x.square().sum())
    for made in (copy.deepcopy(minimize), pickle.loads(pickle.dumps(minimize))):
        (param,) = made.param_groups[0]["params"]
        assert made.step(lambda param=param: (param - 1).square().sum()) < 1e-12
    saved = minimize.state_dict()["run"]["settings"]
    assert saved["reduction"] == "mean"
    assert not {"distributed", "weight"} & saved.keys()


@pytest.mark.usefixtures("alone")
def test_hessian_is_refused() -> None:
    x, minimize = optimizer(distributed=True)
    with pytest.raises(ValueError, match="hessian: with distributed it would be that of"):
        minimize.hessian(lambda: x.square().sum())


@pytest.mark.parametrize(
    ("backends", "device"),
    [
        ("cpu:gloo,cuda:gloo", "cpu"),
        ("cpu:gloo,cuda:nccl", "cuda"),
        ("cuda:nccl", "cuda"),
        ("cpu:mpi,cuda:mpi", "cpu"),
    ],
)
@pytest.mark.usefixtures("alone")
def test_vectors_stay_on_a_card_that_the_group_reaches(
    monkeypatch: pytest.MonkeyPatch, backends: str, device: str
) -> None:
    monkeypatch.setattr(dist, "get_backend_config", lambda group: backends)

    class OnCard:
        device = torch.device("cuda", 0)

    group = Group(True, [OnCard(), OnCard()], Profile())  # type: ignore[list-item]
    assert group.device.type == device
    mixed = [OnCard(), torch.zeros(1)]
    if "cpu" in backends:
        assert Group(True, mixed, Profile()).device.type == "cpu"  # type: ignore[arg-type]


def test_checksums_tell_parts_apart() -> None:
    x = np.random.default_rng(0).standard_normal(1000)
    sizes = [600, 0, 400]
    before = checksums(x, sizes)
    assert np.array_equal(before, checksums(x.copy(), sizes))
    for position in (0, 599, 600, 999):
        changed = x.copy()
        changed[position] = np.nextafter(changed[position], np.inf)
        differ = checksums(changed, sizes) != before
        assert differ.tolist() == [position < 600, False, position >= 600]
    swapped = x.copy()
    swapped[[3, 4]] = x[[4, 3]]
    assert checksums(swapped, sizes)[0] != before[0]
    negated = np.zeros(5)
    negated[2] = -0.0
    assert checksums(negated, [5]) != checksums(np.zeros(5), [5])


def test_memory_comes_back_when_nobody_holds_a_part_of_it() -> None:
    class Host:
        empty = staticmethod(torch.empty)

    memory = Memory(Host(), [])  # type: ignore[arg-type]
    first, second = memory.take(9), memory.take(9)
    assert first is not second
    array = first[:-1].numpy()
    memory.lend(first, array)
    parts = [array[2:], array.view(), array.reshape(2, 4), np.asarray(array)]
    del array
    for _ in range(4):
        assert memory.take(9) is not first
        del parts[0]
    assert memory.take(8) is not first
    assert memory.take(9) is first
