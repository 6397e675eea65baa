# Every target sets up what it needs, given Python 3.10 to 3.13 and a C++ compiler; a second
# call does nothing over again, and a change in csrc compiles what it touches.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
BENCH := .venv-bench
PIP := $(BIN)/python -m pip --disable-pip-version-check install -q -c constraints.txt
SANITIZED := build/sanitize
CSRC := $(shell find csrc -type f)

# torch's build looks for ninja on the PATH.
export PATH := $(CURDIR)/$(BIN):$(PATH)

# As many processes as there are cores, and a file's tests in one of them.
PARALLEL := -n auto --maxprocesses 4 --dist loadfile

.PHONY: demo demo-global demo-pinn demo-burgers demo-distributed demo-fit test test-roundings test-scipy bench lint sanitize cuda-check docs docs-check linkcheck

demo: $(VENV)/built
	$(BIN)/python examples/digits.py

demo-global: $(VENV)/built
	$(BIN)/python examples/rastrigin.py

demo-pinn: $(VENV)/built
	$(BIN)/python examples/pinn.py

demo-burgers: $(VENV)/built
	$(BIN)/python examples/burgers.py

demo-distributed: $(VENV)/built
	OMP_NUM_THREADS=1 $(BIN)/torchrun --standalone --nproc-per-node 2 examples/distributed.py

test: $(VENV)/built
	$(BIN)/python -m pytest -q $(PARALLEL)

test-roundings: $(VENV)/built
	$(BIN)/python tests/roundings.py

bench: $(BENCH)/set-up $(VENV)/built
	$(BENCH)/bin/python -m bench --out bench/results
	$(BENCH)/bin/python -m bench.pages

lint: $(VENV)/built
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror $(CSRC)

# The bridge's tests on a build of its own. The sanitizers' runtimes must be loaded
# before Python, which was not built with them, and whose own leaks are not ours.
RUNTIMES = $(foreach name,asan ubsan stdc++,$(shell $(CXX) -print-file-name=lib$(name).so))

# What is mostly C++.
IN_C := $(wildcard tests/*/test_bridge*.py) tests/bridge/test_tensor_bridge.py \
	tests/bridge/test_device_crossing.py \
	tests/problem/test_guard.py tests/problem/test_closure_call.py tests/record/test_profile.py \
	tests/solvers/test_inverse.py tests/solvers/test_device_inverse.py \
	tests/solvers/test_ring.py tests/solvers/test_gpu_ring.py \
	tests/solvers/test_compact.py tests/bridge/test_many_tensors.py \
	tests/bridge/test_vector_ops.py tests/problem/test_usual_function.py \
	tests/run/test_usual_iteration.py \
	tests/problem/test_spaces.py tests/curvature/test_last_product.py tests/curvature/test_dense.py

sanitize: $(VENV)/built
	SANITIZE=1 TESTING=1 $(BIN)/python setup.py -q build --build-temp $(SANITIZED)/temp --build-lib $(SANITIZED)/lib
	LD_PRELOAD="$(RUNTIMES)" ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
	PYTHONPATH=$(SANITIZED)/lib PYTHONSAFEPATH=1 PYTHONMALLOC=malloc \
	$(BIN)/python -m pytest -q $(IN_C)

# The extension with CUDA, whose kernels need no card to compile, and the tests of what is another
# in such a build. In an environment of its own: its torch has CUDA, and the other one need not.
CUDA_VENV ?= .venv-cuda
CUDA_BIN := $(CUDA_VENV)/bin
CUDA_PIP := $(CUDA_BIN)/python -m pip --disable-pip-version-check install -q \
	-c constraints-cuda.txt -c $(CUDA_VENV)/constraints.txt
CUDA_BUILD := build/cuda
# Not the package in this folder, which has the other build; the tests' own modules and bench/
# are for the processes that they start.
CUDA_PYTHON := PYTHONPATH=$(CURDIR)/$(CUDA_BUILD)/lib:$(CURDIR)/tests:$(CURDIR) PYTHONSAFEPATH=1 $(CUDA_BIN)/python
CUDA_ARCHITECTURES := 8.0;9.0
NVCC := $(shell command -v nvcc)
CUDA_TESTS := $(wildcard tests/*/test_bridge*.py tests/*/test_device_*.py tests/*/test_gpu_*.py) \
	$(foreach name,build capture curvature_products fixed_gradients hessian \
	profile same_path threads,$(wildcard tests/test_$(name).py tests/*/test_$(name).py))

cuda-check: $(if $(NVCC),$(CUDA_VENV)/built)
ifeq ($(NVCC),)
	@echo "cuda-check: there is no nvcc on the PATH, so there is nothing to check"
else
	$(CUDA_PYTHON) -c "from pytorch_minimize import _C; \
	info = _C.build_info(); print(info); assert info['architectures'] == '$(CUDA_ARCHITECTURES)'.split(';')"
	$(CUDA_PYTHON) -m pytest -q $(PARALLEL) $(CUDA_TESTS)
endif

$(CUDA_VENV)/set-up: constraints.txt constraints-cuda.txt pyproject.toml setup.py
	test -x $(CUDA_BIN)/python || $(PYTHON) -m venv $(CUDA_VENV)
	sed '/^torch==/d' constraints.txt > $(CUDA_VENV)/constraints.txt
	$(CUDA_PIP) torch numpy setuptools wheel ninja pybind11
	EXTENSION=0 $(CUDA_PIP) --no-build-isolation -e '.[plot,examples,report,test]'
	touch $@

# Where the toolkit is, nvcc itself says: what is on the PATH may be a link or a script.
$(CUDA_VENV)/built: export CUDA_HOME ?= $(shell nvcc --dryrun -x cu /dev/null 2>&1 | sed -n 's/^.* TOP=//p')
$(CUDA_VENV)/built: export TORCH_CUDA_ARCH_LIST = $(CUDA_ARCHITECTURES)
$(CUDA_VENV)/built: export TESTING = 1
$(CUDA_VENV)/built: export WERROR = 1
$(CUDA_VENV)/built: $(CUDA_VENV)/set-up setup.py $(CSRC) $(wildcard pytorch_minimize/*.py* pytorch_minimize/*/*.py)
	PATH="$(CURDIR)/$(CUDA_BIN):$(PATH)" $(CUDA_BIN)/python setup.py -q build \
		--build-temp $(CUDA_BUILD)/temp --build-lib $(CUDA_BUILD)/lib
	touch $@

# torch comes first, because the package is built against the torch that is there. The
# extension is left out here and compiled below, where only what has changed is.
$(VENV)/set-up: constraints.txt pyproject.toml setup.py
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch numpy setuptools ninja pybind11
	EXTENSION=0 $(PIP) --no-build-isolation -e '.[plot,examples,report,test,dev,docs]'
	touch $@

# An environment that sees what $(VENV) has, behind what it gets itself. Before Python 3.12 one is
# born with a setuptools, too old to build this package.
PURELIB := -c "import sysconfig; print(sysconfig.get_path('purelib'))"
define layer
$(BIN)/python -m venv --clear $(@D)
$(@D)/bin/python -m pip --disable-pip-version-check uninstall -q -y setuptools
echo "import site; site.addsitedir('$$($(BIN)/python $(PURELIB))')" \
> "$$($(@D)/bin/python $(PURELIB))/base.pth"
endef

# Packages to compare with.
$(BENCH)/set-up: $(VENV)/set-up bench/peers.txt
	$(layer)
	$(BENCH)/bin/python -m pip --disable-pip-version-check install -q -c constraints.txt -r bench/peers.txt
	touch $@

$(VENV)/built: $(VENV)/set-up setup.py $(CSRC)
	TESTING=1 $(BIN)/python setup.py -q build_ext --inplace
	touch $@

# The whole suite on the last release of each scipy that is supported, with the newest numpy that
# this scipy and this Python allow. Neither is pinned: what was released since is what it is for.
SCIPYS := 1.15 1.16 1.17
SCIPY_TESTS := $(SCIPYS:%=test-scipy-%)
.PHONY: $(SCIPY_TESTS)

test-scipy: $(SCIPY_TESTS)

$(SCIPY_TESTS): test-scipy-%: .venv-scipy-%/set-up $(VENV)/built
	.venv-scipy-$*/bin/python -c "import numpy, scipy; \
	print('scipy', scipy.__version__, 'numpy', numpy.__version__); \
	assert scipy.__version__.startswith('$*.')"
	.venv-scipy-$*/bin/python -m pytest -q $(PARALLEL)

$(SCIPYS:%=.venv-scipy-%/set-up): .venv-scipy-%/set-up: $(VENV)/set-up
	$(layer)
	$(@D)/bin/python -m pip --disable-pip-version-check install -q --upgrade 'scipy==$*.*' numpy
	touch $@

# The manual, with warnings as errors: whole, into build/docs; quickly, without running the gallery,
# whose pages are then not kept; and the links to other places, which needs the network.
SPHINX := $(BIN)/python -m sphinx -q -W --keep-going -n

docs: $(VENV)/built
	OMP_NUM_THREADS=1 $(SPHINX) -b html docs build/docs

docs-check: $(VENV)/built
	rm -rf docs/made
	GALLERY=0 $(SPHINX) -b html docs build/docs-check
	rm -rf docs/made

linkcheck: $(VENV)/built
	rm -rf docs/made
	GALLERY=0 $(SPHINX) -b linkcheck docs build/linkcheck
	rm -rf docs/made

# Every example of docs/frameworks, with the framework that it is of.
FRAMEWORKS := .venv-frameworks
.PHONY: test-frameworks

test-frameworks: $(FRAMEWORKS)/set-up $(VENV)/built
	$(FRAMEWORKS)/bin/python -m pytest -q -n auto --maxprocesses 4 tests/frameworks

$(FRAMEWORKS)/set-up: $(VENV)/set-up constraints-frameworks.txt
	$(layer)
	$(@D)/bin/python -m pip --disable-pip-version-check install -q -c constraints.txt \
		-c constraints-frameworks.txt accelerate botorch deepxde gpytorch lightning pyro-ppl skorch torch_geometric
	touch $@

# What a compiler of another kind says of csrc: clang with its own library, which includes less, on
# the integers of macOS (tests/macos/), where int64_t is not a long. torch's headers stay Linux's.
CLANG := $(shell command -v clang++)
MACOS := build/macos
MACOS_SOURCES := $(filter-out csrc/device/cuda/%,$(filter %.cpp,$(CSRC)))
.PHONY: macos-check gpu-check

macos-check: $(if $(CLANG),$(MACOS_SOURCES:%=$(MACOS)/%.ok))
ifeq ($(CLANG),)
	@echo "macos-check: there is no clang++ on the PATH, so there is nothing to check"
endif

$(MACOS)/flags: $(VENV)/set-up
	mkdir -p $(@D)
	$(BIN)/python -c "import pybind11, sysconfig; from torch.utils.cpp_extension import include_paths; \
	print(*(f'-isystem{path}' for path in \
	['tests/macos', *include_paths('cpu'), sysconfig.get_path('include'), pybind11.get_include()]))" > $@

$(MACOS)/%.ok: % $(CSRC) $(wildcard tests/macos/*/*.h tests/macos/*/*/*.h) $(MACOS)/flags
	$(CLANG) -fsyntax-only -stdlib=libc++ -std=c++20 -Wall -Wextra -Werror @$(MACOS)/flags -Icsrc \
	-DMINIMIZE_TORCH_VERSION=0 -DMINIMIZE_DEBUG=0 -DTORCH_EXTENSION_NAME=_C $<
	@mkdir -p $(@D) && touch $@

# On a machine with a card, bare but for torch with CUDA and what its tests import: all of it with
# this Python, no environment made and nothing fetched. Without one it goes as far as it can.
GPU_PYTHON ?= $(or $(shell command -v python3),$(PYTHON))
gpu-check:
	$(GPU_PYTHON) -m bench.card --out $(or $(OUT),build/card)

demo-fit: $(VENV)/built
	$(BIN)/python examples/curve_fit.py
