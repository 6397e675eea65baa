# Every target sets up what it needs; a second call does nothing over again.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/pip --disable-pip-version-check install -q -c constraints.txt
export PATH := $(CURDIR)/$(BIN):$(PATH)

SOURCES = $(wildcard csrc/*.cpp csrc/*.h) setup.py pyproject.toml

.PHONY: demo test bench lint

demo: $(VENV)/.built
	$(BIN)/python examples/digits.py

test: $(VENV)/.built
	$(BIN)/python -m pytest -q

bench: $(VENV)/.built
	$(BIN)/python bench/bridge.py

lint: $(VENV)/.built
	$(BIN)/ruff check .
	$(BIN)/mypy

$(VENV)/.set-up: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) setuptools wheel ninja pybind11 scipy numpy threadpoolctl tqdm
	$(PIP) pytest hypothesis scikit-learn matplotlib ruff mypy clang-format
	touch $@

$(VENV)/.built: $(VENV)/.set-up $(SOURCES)
	$(PIP) --no-build-isolation --no-deps -e .
	touch $@
