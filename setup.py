"""Builds the C++ extension, and says what the package requires; the rest is in pyproject.toml.

DEBUG=1 builds with assertions and symbols, SANITIZE=1 with the address and undefined-behaviour
sanitizers as well, EXTENSION=0 without the extension (then only PYTORCH_MINIMIZE_BRIDGE=python
works). TESTING=1 builds a second extension beside it, which stands in for a device in the tests.
CUDA is built where torch was built with it and finds the toolkit (CUDA_HOME), whether or not there
is a card; USE_CUDA=0 leaves it out, and WERROR=1 refuses kernels that spill registers.
"""

import os
import sys
from importlib.metadata import version
from pathlib import Path

import torch
from setuptools import Extension, setup
from torch.utils.cpp_extension import (
    CUDA_HOME,
    BuildExtension,
    CppExtension,
    CUDAExtension,
    include_paths,
)

CSRC = Path("csrc")
EXTENSION = os.environ.get("EXTENSION") != "0"
if EXTENSION and sys.platform == "win32":
    sys.exit("The C++ extension does not build on Windows, which is not supported; it does in WSL.")
SANITIZE = os.environ.get("SANITIZE") == "1"
DEBUG = os.environ.get("DEBUG") == "1" or SANITIZE
CUDA = (
    CUDA_HOME is not None and torch.version.cuda is not None and os.environ.get("USE_CUDA") != "0"
)

# Where there is no card to ask: from A100 on, and what comes after by way of PTX.
DEFAULT_ARCHITECTURES = "8.0;9.0+PTX"


def compile_args() -> list[str]:
    # torch's headers as system headers: the warnings are to be about our own code.
    args = ["-std=c++20", "-fvisibility=hidden", "-Wall", "-Wextra"]
    args += [f"-isystem{path}" for path in include_paths("cuda" if CUDA else "cpu")]
    if sys.platform == "linux":
        # For at::parallel_for. Not at link time: the symbols are then found in torch's
        # own OpenMP runtime, and a second one is never loaded.
        args += ["-fopenmp"]
    if SANITIZE:
        args += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    if DEBUG:
        args += ["-Og", "-g", "-UNDEBUG", "-D_GLIBCXX_ASSERTIONS"]
    else:
        args += ["-O3", "-g0", "-DNDEBUG"]
    return args


def nvcc_args() -> list[str]:
    ptxas = "-Xptxas=-v,--warn-on-spills"
    # A kernel that spills its registers is not one that we want; but it works, so that on a card
    # that we did not compile for it is better than none.
    if os.environ.get("WERROR") == "1":
        ptxas += ",--warning-as-error"
    return ["-std=c++20", "-O0" if DEBUG else "-O3", "-lineinfo" if DEBUG else "-DNDEBUG", ptxas]


def architectures() -> str:
    """What torch compiles for; its own default needs a card."""
    cards = {torch.cuda.get_device_capability(i) for i in range(torch.cuda.device_count())}
    found = ";".join(f"{major}.{minor}" for major, minor in sorted(cards))
    return os.environ.setdefault("TORCH_CUDA_ARCH_LIST", found or DEFAULT_ARCHITECTURES)


def extension(name: str, sources: set[Path], cuda: bool) -> Extension:
    macros = [
        ("MINIMIZE_TORCH_VERSION", torch.__version__),
        ("MINIMIZE_DEBUG", str(int(DEBUG))),
    ]
    args = {"cxx": compile_args()}
    if cuda:
        args["nvcc"] = nvcc_args()
        macros += [
            ("MINIMIZE_CUDA", torch.version.cuda),
            ("MINIMIZE_ARCHITECTURES", architectures().replace(";", "/").replace(" ", "/")),
        ]
    return (CUDAExtension if cuda else CppExtension)(
        f"pytorch_minimize.{name}",
        sorted(map(str, sources)),
        include_dirs=[str(CSRC.resolve())],
        define_macros=macros,
        extra_compile_args=args,
        extra_link_args=["-fsanitize=address,undefined"] if SANITIZE else [],
    )


def extensions() -> list[Extension]:
    cuda, testing = CSRC / "device/cuda", CSRC / "testing"
    core = set(CSRC.rglob("*.cpp")) - set(testing.iterdir()) - set(cuda.iterdir())
    if CUDA:
        core |= {*cuda.glob("*.cpp"), *cuda.glob("*.cu")}
    made = [extension("_C", core, CUDA)]
    if os.environ.get("TESTING") == "1":
        tested = {CSRC / "device/pieces.cpp", CSRC / "host/memory.cpp"}
        made.append(extension("_C_testing", tested | set(testing.glob("*.cpp")), cuda=False))
    return made


class Build(BuildExtension):
    """Objects in a folder for each extension: what two share is compiled for each."""

    def build_extension(self, ext: Extension) -> None:
        temp = self.build_temp
        self.build_temp = str(Path(temp, ext.name))
        super().build_extension(ext)
        self.build_temp = temp


def torch_required() -> str:
    """What the metadata being made says of torch.

    An extension fits the torch it was built for and no other, so that a wheel with one requires
    just that; an sdist, from which one is built for any, does not. The version is that of the
    distribution, which is what installers compare; torch.__version__ may have a "+cu130" more.
    """
    of_a_wheel = not {"dist_info", "bdist_wheel", "editable_wheel"}.isdisjoint(sys.argv)
    return f"torch=={version('torch')}" if of_a_wheel and EXTENSION else "torch>=2.10"


setup(
    install_requires=[
        torch_required(),
        "scipy>=1.15",
        "numpy",
        "threadpoolctl",
        "tqdm",
        "typing_extensions",
    ],
    ext_modules=extensions() if EXTENSION else [],
    cmdclass={"build_ext": Build},
)
