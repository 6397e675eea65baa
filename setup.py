"""Builds the C++ extension; everything else about the package is in pyproject.toml."""

import os
import sys
from pathlib import Path

import torch
from setuptools import setup
from torch.utils.cpp_extension import BuildExtension, CppExtension, include_paths

DEBUG = os.environ.get("DEBUG") == "1"
SANITIZE = os.environ.get("SANITIZE") == "1"

# torch's headers as system headers: the warnings are to be about our own code.
compile_args = ["-std=c++20", "-fvisibility=hidden", "-Wall", "-Wextra"]
compile_args += [f"-isystem{path}" for path in include_paths()]
link_args: list[str] = []
if sys.platform == "linux":
    # For at::parallel_for. At link time it is left out: the symbols are found in
    # torch's own OpenMP runtime, and a second one must not be loaded.
    compile_args += ["-fopenmp"]
if SANITIZE:
    compile_args += ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    link_args += ["-fsanitize=address,undefined"]
if DEBUG or SANITIZE:
    compile_args += ["-O1" if SANITIZE else "-O0", "-g", "-UNDEBUG"]
else:
    compile_args += ["-O3", "-g0", "-DNDEBUG"]

setup(
    ext_modules=[
        CppExtension(
            "pytorch_minimize._C",
            sorted(str(path) for path in Path("csrc").glob("*.cpp")),
            depends=sorted(str(path) for path in Path("csrc").glob("*.h")),
            define_macros=[
                ("MINIMIZE_TORCH_VERSION", torch.__version__),
                ("MINIMIZE_DEBUG", str(int(DEBUG or SANITIZE))),
            ],
            extra_compile_args=compile_args,
            extra_link_args=link_args,
        )
    ],
    cmdclass={"build_ext": BuildExtension},
)
