# Every target does its own set-up in .venv; CPython 3.11 or later, make and pip are all it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest
JOBS ?= auto

.PHONY: demo test test-all test-sim test-fuzz check format benchmark docs clean

demo: $(VENV)/demo
	$(BIN)/python examples/demo.py

test: $(VENV)/test
	$(PYTEST) -n $(JOBS) --dist loadgroup

test-all:
	scripts/test-all

test-sim: $(VENV)/test
	$(PYTEST) -n $(JOBS) tests/sim --all-seeds

test-fuzz: $(VENV)/test
	$(PYTEST) tests/fuzz --fuzz-count 1000000

check: $(VENV)/check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/check
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark: $(VENV)/test
	$(BIN)/python -m benchmarks

docs: $(VENV)/docs
	$(BIN)/mkdocs build --strict

clean:
	rm -rf .venv* build dist *.egg-info site .lab

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "zt_async needs Python 3.11 or later: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip setuptools

# One stamp for each set of dependencies; the package itself is installed in place.
$(VENV)/%: $(VENV)/bin/python pyproject.toml setup.py zt_async/_speedups.c
	$(BIN)/python -m pip install -qq --editable '.[$*]'
	@touch $@
