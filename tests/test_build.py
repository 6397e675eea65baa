"""The extension that is imported: what it was built for, and what it loads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from pytorch_minimize import _C
from pytorch_minimize.bridge.make import native_bridge
from pytorch_minimize.rebuild import how_to_rebuild

CUDA = _C.build_info()["cuda"]
SETUP = Path(__file__).parent.parent / "setup.py"
REBUILD = "pip install --no-build-isolation --no-deps --force-reinstall ."


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_build_info() -> None:
    info = _C.build_info()
    assert info["torch"] == torch.__version__
    assert info["cuda"] in (None, torch.version.cuda)
    assert bool(info["architectures"]) == (info["cuda"] is not None)
    assert isinstance(info["compiler"], str)
    assert isinstance(info["debug"], bool)


@pytest.mark.skipif(sys.platform != "linux", reason="built without OpenMP elsewhere")
def test_torchs_openmp_is_the_only_one() -> None:
    assert _C.build_info()["openmp"] is True
    code = """
import torch
from pytorch_minimize import _C
torch.set_num_threads(2)
bridge = _C.ParameterBridge([torch.zeros(1_000_000)])
bridge.flatten_params()
lines = open("/proc/self/maps").read().splitlines()
print(*{path for path in (line.split()[-1] for line in lines) if "omp" in path.split("/")[-1]})
"""
    result = run(code)
    assert result.returncode == 0, result.stderr
    libraries = [name for name in result.stdout.split() if ".so" in name]
    assert len(libraries) == 1


def test_a_build_for_another_torch_is_refused() -> None:
    result = run("import torch; torch.__version__ = '2.0.1'; import pytorch_minimize")
    assert result.returncode != 0
    message = result.stderr.splitlines()[-1]
    assert message.startswith("ImportError: ")
    assert f"was built for torch {torch.__version__}, but torch 2.0.1 is running" in message
    assert message.endswith(f" {how_to_rebuild()}")


def test_a_missing_build_is_refused() -> None:
    result = run("import sys; sys.modules['pytorch_minimize._C'] = None; import pytorch_minimize")
    assert result.returncode != 0
    message = result.stderr.splitlines()[-1]
    assert message.startswith("ImportError: the C++ extension of pytorch_minimize is missing")
    assert message.endswith(f" {how_to_rebuild()}")


def test_a_build_without_cuda_refuses_its_tensors() -> None:
    with FakeTensorMode():
        param = torch.ones(2, device="cuda")
    make, message = native_bridge, "tensor without ordinary memory"
    if CUDA is None:
        make = _C.ParameterBridge
        message = "parameter 1 is on cuda:0, but the C.. extension was built without CUDA. Rebuild"
    with pytest.raises((RuntimeError, ValueError), match=message) as raised:
        make([torch.ones(2), param])
    assert CUDA is not None or str(raised.value).endswith(REBUILD)


@pytest.mark.skipif(not SETUP.exists(), reason="setup.py is not there: an installed package")
@pytest.mark.parametrize("use_cuda", ["", "0"])
def test_a_toolkit_alone_builds_no_kernels(use_cuda: str) -> None:
    """They are built for a torch that has CUDA itself, unless USE_CUDA=0."""
    code = f"""
import os, setuptools
from runpy import run_path
made = {{}}
setuptools.setup = lambda **keywords: made.update(keywords)
os.chdir({str(SETUP.parent)!r})
run_path("setup.py")
[extension] = made["ext_modules"]
print(*sorted(source for source in extension.sources if "cuda" in source))
"""
    environment = {"CUDA_HOME": "/toolkit", "USE_CUDA": use_cuda, "EXTENSION": "1", "TESTING": "0"}
    result = run(code, **environment)
    assert result.returncode == 0, result.stderr
    built = torch.version.cuda is not None and use_cuda != "0"
    cuda = SETUP.parent / "csrc/device/cuda"
    kernels = sorted(f"csrc/device/cuda/{path.name}" for path in cuda.glob("*.c*"))
    assert "csrc/device/cuda/multi_tensor.cu" in kernels
    assert result.stdout.split() == (kernels if built else [])


@pytest.mark.skipif(not SETUP.exists(), reason="setup.py is not there: an installed package")
def test_windows_is_refused_before_a_compiler_is_asked() -> None:
    code = f"""
import sys, sysconfig, torch.utils.cpp_extension, setuptools
from runpy import run_path
sysconfig.get_config_vars()  # as this system's, which are kept
sys.platform = "win32"
setuptools.setup = lambda **keywords: print("built")
run_path({str(SETUP)!r})
"""
    result = run(code, EXTENSION="1")
    assert (result.returncode, result.stdout) == (1, "")
    assert "does not build on Windows, which is not supported" in result.stderr


def test_the_python_bridge_needs_no_build() -> None:
    code = """
import sys
sys.modules["pytorch_minimize._C"] = None
import torch
from pytorch_minimize.bridge.make import make_bridge
print(type(make_bridge([torch.ones(2)])).__name__)
"""
    result = run(code, PYTORCH_MINIMIZE_BRIDGE="python")
    assert result.stdout.strip() == "PythonBridge", result.stderr


def test_an_unknown_bridge_is_refused() -> None:
    result = run("import pytorch_minimize", PYTORCH_MINIMIZE_BRIDGE="fast")
    assert "PYTORCH_MINIMIZE_BRIDGE must be 'native' or 'python', got 'fast'" in result.stderr


def test_the_stub_names_what_the_extension_has() -> None:
    stub = (Path(_C.__file__).parent / "_C.pyi").read_text()
    for owner in (_C, _C.ParameterBridge):
        for name in vars(owner):
            if not name.startswith("_"):
                assert f" {name}" in stub, name
