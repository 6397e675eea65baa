"""The bridge on a card: the same bits as on the host, in the order of its streams."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from profiled import profiler
from tensors import DTYPES, GRAD_LAYOUTS, PARAM_LAYOUTS, assert_same_bits, random_tensor
from torch import Tensor

from pytorch_minimize import _C
from pytorch_minimize.bridge.make import tensor_bridge
from pytorch_minimize.bridge.python import PythonBridge

pytestmark = pytest.mark.gpu

CARD = torch.device("cuda")
SHAPES = [(), (0,), (1,), (7,), (4096,), (4097,), (3, 5), (2, 3, 4, 5), (61, 67, 3)]


def pair(
    shape: tuple[int, ...], dtype: torch.dtype, layout: str, grad: str, device: torch.device = CARD
) -> tuple[Tensor, Tensor]:
    """A parameter on the host and its like on a device, with gradients."""
    value, gradient = random_tensor(shape, dtype, 1), random_tensor(shape, dtype, 2)
    made = []
    for place in (torch.device("cpu"), device):
        param = PARAM_LAYOUTS[layout](value.to(place)).requires_grad_()
        param.grad = GRAD_LAYOUTS[grad](gradient.to(place))
        made.append(param)
    return made[0], made[1]


def assert_alike(host: list[Tensor], card: list[Tensor]) -> None:
    """Both bridges of the tensors on the card do what the one on the host does."""
    expected = _C.ParameterBridge(host)
    for bridge in (_C.ParameterBridge(card), PythonBridge(card)):
        assert_same_bits(bridge.flatten_params(), expected.flatten_params())
        assert_same_bits(bridge.flatten_grads(), expected.flatten_grads())
        assert bridge.gradient()[1] is expected.gradient()[1]
    x = random_tensor((expected.numel,), torch.float64, 3).numpy()
    expected.load_params(x)
    expected.load_grads(x)
    for bridge in (_C.ParameterBridge(card), PythonBridge(card)):
        bridge.load_params(np.zeros_like(x))
        bridge.load_params(x)
        assert_same_bits(bridge.flatten_params(), expected.flatten_params())
        assert_same_bits(bridge.flatten(bridge.unflatten(x)), expected.flatten_params())
        bridge.load_grads(x)
        assert_same_bits(bridge.flatten_grads(), expected.flatten_params())
    if len({param.device for param in card}) == 1:
        assert_tensors_alike(host, card)


def assert_tensors_alike(host: list[Tensor], card: list[Tensor]) -> None:
    """The same where vectors stay on the card."""
    expected, x = _C.ParameterBridge(host), random_tensor((count_of(host),), torch.float64, 4)
    expected.load_params(x.numpy())
    for bridge in map(tensor_bridge, (_C.ParameterBridge(card), PythonBridge(card))):
        bridge.load_params(torch.zeros_like(x, device=CARD))
        bridge.load_params(x.to(CARD))
        assert_same_bits(bridge.flatten_params().cpu().numpy(), expected.flatten_params())
        gradient, finite = bridge.gradient()
        assert gradient.device == card[0].device
        assert_same_bits(gradient.cpu().numpy(), expected.flatten_grads())
        assert finite is bool(gradient.isfinite().all())
        loads = bridge.unflatten(x.to(CARD))
        assert_same_bits(bridge.flatten(loads).cpu().numpy(), expected.flatten_params())


def count_of(tensors: list[Tensor]) -> int:
    return sum(tensor.numel() * (2 if tensor.is_complex() else 1) for tensor in tensors)


@pytest.mark.filterwarnings("ignore:Sparse C.. tensor support is in beta:UserWarning")
@pytest.mark.parametrize("layout", PARAM_LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_and_stride(dtype: torch.dtype, layout: str) -> None:
    for grad in GRAD_LAYOUTS:
        pairs = [pair(shape, dtype, layout, grad) for shape in SHAPES]
        assert_alike([host for host, _ in pairs], [card for _, card in pairs])


def test_everything_at_once() -> None:
    cases = itertools.product(SHAPES[:5], DTYPES, PARAM_LAYOUTS, ("contiguous", "none"))
    pairs = [pair(*case) for case in cases]
    assert_alike([host for host, _ in pairs], [card for _, card in pairs])


def test_host_and_card_mixed() -> None:
    pairs = [pair((n, 3), dtype, "permuted", "stepped") for n in (1, 50, 999) for dtype in DTYPES]
    hosts = [host for host, _ in pairs]
    mixed = [p[i % 3 != 0] for i, p in enumerate(pairs)]
    copies = [host.detach().clone() for host in hosts]
    for copy, host in zip(copies, hosts, strict=True):
        copy.grad = host.grad
    mixed = [c if m is h else m for c, m, h in zip(copies, mixed, hosts, strict=True)]
    assert_alike(hosts, mixed)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one CUDA card or none")
def test_several_cards() -> None:
    cards = [torch.device("cuda", i) for i in range(torch.cuda.device_count())]
    pairs = [
        pair((n,), dtype, "contiguous", "contiguous", cards[i % len(cards)])
        for i, (n, dtype) in enumerate(itertools.product((1, 4097, 10_000), DTYPES))
    ]
    assert_alike([host for host, _ in pairs], [card for _, card in pairs])
    bridge = _C.ParameterBridge([card for _, card in pairs])
    loss = torch.tensor(0.5, device=cards[-1])
    assert bridge.evaluation(loss)[0] == 0.5
    elsewhere = _C.ParameterBridge([card for _, card in pairs if card.device != cards[-1]])
    assert elsewhere.evaluation(loss)[0] == 0.5


def test_a_vector_larger_than_any_buffer_of_the_driver() -> None:
    param = torch.randn(30_000_001, device=CARD, requires_grad=True)
    param.grad = torch.randn_like(param)
    bridge = _C.ParameterBridge([param])
    assert np.array_equal(bridge.flatten_grads(), param.grad.double().cpu().numpy())
    x = np.random.default_rng(0).standard_normal(bridge.numel)
    bridge.load_params(x)
    assert np.array_equal(param.detach().cpu().numpy(), x.astype(np.float32))


def test_the_loss_comes_along() -> None:
    param = torch.ones(1000, device=CARD, requires_grad=True)
    param.grad = torch.full_like(param, 2.0)
    bridge = _C.ParameterBridge([param])
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64):
        loss = torch.tensor(3, dtype=dtype, device=CARD)
        value, gradient, finite, _ = bridge.evaluation(loss)
        assert (value, finite) == (3.0, True)
        assert (gradient == 2.0).all()
    assert bridge.evaluation(torch.tensor(0.5))[0] == 0.5
    bad = torch.tensor(torch.nan, device=CARD)
    assert np.isnan(bridge.evaluation(bad)[0])
    assert bridge.evaluation(bad)[2] is True
    param.grad[999] = torch.inf
    assert bridge.evaluation(bad)[2] is False
    assert bridge.gradient()[1] is False
    param.grad[999] = 0.0
    assert bridge.gradient()[1] is True


def test_the_wait_for_the_closure_is_told_from_the_transfer() -> None:
    param = torch.ones(1000, device=CARD, requires_grad=True)
    param.grad = torch.ones_like(param)
    bridge, loss = _C.ParameterBridge([param]), torch.tensor(0.0, device=CARD)
    bridge.evaluation(loss)
    torch.cuda._sleep(500_000_000)
    assert bridge.evaluation(loss)[3] > bridge.evaluation(loss)[3]


def count(run: Callable[[], object]) -> dict[str, int]:
    """How often `run` calls the driver, by what for."""
    with profiler([torch.profiler.ProfilerActivity.CUDA]) as profile:
        run()
    names = [event.name for event in profile.events()]
    return {
        kind: sum(kind in name for name in names)
        for kind in ("Memcpy HtoD", "Memcpy DtoH", "gather_kernel", "scatter_kernel")
    }


@pytest.mark.parametrize("tensors", [1, 300])
def test_one_transfer_and_one_launch_each_way(tensors: int) -> None:
    params = [torch.ones(50, device=CARD, requires_grad=True) for _ in range(tensors)]
    for param in params:
        param.grad = torch.ones_like(param)
    bridge = _C.ParameterBridge(params)
    x, loss = bridge.flatten_params(), torch.tensor(1.0, device=CARD)

    def evaluation() -> None:
        bridge.load_params(x)
        bridge.evaluation(loss)

    evaluation()  # the tables are uploaded
    assert count(evaluation) == {
        "Memcpy HtoD": 1,
        "Memcpy DtoH": 1,
        "gather_kernel": 1,
        "scatter_kernel": 1,
    }


@pytest.mark.parametrize("tensors", [1, 300])
def test_a_vector_on_the_card_stays_there(tensors: int) -> None:
    """One launch each way, and the loss and the flag in one transfer."""
    params = [torch.ones(50, device=CARD, requires_grad=True) for _ in range(tensors)]
    for param in params:
        param.grad = torch.ones_like(param)
    bridge = tensor_bridge(_C.ParameterBridge(params))
    x, loss = bridge.flatten_params(), torch.tensor(1.0, device=CARD)

    def evaluation() -> None:
        bridge.load_params(x)
        bridge.evaluation(loss)

    evaluation()  # the tables are uploaded
    assert count(evaluation) == {
        "Memcpy HtoD": 0,
        "Memcpy DtoH": 1,
        "gather_kernel": 1,
        "scatter_kernel": 1,
    }


def test_vectors_on_the_card_obey_the_current_stream() -> None:
    param = torch.zeros(1_000_000, device=CARD, requires_grad=True)
    param.grad = torch.zeros_like(param)
    bridge = tensor_bridge(_C.ParameterBridge([param]))
    streams = [torch.cuda.Stream() for _ in range(3)]
    torch.cuda.synchronize()
    previous = torch.cuda.current_stream()
    held = []
    for step in range(30):
        stream = streams[step % 3]
        stream.wait_stream(previous)
        with torch.cuda.stream(stream):
            torch.cuda._sleep(1_000_000)
            x = torch.full((bridge.numel,), float(step), dtype=torch.float64, device=CARD)
            bridge.load_params(x)
            x.fill_(-1.0)  # after the parameters have it
            with torch.no_grad():
                torch.cuda._sleep(1_000_000)
                param.grad.copy_(param).mul_(2)
            value, gradient, finite, _ = bridge.evaluation(param.detach()[0])
            assert (value, finite) == (float(step), True)
            held.append((step, gradient))
        previous = stream
    torch.cuda.synchronize()
    assert all((gradient == 2.0 * step).all() for step, gradient in held)


def test_the_current_stream_is_used() -> None:
    """What was queued before is seen, what is queued after sees it, on any stream."""
    param = torch.zeros(1_000_000, device=CARD, requires_grad=True)
    param.grad = torch.zeros_like(param)
    bridge = _C.ParameterBridge([param])
    streams = [torch.cuda.Stream() for _ in range(3)]
    torch.cuda.synchronize()
    previous = torch.cuda.current_stream()
    for step in range(30):
        stream = streams[step % 3]
        stream.wait_stream(previous)
        with torch.cuda.stream(stream):
            torch.cuda._sleep(1_000_000)
            bridge.load_params(np.full(bridge.numel, float(step)))
            with torch.no_grad():
                torch.cuda._sleep(1_000_000)
                param.grad.copy_(param).mul_(2)
            gradient = bridge.flatten_grads()
        assert (gradient == 2.0 * step).all()
        previous = stream


def test_loads_in_a_row_do_not_overtake_each_other() -> None:
    """Neither x's way to the card nor the vector there is used again too early."""
    param = torch.zeros(3_000_000, device=CARD)
    bridge = _C.ParameterBridge([param])
    sums = []
    for step in range(20):
        x = np.full(bridge.numel, float(step))
        torch.cuda._sleep(2_000_000)
        bridge.load_params(x)
        x[:] = -1.0
        sums.append(torch.stack([param.min(), param.max()]))
    assert torch.stack(sums).tolist() == [[step, step] for step in range(20)]


@pytest.mark.parametrize("numel", [10, 1_000_000])
def test_held_arrays_keep_their_values(numel: int) -> None:
    """Note [fresh gradients]: pinned memory is reused only when its array is gone."""
    param = torch.zeros(numel, device=CARD)
    bridge = _C.ParameterBridge([param])
    held = []
    for step in range(30):
        param.fill_(step)
        held.append((step, bridge.flatten_params()))
        del held[: step % 3]
        assert all((array == value).all() for value, array in held)


def test_arrays_outlive_their_bridge() -> None:
    param = torch.arange(1000.0, device=CARD)
    bridge = _C.ParameterBridge([param])
    array = bridge.flatten_params()
    del bridge, param
    torch.cuda.empty_cache()
    assert np.array_equal(array, np.arange(1000.0))


def test_parameters_are_written_in_place() -> None:
    """Note [storages stay]."""
    param = torch.zeros(5, device=CARD, requires_grad=True)
    place, version = param.data_ptr(), param._version
    bridge = _C.ParameterBridge([param])
    bridge.load_params(np.arange(5.0))
    assert param.data_ptr() == place
    assert param._version > version
    assert param.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_memory_that_was_freed_is_refused() -> None:
    param = torch.ones(4, device=CARD)
    bridge = _C.ParameterBridge([param])
    param.untyped_storage().resize_(0)
    with pytest.raises(RuntimeError, match="storage of only 0 bytes"):
        bridge.load_params(np.ones(4))


def test_a_gradient_on_another_device_is_refused() -> None:
    bridge = _C.ParameterBridge([torch.ones(2, device=CARD)])
    with pytest.raises(ValueError, match="is on cpu; expected the parameter's cuda:0"):
        bridge.flatten([torch.ones(2)])


@pytest.mark.parametrize(
    ("way", "reals"), [("SLAB", 1000), ("SLAB", 700_001), ("SLAB", 10**9), ("DIRECT", 10**9)]
)
def test_every_way_gives_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, way: str, reals: int
) -> None:
    monkeypatch.setenv(f"PYTORCH_MINIMIZE_{way}", str(reals))
    pairs = [
        pair((n,), dtype, "contiguous", "contiguous")
        for n in (1, 4097, 300_000)
        for dtype in DTYPES
    ]
    assert_alike([host for host, _ in pairs], [card for _, card in pairs])


def test_rows_are_one_table_one_transfer_and_one_launch() -> None:
    tensors = [random_tensor(shape, torch.float32, 1) for shape in ((7, 3), (), (50,))]
    card, host = (_C.ParameterBridge([t.to(place) for t in tensors]) for place in (CARD, "cpu"))
    v = random_tensor((40, card.numel), torch.float64, 2).numpy()
    stacks, out, expected = card.unflatten_rows(v), np.empty_like(v), np.empty_like(v)
    launched = count(lambda: card.flatten_rows(stacks, out))
    assert list(launched.values()) == [1, 1, 1, 0]
    host.flatten_rows(host.unflatten_rows(v), expected)
    assert_same_bits(out, expected)
    launched = count(lambda: card.unflatten_rows(v))
    assert list(launched.values()) == [2, 0, 0, 1]


def test_a_gradients_block_is_free_while_the_closure_runs() -> None:
    """Its array is gone, and nothing that was queued uses it."""
    param = torch.ones(1_000_000, device=CARD, requires_grad=True)
    param.grad = torch.ones_like(param)
    bridge = _C.ParameterBridge([param])
    gradient = bridge.flatten_grads()
    place = gradient.__array_interface__["data"][0]
    torch.cuda._sleep(500_000_000)
    del gradient
    assert bridge.flatten_grads().__array_interface__["data"][0] == place


def test_a_tail_does_not_double_the_memory() -> None:
    """A vector that fills a block of a power of two bytes."""
    param = torch.ones(2**20, device=CARD, requires_grad=True)
    param.grad = torch.ones_like(param)
    bridge, loss = _C.ParameterBridge([param]), torch.tensor(2.0, device=CARD)
    value, gradient, finite, _ = bridge.evaluation(loss)
    assert (value, finite, gradient.sum()) == (2.0, True, 2.0**20)
    assert count(lambda: bridge.evaluation(loss))["Memcpy DtoH"] == 2
    param.grad[77] = torch.nan
    assert bridge.evaluation(loss)[2] is False
