# Two commands on a machine with Python 3.11 to 3.13 and a package registry: `make demo` and `make test`.

PYTHON ?= python3
VENV ?= .venv
ROOT ?= artifacts/demo
PROFILE ?= demo
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Dagster's history, one for each root, so that the UI shows what `make demo` made.
HISTORY := $(CURDIR)/.dagster/$(notdir $(ROOT))

.PHONY: demo test test-slow lint check ui bench clean

demo: $(READY) $(HISTORY)/dagster.yaml
	DAGSTER_HOME=$(HISTORY) $(BIN)/geocal demo --profile $(PROFILE) --root $(ROOT)

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

ui: $(READY) $(HISTORY)/dagster.yaml
	DAGSTER_HOME=$(HISTORY) GEOCAL_ROOT=$(abspath $(ROOT)) GEOCAL_PROFILE=$(PROFILE) VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/dg dev

bench: $(READY)
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[bench]"
	$(BIN)/python -m benchmarks.fit

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 14) else "geocal needs Python 3.11 to 3.13; give one with make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dagster,simulate,dev]"
	touch $(READY)

$(HISTORY)/dagster.yaml:
	mkdir -p $(HISTORY)
	printf 'telemetry: {enabled: false}\nnux: {enabled: false}\n' > $@

clean:
	rm -rf $(VENV) artifacts .dagster
