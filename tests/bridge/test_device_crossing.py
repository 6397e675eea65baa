"""How vectors cross to a device: in how many transfers and waits, whichever way is chosen."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from emulated import Asked, emulated
from emulated import testing as extension
from tensors import DTYPES, assert_same_bits, random_tensor
from torch import Tensor

from pytorch_minimize.bridge.interface import Bridge
from pytorch_minimize.bridge.make import native_bridge, tensor_bridge
from pytorch_minimize.curvature.operator import make_hessian_operator

LOSS = torch.tensor(0.5)  # where it is, is part of a table
ONCE = ["copies up", "copies down", "waits"]


def params(n: int, dtype: torch.dtype = torch.float32, tensors: int = 3) -> list[Tensor]:
    made = [random_tensor((n,), dtype, seed).requires_grad_() for seed in range(tensors)]
    for param in made:
        param.grad = random_tensor((n,), dtype, 7)
    return made


def evaluated(bridge: Bridge, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    bridge.load_params(x)
    return bridge.flatten_params(), bridge.evaluation(LOSS)[1]


@pytest.mark.parametrize("lanes", [(0,), (0, -1), (0, 1)], ids=["one", "and host", "two"])
@pytest.mark.parametrize("way", ["slab", "direct"])
@pytest.mark.parametrize("reals", [1, 7, 4096, 10_000, 10**9])
def test_every_way_gives_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, way: str, reals: int, lanes: tuple[int, ...]
) -> None:
    expected = native_bridge(params(3001))
    x = random_tensor((expected.numel,), torch.float64, 9).numpy()
    monkeypatch.setenv(f"PYTORCH_MINIMIZE_{way.upper()}", str(reals))
    bridge = emulated(*lanes)(params(3001))
    for found, right in zip(evaluated(bridge, x), evaluated(expected, x), strict=True):
        assert_same_bits(found, right)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_slab_may_begin_anywhere_in_a_tensor(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    expected = native_bridge(params(257, dtype))
    x = random_tensor((expected.numel,), torch.float64, 9).numpy()
    monkeypatch.setenv("PYTORCH_MINIMIZE_SLAB", "11")
    bridge = emulated(0)(params(257, dtype))
    for found, right in zip(evaluated(bridge, x), evaluated(expected, x), strict=True):
        assert_same_bits(found, right)


def test_a_slab_is_a_transfer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTORCH_MINIMIZE_SLAB", "1000")
    bridge = emulated(0)(params(3000, tensors=1))
    x = bridge.flatten_params()
    bridge.evaluation(LOSS)  # the tables are uploaded
    with Asked() as asked:
        bridge.load_params(x)
    assert asked.of("copies up", "scatters", "waits", "host blocks") == [3, 1, 0, 1]
    with Asked() as asked:
        bridge.evaluation(LOSS)
    assert asked.of("copies down", "gathers", "waits", "holds") == [1, 1, 1, 0]


def test_a_small_vector_is_one_transfer_each_way() -> None:
    bridge = emulated(0)(params(50))
    x = bridge.flatten_params()
    bridge.evaluation(LOSS)
    with Asked() as asked:
        bridge.load_params(x)
        bridge.evaluation(LOSS)
    assert asked.of(*ONCE, "gathers", "scatters") == [1, 1, 1, 1, 1]


def test_kernels_may_read_the_hosts_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTORCH_MINIMIZE_DIRECT", "150")
    for n, transfers in ((50, 0), (51, 1)):
        bridge = emulated(0)(params(n))
        x = bridge.flatten_params()
        bridge.evaluation(LOSS)
        with Asked() as asked:
            bridge.load_params(x)
            _, _, finite, _ = bridge.evaluation(LOSS)
        assert asked.of(*ONCE) == [transfers, transfers, 1]
        assert finite is bool(np.isfinite(bridge.flatten_grads()).all())


@pytest.mark.parametrize(
    ("name", "value"), [("SLAB", "0"), ("SLAB", "8 MiB"), ("DIRECT", "-1"), ("DIRECT", "")]
)
def test_a_way_that_is_no_number_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"PYTORCH_MINIMIZE_{name}", value)
    with pytest.raises(ValueError, match=f"^PYTORCH_MINIMIZE_{name} must be a number of reals"):
        emulated(0)(params(3))


def test_a_tail_does_not_double_the_memory() -> None:
    """Pinned memory comes in powers of two, one of which this vector fills."""
    for n, blocks in ((2**16, 2), (2**16 + 2, 1), (2**10, 1)):
        bridge = emulated(0)(params(n, tensors=1))
        bridge.evaluation(LOSS)  # the tables are uploaded
        with Asked() as asked:
            value, gradient, finite, _ = bridge.evaluation(LOSS)
        assert asked.counts["host blocks"] == blocks
        assert asked.counts["copies down"] - 1 == blocks - 1
        assert asked.counts["host bytes"] == 8 * n + 16
        assert value == 0.5
        assert finite is bool(np.isfinite(gradient).all())


def test_rows_are_one_table_one_transfer_and_one_wait() -> None:
    bridge, expected = emulated(0)(params(5)), native_bridge(params(5))
    v = random_tensor((40, bridge.numel), torch.float64, 3).numpy()
    with Asked() as asked:
        stacks = bridge.unflatten_rows(v)
    assert asked.of("copies up", "scatters", "waits") == [2, 1, 0]  # the table, and all rows
    out, right = np.empty_like(v), np.empty_like(v)
    with Asked() as asked:
        finite = bridge.flatten_rows(stacks, out)
    assert asked.of("copies up", "copies down", "gathers", "waits") == [1, 1, 1, 1]
    assert finite is expected.flatten_rows(expected.unflatten_rows(v), right)
    assert_same_bits(out, right)


def test_rows_that_stay_on_the_device_are_one_table_and_one_wait() -> None:
    bridge = tensor_bridge(emulated(0)(params(5)))
    v = torch.randn(40, bridge.numel, dtype=torch.float64)
    with Asked() as asked:
        stacks = bridge.unflatten_rows(v)
        assert bridge.flatten_rows(stacks, torch.empty_like(v))
    assert asked.of(*ONCE, "gathers", "scatters") == [2, 1, 1, 1, 1]


@pytest.mark.parametrize("lanes", [(0,), (0, -1, 1)], ids=["device", "devices and host"])
def test_many_rows_are_slabs_of_memory(lanes: tuple[int, ...]) -> None:
    """Of 8 MiB: no block of all rows is made, which would be kept for good."""
    tensors = [torch.zeros(2**17 + 1), torch.zeros(7, 3), torch.zeros(())]
    bridge, expected = emulated(*lanes)(tensors), native_bridge([t.clone() for t in tensors])
    v = np.random.default_rng(0).standard_normal((17, bridge.numel))
    out, right = np.empty_like(v), np.empty_like(v)
    with Asked() as asked:
        assert bridge.flatten_rows(bridge.unflatten_rows(v), out) is True
    expected.flatten_rows(expected.unflatten_rows(v), right)
    assert np.array_equal(out, right)
    if len(lanes) == 1:
        assert asked.counts["waits"] == 3  # of 7, 7 and 3 rows
        assert asked.counts["host bytes"] < 2 * 8 * v.size + 2**20


def test_rows_do_not_push_out_the_tables_that_come_again() -> None:
    bridge = emulated(0)(params(5))
    x = bridge.flatten_params()
    bridge.evaluation(LOSS)
    v = np.zeros((3, bridge.numel))
    for _ in range(9):
        bridge.unflatten_rows(v)
    with Asked() as asked:
        bridge.load_params(x)
        bridge.evaluation(LOSS)
    assert asked.of("copies up") == [1]


def test_rows_release_the_gil() -> None:
    """Another thread gets on while rows cross."""
    bridge = emulated(0)([torch.zeros(1000)])
    v, going, counted = np.zeros((2000, 1000)), threading.Event(), [0]

    def count() -> None:
        while not going.is_set():
            counted[0] += 1

    thread = threading.Thread(target=count)
    thread.start()
    try:
        before = counted[0]
        bridge.unflatten_rows(v)
        after = counted[0]
    finally:
        going.set()
        thread.join()
    assert after > before


def test_threads_take_turns_on_a_lane() -> None:
    bridge = emulated(0)([torch.zeros(100)])
    v = np.random.default_rng(0).standard_normal((50, 100)).astype(np.float32).astype(float)
    failed: list[int] = []

    def cross(k: int) -> None:
        for _ in range(20):
            out = np.empty_like(v)
            bridge.flatten_rows(bridge.unflatten_rows(v + k), out)
            if not np.array_equal(out, (v + k).astype(np.float32)):
                failed.append(k)

    threads = [threading.Thread(target=cross, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_rows_of_products_are_one_transfer() -> None:
    param = torch.randn(6, dtype=torch.float64, requires_grad=True)
    bridge = emulated(0)([param])
    operator = make_hessian_operator(bridge)
    operator.add([(param**4).sum()], [None])
    with Asked() as asked:
        [stack] = operator.unpack_rows(np.eye(6))
    assert asked.of("copies up", "scatters") == [2, 1]
    assert torch.equal(stack, torch.eye(6, dtype=torch.float64))


def test_a_gradients_block_is_free_when_its_array_is() -> None:
    """Nothing that was queued uses it any more, however long the closure's kernels run."""
    bridge = emulated(0)(params(50))
    x = bridge.flatten_params()
    bridge.load_params(x)
    bridge.evaluation(LOSS)  # the tables are uploaded, by memory that is held
    with Asked() as asked:
        bridge.evaluation(LOSS)
        bridge.flatten_params()
    assert asked.of("holds", "waits") == [0, 2]
    with Asked() as asked:
        bridge.load_params(x)  # its staging is freed with the transfer under way
    assert asked.counts["holds"] == 1


@pytest.mark.parametrize("n", [50, 2**16], ids=["tail beside", "tail apart"])
def test_what_nobody_waited_for_is_held(n: int) -> None:
    """A copy may be under way into memory that is freed with the error."""
    bridge = emulated(0)(params(n, tensors=1))
    bridge.evaluation(LOSS)
    extension().fail_next_wait()
    with Asked() as asked, pytest.raises(RuntimeError, match="the emulated device is lost"):
        bridge.evaluation(LOSS)
    assert asked.counts["holds"] == (1 if n == 50 else 2)
    value, gradient, _, _ = bridge.evaluation(LOSS)
    assert value == 0.5
    assert_same_bits(gradient, bridge.flatten_grads())


def test_a_lane_of_empty_tensors_copies_nothing() -> None:
    tensors = [torch.zeros(0), torch.arange(3.0)]
    bridge = emulated(0, 1)(tensors)
    bridge.flatten_params()
    with Asked() as asked:
        bridge.load_params(np.ones(3))
    assert asked.counts["copies up"] == 1
    assert tensors[1].tolist() == [1.0] * 3
