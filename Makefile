# `make demo` and `make test` need only Python 3.11 and a C++ compiler: they set up
# .venv, build what has changed, and run.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --constraint constraints.txt
SANITIZED := build/sanitize

# torch's build looks for ninja on the PATH.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo test bench lint sanitize clean

demo: $(VENV)/built
	$(BIN)/python examples/digits.py

test: $(VENV)/built
	$(BIN)/python -m pytest

bench: $(VENV)/built
	$(BIN)/python bench/bridge.py

lint: $(VENV)/built
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror csrc/*.h csrc/*.cpp

# The bridge's tests, against a build of its own. The sanitizers' runtimes must come
# first in a process that was not built with them; the leaks would be Python's.
sanitize: $(VENV)/built
	SANITIZE=1 $(BIN)/python setup.py -q build --build-temp $(SANITIZED)/temp --build-lib $(SANITIZED)/lib
	PYTHONPATH=$(SANITIZED)/lib PYTHONSAFEPATH=1 PYTHONMALLOC=malloc \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
	LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libubsan.so) $$($(CXX) -print-file-name=libstdc++.so)" \
	$(BIN)/python -m pytest tests/test_bridge.py tests/test_bridge_memory.py tests/test_bridge_refusals.py

clean:
	rm -rf build $(VENV) *.egg-info pytorch_minimize/*.so

# Three stamps, so that each step is redone for its own reasons only. torch comes
# first, because the package is built against the torch that is installed.
$(VENV)/torch: constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch numpy setuptools ninja
	touch $@

$(VENV)/installed: pyproject.toml $(VENV)/torch
	$(PIP) --no-build-isolation --editable '.[plot,examples,test,dev]'
	touch $@

$(VENV)/built: setup.py $(wildcard csrc/*) $(VENV)/installed
	$(BIN)/python setup.py -q build_ext --inplace
	touch $@
