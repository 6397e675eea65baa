"""The table of methods: options, the first matrix, memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from runs import Asked, rosen

from pytorch_minimize.run.protocol import drive
from pytorch_minimize.solvers import memory, methods
from pytorch_minimize.solvers.inverse import usable
from pytorch_minimize.solvers.memory import check_fits, free_bytes
from pytorch_minimize.solvers.methods import METHODS, array_solver, tensor_solver
from pytorch_minimize.solvers.quasi_newton import QuasiNewton
from pytorch_minimize.solvers.updates import UPDATES

N = 4


def ended(solver: QuasiNewton[Any]) -> QuasiNewton[Any]:
    function = rosen(N)
    drive(solver.start(function.start), Asked(function))
    while solver.done() is None:
        drive(solver.step(), Asked(function))
    return solver


@pytest.mark.parametrize("name", METHODS)
def test_options_become_rules(name: str) -> None:
    given = {"gtol": 1e-9, "norm": 2, "xrtol": 1e-3, "c1": 0.2, "maxiter": 7.0, "return_all": True}
    rules = METHODS[name].rules(given)
    assert {key: getattr(rules, key) for key in given} == given
    assert isinstance(rules.maxiter, int)
    assert rules.update in UPDATES
    assert rules.resets == (name != "torch-BFGS")


@pytest.mark.parametrize("variant", [1, 2, 3])
def test_the_variant_is_an_option(variant: int) -> None:
    assert METHODS["SSBroyden"].rules({"variant": variant}).update == f"SSBroyden-{variant}"


def test_variant_2_is_the_default() -> None:
    assert METHODS["SSBroyden"].rules({}).update == "SSBroyden-2"


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("SSBFGS", {"max_iter": 3}, "did you mean maxiter"),
        ("SSBFGS", {"method_bfgs": "BFGS"}, "pytorch_minimize.ssbfgs or ssbroyden"),
        ("SSBFGS", {"variant": 2}, "SSBFGS has no option variant"),
        ("torch-BFGS", {"line_search": "hager-zhang"}, "torch-BFGS has no option line_search"),
        ("SSBroyden", {"variant": 4}, "variant: expected one of 1, 2, 3, got 4"),
        ("SSBroyden", {"variant": True}, "variant: expected one of 1, 2, 3, got True"),
        ("SSBroyden", {"line_search": "armijo"}, "one of more-thuente, hager-zhang"),
        ("SSBroyden", {"gtol": "small"}, "gtol: expected a number, got 'small'"),
        ("SSBroyden", {"gtol": float("nan")}, "gtol: expected a number"),
        ("SSBroyden", {"maxiter": 2.5}, "maxiter: expected a whole number"),
        ("SSBroyden", {"maxiter": -1}, "maxiter: expected a whole number"),
        ("SSBroyden", {"c1": 1.5}, "c1: expected a number between 0 and 1"),
        ("SSBroyden", {"c1": 0.5, "c2": 0.4}, "expected c1 < c2, got 0.5 and 0.4"),
        ("SSBroyden", {"initial_scale": 2.0}, "initial_scale: expected True or False"),
        ("SSBroyden", {"hess_inv0": np.eye(3)}, r"shape \(4, 4\), got one of shape \(3, 3\)"),
        ("SSBroyden", {"hess_inv0": -np.eye(N)}, "symmetric and positive definite"),
        ("SSBroyden", {"hess_inv0": np.triu(np.ones((N, N)))}, "symmetric and positive definite"),
    ],
)
def test_what_is_not_understood_is_refused(name: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        array_solver(name, options, N)
    with pytest.raises(ValueError, match=said):
        tensor_solver(name, options, N, torch.device("cpu"))


def test_the_first_matrix_is_not_written_to() -> None:
    first = np.diag([1.0, 2.0, 3.0, 4.0])
    kept = first.copy()
    found = ended(array_solver("SSBroyden", {"hess_inv0": first}, N))
    assert np.array_equal(first, kept)
    assert not np.array_equal(found.fields()["hess_inv"], kept)


def test_a_warm_start_goes_on_from_the_matrix_of_another_run() -> None:
    cold = ended(array_solver("SSBFGS", {}, N))
    warm = ended(array_solver("SSBFGS", {}, N, warm=cold.fields()["hess_inv"]))
    assert warm.done() == 0
    assert warm.nit != cold.nit


@pytest.mark.parametrize("bad", [-np.eye(N), np.full((N, N), np.nan), np.zeros((N, N))])
def test_a_warm_start_that_is_not_positive_definite_is_a_cold_one(bad: np.ndarray) -> None:
    cold, warm = (array_solver("SSBFGS", {}, N, warm=matrix) for matrix in (None, bad))
    assert np.array_equal(ended(cold).x, ended(warm).x)


def test_a_warm_start_is_made_symmetric() -> None:
    matrix = np.diag([1.0, 2.0, 3.0, 4.0])
    matrix[0, 1] = 0.5
    found = usable(matrix)
    assert np.array_equal(found, found.T)
    assert found[0, 1] == 0.25
    assert torch.equal(usable(torch.from_numpy(matrix)), torch.from_numpy(found))


class TestMemory:
    @pytest.mark.parametrize("make", [array_solver, tensor_solver])
    def test_what_does_not_fit_is_refused(self, make: Any) -> None:
        device = (torch.device("cpu"),) if make is tensor_solver else ()
        # No such matrix is ever asked for: the refusal comes first.
        with pytest.raises(MemoryError, match=r"8e\+09 GB; .* GB are free.*SS-L-BFGS"):
            make("SSBFGS", {}, 10**9, *device)

    def test_what_fits_is_not(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(memory, "free_bytes", lambda device: 800)
        check_fits("SSBFGS", 10)
        with pytest.raises(MemoryError, match=r"for 11 variables takes 9\.68e-07 GB"):
            check_fits("SSBFGS", 11)

    def test_unknown_memory_refuses_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(memory, "free_bytes", lambda device: None)
        check_fits("SSBFGS", 10**9)

    @pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="Linux alone has it")
    def test_the_hosts_memory(self) -> None:
        free = free_bytes()
        assert free is not None
        assert 1e6 < free < 1e16

    def test_options_are_looked_at_before_memory(self) -> None:
        with pytest.raises(ValueError, match="no option"):
            methods.array_solver("SSBFGS", {"foo": 1}, 10**9)
