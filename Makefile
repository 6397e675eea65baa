# Every target sets up what it needs, given Python 3.11 and a C++ compiler; a second
# call does nothing over again, and a change in csrc compiles what it touches.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
BENCH := .venv-bench
PIP := $(BIN)/python -m pip --disable-pip-version-check install -q -c constraints.txt
SANITIZED := build/sanitize

# torch's build looks for ninja on the PATH.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo demo-global demo-pinn test bench lint sanitize

demo: $(VENV)/built
	$(BIN)/python examples/digits.py

demo-global: $(VENV)/built
	$(BIN)/python examples/rastrigin.py

demo-pinn: $(VENV)/built
	$(BIN)/python examples/pinn.py

test: $(VENV)/built
	$(BIN)/python -m pytest -q

bench: $(BENCH)/set-up $(VENV)/built
	$(BENCH)/bin/python -m pytorch_minimize.report --out bench/results
	$(BENCH)/bin/python bench/readme.py

lint: $(VENV)/built
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror csrc/*.h csrc/*.cpp

# The bridge's tests on a build of its own. The sanitizers' runtimes must be loaded
# before Python, which was not built with them, and whose own leaks are not ours.
RUNTIMES = $(foreach name,asan ubsan stdc++,$(shell $(CXX) -print-file-name=lib$(name).so))

sanitize: $(VENV)/built
	SANITIZE=1 $(BIN)/python setup.py -q build --build-temp $(SANITIZED)/temp --build-lib $(SANITIZED)/lib
	LD_PRELOAD="$(RUNTIMES)" ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
	PYTHONPATH=$(SANITIZED)/lib PYTHONSAFEPATH=1 PYTHONMALLOC=malloc \
	$(BIN)/python -m pytest -q tests/test_bridge.py tests/test_bridge_memory.py tests/test_bridge_refusals.py

# torch comes first, because the package is built against the torch that is there. The
# extension is left out here and compiled below, where only what has changed is.
$(VENV)/set-up: constraints.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch numpy setuptools ninja pybind11
	EXTENSION=0 $(PIP) --no-build-isolation -e '.[plot,examples,report,test,dev]'
	touch $@

# Packages to compare with, in an environment of their own that sees what $(VENV) has.
PURELIB := -c "import sysconfig; print(sysconfig.get_path('purelib'))"
$(BENCH)/set-up: $(VENV)/set-up bench/peers.txt
	$(PYTHON) -m venv --clear $(BENCH)
	echo "import site; site.addsitedir('$$($(BIN)/python $(PURELIB))')" \
	> "$$($(BENCH)/bin/python $(PURELIB))/base.pth"
	$(BENCH)/bin/python -m pip --disable-pip-version-check install -q -c constraints.txt -r bench/peers.txt
	touch $@

$(VENV)/built: $(VENV)/set-up setup.py $(wildcard csrc/*)
	$(BIN)/python setup.py -q build_ext --inplace
	touch $@
