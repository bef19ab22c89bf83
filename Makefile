# Two commands on a machine with Python 3.11 to 3.13 and a package registry: `make demo` and `make test`.

PYTHON ?= python3
VENV ?= .venv
ROOT ?= artifacts/demo
PROFILE ?= demo
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-slow lint check ui bench clean

demo: $(READY)
	$(BIN)/geocal demo --profile $(PROFILE) --root $(ROOT)

test: $(READY)
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: $(READY)
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/dg check defs

ui: $(READY)
	mkdir -p .dagster
	DAGSTER_HOME=$(CURDIR)/.dagster GEOCAL_ROOT=$(CURDIR)/$(ROOT) GEOCAL_PROFILE=$(PROFILE) VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/dg dev

bench: $(READY)
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[bench]"
	$(BIN)/python benchmarks/fit_l0.py

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 14) else "geocal needs Python 3.11 to 3.13; give one with make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dagster,simulate,dev]"
	touch $(READY)

clean:
	rm -rf $(VENV) artifacts .dagster
