"""Builds the C++ extension; everything else about the package is in pyproject.toml.

DEBUG=1 builds with assertions and symbols, SANITIZE=1 with the address and
undefined-behaviour sanitizers as well, EXTENSION=0 without the extension (then only
PYTORCH_MINIMIZE_BRIDGE=python works).
"""

import os
import sys
from pathlib import Path

import torch
from setuptools import Extension, setup
from torch.utils.cpp_extension import BuildExtension, CppExtension, include_paths

SANITIZE = os.environ.get("SANITIZE") == "1"
DEBUG = os.environ.get("DEBUG") == "1" or SANITIZE


def compile_args() -> list[str]:
    # torch's headers as system headers: the warnings are to be about our own code.
    args = ["-std=c++20", "-fvisibility=hidden", "-Wall", "-Wextra"]
    args += [f"-isystem{path}" for path in include_paths()]
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


def extension() -> Extension:
    return CppExtension(
        "pytorch_minimize._C",
        sorted(str(path) for path in Path("csrc").glob("*.cpp")),
        define_macros=[
            ("MINIMIZE_TORCH_VERSION", torch.__version__),
            ("MINIMIZE_DEBUG", str(int(DEBUG))),
        ],
        extra_compile_args=compile_args(),
        extra_link_args=["-fsanitize=address,undefined"] if SANITIZE else [],
    )


setup(
    ext_modules=[] if os.environ.get("EXTENSION") == "0" else [extension()],
    cmdclass={"build_ext": BuildExtension},
)
