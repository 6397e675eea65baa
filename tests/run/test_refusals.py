"""What is not understood is refused before anything moves, in words that say what to do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import BFGS, Bounds, LinearConstraint, NonlinearConstraint
from scipy.sparse import csr_array
from torch import Tensor, nn

import pytorch_minimize
from pytorch_minimize import optim
from pytorch_minimize.optim import (
    BasinHoppingWrapper,
    BruteWrapper,
    ClosureConstraint,
    DifferentialEvolutionWrapper,
    DirectWrapper,
    DualAnnealingWrapper,
    MinimizeWrapper,
    SHGOWrapper,
    vectorize,
)

REFUSED = (TypeError, ValueError)
BOX = [(-1.0, 1.0)] * 2


def parameter() -> nn.Parameter:
    return nn.Parameter(torch.tensor([0.5, -0.5], dtype=torch.float64))


def assert_refused(make: Callable[[nn.Parameter], Any], message: str) -> None:
    """Refused by the constructor, or by ``step`` before the closure runs."""
    x, runs = parameter(), []

    def closure() -> Tensor:
        runs.append(1)
        return x.square().sum()

    with pytest.raises(REFUSED, match=message) as caught:
        make(x).step(closure)
    assert len(str(caught.value)) < 1000
    assert runs == []
    assert x.tolist() == [0.5, -0.5]


def half(x: Any) -> Any:
    return x[0] - 0.5


# (method, the rest of minimizer_args, what is said)
ARGUMENTS: list[tuple[Any, dict[str, Any], str]] = [
    ("BFGS", {"jac": np.zeros(2)}, r"jac: expected True.*got array\(\[0., 0.\]\)"),
    ("BFGS", {"jac": list(range(10**6))}, r"jac: expected True.*got \[0, 1, .*\.\.\.\]"),
    ("BFGS", {"jac": float}, "jac: expected True"),
    ("BFGS", {"jac": "2point"}, "did you mean 2-point"),
    ("Newton-CG", {"jac": np.zeros(2)}, "jac: expected True"),
    ("COBYLA", {"jac": np.zeros(2)}, "COBYLA uses no gradient"),
    ("trust-ncg", {"hess": np.eye(2)}, "trust-ncg: expected hess"),
    ("trust-exact", {"hess": np.eye(1000)}, r"got an array of shape \(1000, 1000\)"),
    ("trust-constr", {"hess": BFGS}, r"got the class BFGS; give an instance: BFGS\(\)"),
    ("trust-constr", {"hess": "2point"}, "did you mean 2-point"),
    ("BFGS", {"tol": float("nan")}, "tol: expected a number or None, got nan"),
    ("BFGS", {"tol": "1e-6"}, "tol: expected a number or None, got '1e-6'"),
    ("BFGS", {"tol": True}, "tol: expected a number or None, got True"),
    ("BFGS", {"maxiter": 10}, r"maxiter is an option of methods: .*options=dict\(maxiter="),
    ("BFGS", {"max_iter": 10}, r"maxiter is an option of methods"),
    ("BFGS", {"timeout": 10}, "timeout is a keyword of the optimizer itself"),
    ("BFGS", {"lr": 0.1}, "find the length of their steps themselves"),
    ("BFGS", {"line_search_fn": "strong_wolfe"}, "bring their own line search"),
    ("BFGS", {"option": {}}, "did you mean options"),
    ("BFGS", {"options": [("gtol", 1)]}, "options: expected a dict, got list"),
    ("LBFGS", {}, "did you mean L-BFGS-B"),
    ("differential_evolution", {}, "DifferentialEvolutionWrapper runs it"),
    ("torch-lm", {}, "got 'torch-lm'; LeastSquaresWrapper runs it"),
    ("least_squares", {}, "LeastSquaresWrapper runs it"),
    (torch.optim.LBFGS, {}, "the class LBFGS; did you mean L-BFGS-B"),
    ("L-BFGS-B", {"bounds": "0,1"}, "bounds: expected Bounds or .*got '0,1'"),
    ("L-BFGS-B", {"bounds": ["01", "01"]}, "bounds: expected Bounds or"),
    ("L-BFGS-B", {"bounds": [("0", "1")] * 2}, r"bounds: expected Bounds or.*'0', '1'"),
    ("L-BFGS-B", {"bounds": Bounds(["0", "0"], ["1", "1"])}, "bounds: lb: expected numbers"),
]


@pytest.mark.parametrize(("method", "more", "message"), ARGUMENTS)
def test_minimizer_args(method: Any, more: dict[str, Any], message: str) -> None:
    assert_refused(lambda x: MinimizeWrapper([x], {"method": method, **more}), message)


# (a constraint, what is said)
CONSTRAINTS: list[tuple[Any, str]] = [
    (LinearConstraint(np.ones((1, 3)), 0, 1), r"A with a column for each of the 2.*\(1, 3\)"),
    (LinearConstraint(csr_array(np.ones((1, 3))), 0, 1), "A with a column for each of the 2"),
    (LinearConstraint(np.ones((2, 2)), [0, 2], [1, 1]), "element 1: expected lb <= ub .*got 2.0"),
    (LinearConstraint(np.ones((1, 2)), np.nan, 1), "lb: expected numbers, got NaN"),
    (LinearConstraint(np.ones((1, 2)), np.inf, np.inf), "expected lb <= ub with a number between"),
    (LinearConstraint([[np.nan, 1]], 0, 1), "A: expected numbers, got NaN"),
    (NonlinearConstraint(half, 2, 1), "expected lb <= ub"),
    (NonlinearConstraint(half, 0, np.nan), "ub: expected numbers, got NaN"),
    (NonlinearConstraint(half, 0, 1, hess=BFGS), r"hess: .*the class BFGS; give BFGS\(\)"),
    (NonlinearConstraint(half, 0, 1, keep_feasible="no"), "keep_feasible: expected True or False"),
    ({"type": "ineq", "fun": half, "jacobian": half}, "got .'jacobian'.; did you mean jac"),
    ({"type": "ineq", "fun": half, "arg": (1,)}, "got .'arg'.; did you mean args"),
    ({"type": "inequality", "fun": half}, "type: .*did you mean ineq"),
    ({"type": "ineq", "fun": 3.0}, "fun: expected a callable"),
    ({"type": "ineq", "fun": half, "jac": np.ones(2)}, "jac: expected a callable"),
    ({"type": "ineq", "fun": half, "args": 1}, "args: expected a tuple"),
]


@pytest.mark.parametrize(("constraint", "message"), CONSTRAINTS)
def test_constraints(constraint: Any, message: str) -> None:
    given = [{"type": "ineq", "fun": half}, constraint]
    assert_refused(
        lambda x: MinimizeWrapper([x], {"method": "SLSQP", "constraints": given}),
        f"constraint 1.*{message}",
    )


def test_constraints_of_global_optimisers() -> None:
    keywords = {"bounds": BOX, "constraints": LinearConstraint(np.ones((1, 3)), 0, 1)}
    message = "A with a column for each of the 2"
    assert_refused(lambda x: DifferentialEvolutionWrapper([x], keywords), message)
    assert_refused(lambda x: SHGOWrapper([x], {}, keywords), message)


@pytest.mark.parametrize("keep", ["no", None, 2, [True, "no"]])
def test_keep_feasible_of_a_closure_constraint(keep: Any) -> None:
    with pytest.raises(TypeError, match="keep_feasible: expected True or False"):
        ClosureConstraint(parameter, 0.0, keep_feasible=keep)


@pytest.mark.parametrize("method", ["COBYLA", "SLSQP"])
def test_a_closure_constraint_of_other_parameters(method: str) -> None:
    x, other = parameter(), parameter()
    stated = ClosureConstraint(lambda: other.sum(), 1.0)
    optimizer = MinimizeWrapper([x], {"method": method, "constraints": stated})
    with pytest.raises(RuntimeError, match="depends on none of the parameters"):
        optimizer.step(lambda: x.square().sum())
    assert x.tolist() == [0.5, -0.5]


def lazy() -> Any:
    return nn.LazyLinear(2).parameters()


# (what is given for params, what is said)
PARAMS: list[tuple[Callable[[], Any], str]] = [
    (lambda: None, "params: expected parameters.*got None"),
    (lambda: nn.Linear(2, 1), r"the module Linear; give its .parameters\(\)"),
    (lambda: nn.Sequential(nn.Linear(2, 1)), r"the module Sequential; give its .parameters\(\)"),
    (lambda: [nn.Linear(2, 1)], r"a list with the module Linear; give its .parameters\(\)"),
    (lambda: nn.Linear(2, 1).parameters, "call it"),
    (lambda: nn.Linear(2, 1).state_dict(), r"give its .values\(\)"),
    (lambda: {"params": [parameter()]}, "a group goes into a list"),
    (lambda: {parameter()}, "a set, whose order differs"),
    (lambda: "weights", "params: expected parameters"),
    (lambda: [{"bounds": (0, 1)}], r"param group 0: expected a dict with params.*'bounds'"),
    (lambda: [{"params": None}], "params: expected parameters.*got None"),
    (lambda: [{"params": []}], "the param groups have no parameters"),
    (lazy, "lazy module and has no shape yet; run the model once"),
    (lambda: [{"params": lazy(), "bounds": (0, 1)}], "lazy module and has no shape yet"),
    (lambda: nn.LazyLinear(2).named_parameters(), "lazy module and has no shape yet"),
    (lambda: [torch.arange(3)], "dtype int64; expected float16"),
    (lambda: [torch.ones(3, dtype=torch.bool)], "dtype bool; expected float16"),
    (lambda: [{"params": [parameter()], "bounds": ("0", "1")}], "expected a number.*got '0'"),
    (lambda: [{"params": [parameter()], "bounds": "01"}], r"expected a pair \(low, high\)"),
]


@pytest.mark.parametrize(("params", "message"), PARAMS)
def test_params(params: Callable[[], Any], message: str) -> None:
    with pytest.raises(REFUSED, match=message):
        MinimizeWrapper(params())
    if message.startswith("params"):
        with pytest.raises(REFUSED, match=message):
            DirectWrapper(params(), {"bounds": BOX})


@pytest.mark.parametrize("group", [[parameter()], None, 3])
def test_a_group_that_is_no_dict(group: Any) -> None:
    optimizer = MinimizeWrapper([parameter()])
    with pytest.raises(TypeError, match=r"param group 1: expected a dict with params.*write dict"):
        optimizer.add_param_group(group)
    assert len(optimizer.param_groups) == 1


def test_plain_tensors_are_refused_at_the_step() -> None:
    params = [torch.randn(shape) for shape in [(10,), (9,), (2, 4), ()]]
    optimizer = MinimizeWrapper(params, {"method": "CG", "options": {"maxiter": 100}})
    unpacked = optimizer.np_unravel_unpack(optimizer.ravel_pack(params))
    assert all(torch.equal(a, b) for a, b in zip(params, unpacked, strict=True))
    with pytest.raises(ValueError, match="no parameter requires grad"):
        optimizer.step(lambda: torch.zeros(()))
    params[0].requires_grad_()
    assert optimizer.step(lambda: params[0].square().sum()) < 1e-8


@pytest.mark.parametrize("closure", [None, torch.zeros(()), 3.0])
def test_closures(closure: Any) -> None:
    optimizer = MinimizeWrapper([parameter()], {"method": "BFGS"})
    for name in ("step", "hessian"):
        with pytest.raises(TypeError, match=f"{name}: expected a closure"):
            getattr(optimizer, name)(closure)


class Annealing(DualAnnealingWrapper):
    """With its keywords as the second argument."""

    def __init__(self, params: Any, keywords: Any) -> None:
        super().__init__(params, {}, keywords)


class Shgo(SHGOWrapper):
    """With its keywords as the second argument."""

    def __init__(self, params: Any, keywords: Any) -> None:
        super().__init__(params, {}, keywords)


class Hops(BasinHoppingWrapper):
    """With its keywords as the second argument."""

    def __init__(self, params: Any, keywords: Any) -> None:
        super().__init__(params, {}, keywords)


# (optimizer, its keywords besides bounds, what is said)
KEYWORDS: list[tuple[Any, dict[str, Any], str]] = [
    (Hops, {"niter": "10"}, "niter: expected a whole number"),
    (Hops, {"n_iter": 10}, "did you mean niter"),
    (Hops, {"method": "BFGS"}, "method belongs in minimizer_args"),
    (DifferentialEvolutionWrapper, {"population": 9}, "did you mean popsize"),
    (DifferentialEvolutionWrapper, {"mutation": ("a", 1)}, "mutation: expected a number or a"),
    (DifferentialEvolutionWrapper, {"polish": "yes"}, "polish: expected True, False or a callable"),
    (DifferentialEvolutionWrapper, {"timeout": 3}, "timeout is a keyword of the optimizer itself"),
    (Annealing, {"visit": float("nan")}, "visit: expected a number, got nan"),
    (DirectWrapper, {"maxfun": np.inf}, "maxfun: expected a finite number for direct"),
    (BruteWrapper, {"Ns": "5"}, "Ns: expected a whole number"),
    (Shgo, {"options": {"max_iter": 3}}, "shgo's options: .*did you mean maxiter"),
    (Shgo, {"options": {"maxfev": "3"}}, "shgo's options: maxfev: expected a whole number"),
]


@pytest.mark.parametrize(("wrapper", "keywords", "message"), KEYWORDS)
def test_keywords_of_global_optimisers(
    wrapper: Any, keywords: dict[str, Any], message: str
) -> None:
    bounds = {} if wrapper is Hops else {"bounds": BOX}
    assert_refused(lambda x: wrapper([x], bounds | keywords), message)


# (what is called, what is said)
OTHERS: list[tuple[Callable[[nn.Parameter], Any], str]] = [
    (lambda x: BruteWrapper([x], {"ranges": 3}), "ranges: expected a list"),
    (lambda x: BruteWrapper([x], {"ranges": [3, 3]}), r"ranges: expected a slice or \(low, high\)"),
    (lambda x: BruteWrapper([x], {"ranges": [(0, 1)]}), "each of the 2 variables, got 1"),
    (lambda x: BasinHoppingWrapper([x], "BFGS"), r"expected a dict, got str; write dict\(method="),
    (lambda x: SHGOWrapper([x], "BFGS", {"bounds": BOX}), "expected a dict, got str"),
    (lambda x: MinimizeWrapper([x], "BFGS"), r"expected a dict, got str; write dict\(method="),
    (lambda x: DirectWrapper([x]), "expected a finite low and high"),
    (lambda x: MinimizeWrapper([x], curvature="grpah"), "did you mean graph"),
    (lambda x: MinimizeWrapper([x], time_out=3), "did you mean timeout"),
    (lambda x: MinimizeWrapper([x], method="BFGS"), r"minimizer_args=dict\(method="),
    (lambda x: MinimizeWrapper([x], max_iter=3), r"minimizer_args=dict\(options=dict\(maxiter="),
]  # type: ignore[arg-type, call-arg]


@pytest.mark.parametrize(("make", "message"), OTHERS)
def test_other_calls(make: Callable[[nn.Parameter], Any], message: str) -> None:
    assert_refused(make, message)


def test_everything_but_params_may_be_left_out() -> None:
    x, twin = parameter(), parameter()
    MinimizeWrapper([x]).step(lambda: (x - 1).square().sum())
    MinimizeWrapper([twin], {"method": "BFGS"}).step(lambda: (twin - 1).square().sum())
    assert torch.equal(x, twin)
    BasinHoppingWrapper([x])
    bounded = [{"params": [x], "bounds": (-1, 1)}]
    for wrapper in (SHGOWrapper, DualAnnealingWrapper, DifferentialEvolutionWrapper):
        wrapper(bounded)
    for other in (DirectWrapper, BruteWrapper):
        other(bounded)


@pytest.mark.parametrize("vectorized", [True, "yes"])
def test_a_vectorized_that_is_no_callable(vectorized: Any) -> None:
    optimizer = DifferentialEvolutionWrapper([parameter()], {"bounds": BOX})
    with pytest.raises(TypeError, match=r"vectorized: expected a callable .*vectorize\(model"):
        optimizer.step(lambda: 0.0, vectorized=vectorized)


class OneWeight(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = parameter()


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return 2 * grads[0]


def doubled(model: Any) -> Any:
    return Doubled.apply(model.w).sum()


def in_place(model: Any) -> Any:
    return torch.zeros(2, dtype=torch.float64).add_(model.w).sum()


UNBATCHED: list[tuple[Callable[[Any], Any], str]] = [
    (lambda m: m.w.sum() * m.w.sum().item(), r"has \.item\(\), which torch cannot batch"),
    (lambda m: torch.nonzero(m.w).sum(), "has nonzero, which torch cannot batch"),
    (lambda m: m.w.sum() if m.w.sum() > 0 else m.w.prod(), "has data-dependent control flow"),
    (lambda m: (m.w + torch.randn(2)).sum(), 'Say randomness="different"'),
    (doubled, r"cannot batch .*test_refusals.py:\d+: .*Doubled.apply\(model.w\)"),
    (in_place, r"cannot batch .*test_refusals.py:\d+: .*add_\(model.w\)"),
]


@pytest.mark.parametrize(("loss", "message"), UNBATCHED)
def test_what_torch_cannot_batch_is_named(loss: Callable[[Any], Any], message: str) -> None:
    losses = vectorize(OneWeight(), loss)
    with pytest.raises(RuntimeError, match=f"vectorize: .*{message}"):
        losses([torch.ones(3, 2, dtype=torch.float64)])


def test_an_error_of_the_loss_itself_is_left_as_it_is() -> None:
    losses = vectorize(OneWeight(), lambda m: m.w @ torch.ones(3, dtype=torch.float64))
    with pytest.raises(RuntimeError) as told:
        losses([torch.ones(3, 2, dtype=torch.float64)])
    assert "vectorize" not in str(told.value)


def test_long_lists_are_not_printed_whole() -> None:
    many, limits = [parameter() for _ in range(500)], np.full(900, 3.0)
    calls: list[Callable[[], Any]] = [
        lambda: vectorize(OneWeight(), in_place, params=many),
        lambda: vectorize([1.0] * 1000, 3),  # type: ignore[arg-type]
        lambda: DirectWrapper(many, {}),
        lambda: MinimizeWrapper(many, {"bounds": [("a", 1)] * 1000, "method": "Powell"}),
        lambda: MinimizeWrapper(many, {str(i): i for i in range(1000)}),
        lambda: ClosureConstraint(parameter, limits, np.arange(900.0)),
    ]
    for call in calls:
        with pytest.raises(REFUSED) as told:
            call()
        assert len(str(told.value)) < 500
    assert len(repr(ClosureConstraint(parameter, limits))) < 300
    x = nn.Parameter(torch.zeros(500))
    assert len(repr(DirectWrapper([x], {"bounds": [(0, 1)] * 500}))) < 500


def test_the_package_has_every_public_name() -> None:
    plain = {"ssbfgs", "ssbroyden"}  # which need no model
    assert set(pytorch_minimize.__all__) - plain == set(optim.__all__)
    assert set(pytorch_minimize.__all__) <= set(dir(pytorch_minimize))
    for name in optim.__all__:
        assert getattr(pytorch_minimize, name) is getattr(optim, name)
    with pytest.raises(AttributeError, match="no attribute 'MinimiseWrapper'"):
        pytorch_minimize.MinimiseWrapper  # noqa: B018
    program = (
        "import sys, pytorch_minimize; assert 'scipy.optimize' not in sys.modules\n"
        "from pytorch_minimize import *; print(MinimizeWrapper.__module__)"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert out.stdout.strip() == "pytorch_minimize.optim", out.stderr
