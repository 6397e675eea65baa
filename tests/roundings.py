"""The tests of paths under every rounding that this CPU can do: ``make test-roundings``.

torch, MKL and OpenBLAS sum in an order that they choose by the CPU. Each run below has them choose
as on another one, or with another number of threads; together they have each value that counts.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

FOLDER = Path(__file__).parent
# Whose right answers come from a solver's path, or from sums that a kernel orders.
TESTS = """
    test_same_path test_method_contract test_float32 test_digits
    test_bounds test_bound_groups test_constraints test_constraint_function test_best_feasible
    test_curvature_path test_curvature_products test_curvature_arguments test_hessian
    test_global_path test_global_minima test_global_local test_global_polish test_global_bounds
    test_limited_memory test_residual_path
"""
# What a CPU without AVX-512 does instead.
WITHOUT_AVX512 = {"avx512": "avx2", "AVX512": "AVX2", "SkylakeX": "Haswell"}
OF_OURS = ("ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS", "OPENBLAS_", "OMP_NUM_THREADS")


@dataclass(frozen=True)
class Rounding:
    """What chooses the order of sums, as torch, MKL and OpenBLAS call it."""

    aten: str
    mkl: str
    openblas: str
    threads: int

    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(OF_OURS)}
        return kept | {
            "ATEN_CPU_CAPABILITY": self.aten,
            "MKL_ENABLE_INSTRUCTIONS": self.mkl,
            "OPENBLAS_CORETYPE": self.openblas,
            "OMP_NUM_THREADS": str(self.threads),
            "TESTS_TORCH_THREADS": str(self.threads),
        }

    def in_force(self) -> str:
        """What the header of a run under it must say; see conftest.py."""
        blas = f"numpy {self.openblas}, scipy {self.openblas}"
        return f"rounding: ATen {self.aten}, OpenBLAS {blas}, torch threads {self.threads}"


# As this CPU likes it best is what `make test` runs.
ROUNDINGS = (
    Rounding("default", "AVX512", "SkylakeX", 1),
    Rounding("avx2", "AVX2", "SkylakeX", 2),
    Rounding("avx512", "SSE4_2", "Haswell", 1),
    Rounding("default", "SSE4_2", "Haswell", 2),
)


def roundings() -> Iterator[Rounding]:
    """Those that this CPU can do."""
    environment = ROUNDINGS[0].environment() | {"ATEN_CPU_CAPABILITY": "avx512"}
    ask = "import torch; print(torch.backends.cpu.get_cpu_capability())"
    able = subprocess.check_output([sys.executable, "-c", ask], env=environment, text=True)
    for rounding in ROUNDINGS:
        if able.strip() == "AVX512":
            yield rounding
        else:
            names = (rounding.aten, rounding.mkl, rounding.openblas)
            aten, mkl, openblas = (WITHOUT_AVX512.get(name, name) for name in names)
            yield replace(rounding, aten=aten, mkl=mkl, openblas=openblas)


def run(rounding: Rounding) -> tuple[str, str]:
    """How many tests passed and failed, and what there is to say if not all is well."""
    files = [str(path) for name in TESTS.split() for path in FOLDER.rglob(f"{name}.py")]
    parallel = ["-n", "auto", "--maxprocesses", "4", "--dist", "loadfile"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *parallel, "-p", "no:cacheprovider", *files],
        cwd=FOLDER.parent,
        env=rounding.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    found = re.search(r"=+ (.*) in [\d.]+s.* =+\n*$", done.stdout)
    if rounding.in_force() not in done.stdout:
        return "not run", f"{rounding.in_force()}: not what was in force\n{done.stdout[-2000:]}"
    counts = found[1] if found else f"ended with {done.returncode}"
    return counts, "" if done.returncode == 0 else done.stdout


def main() -> int:
    wrong = 0
    print(f"{'ATen':9}{'MKL':9}{'OpenBLAS':10}{'threads':9}{'seconds':9}tests")
    for rounding in roundings():
        start = time.perf_counter()
        counts, complaint = run(rounding)
        seconds = time.perf_counter() - start
        where = f"{rounding.aten:9}{rounding.mkl:9}{rounding.openblas:10}{rounding.threads:<9}"
        print(f"{where}{seconds:<9.0f}{counts}", flush=True)
        if complaint:
            wrong += 1
            print(complaint, flush=True)
    print("every rounding passes" if not wrong else f"{wrong} roundings do not pass")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
