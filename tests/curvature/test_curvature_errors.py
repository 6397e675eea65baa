"""What cannot be differentiated twice, or batched, or is not finite, is told or coped with."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from batches import raising_in_a_batch
from instance import Instance
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from pytorch_minimize.bridge.make import make_bridge
from pytorch_minimize.bridge.space import ARRAYS
from pytorch_minimize.closure.explain import OUT_OF_MEANS
from pytorch_minimize.closure.runner import ClosureRunner
from pytorch_minimize.curvature.dense import identity_rows
from pytorch_minimize.curvature.strategies import make_curvature
from pytorch_minimize.optim import MinimizeWrapper, NonfiniteError
from pytorch_minimize.problem.guard import make_guard
from pytorch_minimize.problem.make import make_evaluator
from pytorch_minimize.problem.objective import Objective
from pytorch_minimize.record.history import History
from pytorch_minimize.record.profile import Profile
from pytorch_minimize.region.region import Region
from pytorch_minimize.row import Asks, Habits
from pytorch_minimize.run.plan import Plan
from pytorch_minimize.run.watch import Watch
from pytorch_minimize.scipy_minimize.function import ScipyFunction
from pytorch_minimize.scipy_minimize.methods import CURVATURE_METHODS
from pytorch_minimize.settings import Settings

both = pytest.mark.parametrize("strategy", ["graph", "replay"])
each_route = pytest.mark.parametrize(
    ("method", "strategy"), [*((m, "graph") for m in CURVATURE_METHODS), ("trust-ncg", "replay")]
)


class Once(torch.autograd.Function):
    """x^3, whose backward torch is told not to differentiate."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Any) -> Any:
        return 3 * ctx.saved_tensors[0] ** 2 * grads[0]


class Branching(torch.autograd.Function):
    """x^3, whose backward looks at a value, which no batch has."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return BranchingGrad.apply(ctx.saved_tensors[0], grads[0])


class BranchingGrad(torch.autograd.Function):
    """(x, g) -> 3 x^2 g."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, g: Tensor) -> Tensor:
        ctx.save_for_backward(x, g)
        return 3 * x**2 * g

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        x, g = ctx.saved_tensors
        assert grads[0].sum().item() < np.inf
        return 6 * x * g * grads[0], 3 * x**2 * grads[0]


HALVES = torch.tensor([4, 4])


def parameter(*values: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values, dtype=torch.float64))


def attention(x: Tensor) -> Tensor:
    tokens = x.reshape(1, 1, 4, 2)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.FLASH_ATTENTION):
        return nn.functional.scaled_dot_product_attention(tokens, tokens, tokens).square().sum()


def compiled(x: Tensor) -> Tensor:
    function = torch.compile(lambda y: y.sin().square().sum(), backend="aot_eager")
    return function(x)


OPERATORS = {
    "aten::_segment_reduce": lambda x: torch.segment_reduce(x, "sum", lengths=HALVES).sum(),
    "aten::_scaled_dot_product_flash": attention,
    "Once .marked with @once_differentiable": lambda x: Once.apply(x).sum(),
    "torch.compile": compiled,
}


if torch.__version__ < "2.14":  # there it has one
    OPERATORS["_cdist_backward"] = lambda x: torch.cdist(x[:4, None], x[4:, None]).sum()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize(
    ("method", "strategy"), [("trust-ncg", "graph"), ("trust-exact", "replay")]
)
def test_no_double_backward_names_the_operator(method: str, name: str, strategy: Any) -> None:
    x = parameter(*np.linspace(0.1, 0.9, 8))
    optimizer = MinimizeWrapper([x], {"method": method}, curvature=strategy)
    with pytest.raises(RuntimeError, match=f"closure uses {name}.*L-BFGS-B.*hess='2-point'"):
        optimizer.step(lambda: OPERATORS[name](x) + (x**4).sum())
    assert np.array_equal(optimizer.bridge.flatten_params(), np.linspace(0.1, 0.9, 8))


def test_the_advice_works() -> None:
    x = parameter(*np.linspace(0.1, 0.9, 8))
    optimizer = MinimizeWrapper([x], {"method": "Newton-CG", "hess": "2-point"})
    optimizer.step(lambda: Once.apply((x - 1) ** 2 + 1).sum())
    assert optimizer.res.success
    np.testing.assert_allclose(optimizer.res.x, np.ones(8), atol=1e-5)


def test_errors_of_the_closure_are_its_own() -> None:
    x = parameter(1.0)

    def closure() -> Tensor:
        raise RuntimeError("derivative for my data is not implemented")

    with pytest.raises(RuntimeError, match=r"^derivative for my data"):
        MinimizeWrapper([x], {"method": "trust-ncg"}, curvature="replay").step(closure)


@both
def test_what_cannot_be_batched_is_done_one_by_one_and_said_once(strategy: Any) -> None:
    x = parameter(*np.linspace(0.1, 0.9, 6))
    runner = ClosureRunner(lambda: Branching.apply(x).sum() + x.prod(), make_bridge([x]))
    curvature = make_curvature(strategy, runner, Profile(), 1 << 20)
    with pytest.warns(RuntimeWarning, match="one product at a time.*item") as said:
        hessian, _ = curvature.products(identity_rows(6), 6)
    assert len(said) == 1
    flat = torch.func.hessian(lambda t: (t**3).sum() + t.prod())(x.detach())
    np.testing.assert_allclose(hessian, flat, rtol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again, _ = curvature.products(identity_rows(6), 6)
        whole, _ = curvature.hessian()
    assert np.array_equal(hessian, again)
    assert np.array_equal(hessian, whole)


@both
@pytest.mark.parametrize("error", OUT_OF_MEANS)
def test_a_batch_without_memory_is_not_taken_for_one_that_cannot_be(
    strategy: Any, error: type[Exception]
) -> None:
    x = parameter(0.1, 0.2, 0.3)

    def closure() -> Tensor:
        y = x.exp()
        y.register_hook(raising_in_a_batch(error))
        return y.square().sum()

    curvature = make_curvature(strategy, ClosureRunner(closure, make_bridge([x])), Profile(), 1000)
    with pytest.raises(error, match="no more"):
        curvature.products(identity_rows(3), 3)


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
def test_operators_that_torch_batches_by_a_loop_of_its_own() -> None:
    x = parameter(*np.linspace(0.1, 0.9, 6))

    def loss(x: Tensor) -> Tensor:
        return x.unfold(0, 3, 1).exp().prod(-1).sum()

    runner = ClosureRunner(lambda: loss(x), make_bridge([x]))
    hessian, _ = make_curvature("graph", runner, Profile(), 1 << 20).products(identity_rows(6), 6)
    np.testing.assert_allclose(hessian, torch.func.hessian(loss)(x.detach()), rtol=1e-12)


def barrier() -> Instance:
    """Convex; a Newton step from the start goes where the logarithm is NaN."""
    return Instance(
        [torch.tensor([0.2, 0.15], dtype=torch.float64)],
        lambda tensors: (20 * tensors[0] - tensors[0].log()).sum(),
    )


@pytest.mark.filterwarnings("ignore:the closure gave:RuntimeWarning")
@each_route
def test_trial_points_that_are_not_finite(method: str, strategy: Any) -> None:
    instance = barrier()
    optimizer = MinimizeWrapper(instance.params, {"method": method}, curvature=strategy)
    optimizer.step(instance.closure(1))
    assert optimizer.res.nonfinite > 0
    assert np.isfinite(optimizer.res.x).all()
    np.testing.assert_allclose(optimizer.res.x, [0.05, 0.05], atol=1e-4)


@pytest.mark.filterwarnings("ignore:the closure gave:RuntimeWarning")
@each_route
def test_a_start_that_is_not_finite(method: str, strategy: Any) -> None:
    x = parameter(-1.0, -2.0)
    optimizer = MinimizeWrapper([x], {"method": method}, curvature=strategy)
    optimizer.step(lambda: x.log().sum())
    assert not optimizer.res.success
    assert np.array_equal(optimizer.res.x, [-1.0, -2.0])


@each_route
def test_a_hessian_that_is_not_finite(method: str, strategy: Any) -> None:
    """|x|^1.5 has a slope at 0, and no curvature."""
    x = parameter(0.0, 1.0)
    loss = lambda: (x.abs() ** 1.5).sum() + ((x[1] - 2) ** 2)  # noqa: E731
    optimizer = MinimizeWrapper([x], {"method": method}, curvature=strategy)
    with pytest.warns(
        RuntimeWarning, match="a Hessian with NaN or inf; .* that it is the identity"
    ):
        optimizer.step(loss)
    assert optimizer.res.nonfinite > 0
    assert loss().item() < 2.0
    raising = MinimizeWrapper([x], {"method": method}, curvature=strategy, nonfinite="raise")
    with torch.no_grad():
        x.copy_(torch.tensor([0.0, 1.0]))
    with pytest.raises(NonfiniteError, match="a Hessian with NaN or inf"):
        raising.step(loss)


@both
def test_probes_with_zeros_cost_nothing(strategy: Any) -> None:
    x = parameter(1.0, 2.0)
    profile = Profile()
    runner = ClosureRunner(lambda: (x**3).sum(), make_bridge([x]))
    settings = Settings(curvature=strategy)
    evaluator = make_evaluator(
        runner, runner.bridge, ARRAYS, make_guard(profile), profile, Asks(True, "hessp"), settings
    )
    objective = Objective(evaluator, Region())
    plan = Plan("", Asks(), Habits())
    watch = Watch(objective, evaluator.x, plan, settings, History())
    function = ScipyFunction(objective, watch)
    for zeros in (np.zeros(2, dtype=np.int8), np.zeros((2, 1)), np.zeros(2)):
        product = function.hessp(np.array([1.0, 2.0]), zeros)
        assert product.dtype == np.float64
        assert np.array_equal(product, [0.0, 0.0])
    assert profile.counts == {"hessp": 3}
    product = function.hessp(np.array([1.0, 2.0]), np.array([1, 1], dtype=np.int8))
    assert np.array_equal(product, [6.0, 12.0])
