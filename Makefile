# Ringlight: everything a person types. Plain `make` lists it.
#
# The virtual environment is .venv; it is made when it is missing and refreshed only when pyproject.toml or
# constraints.txt changed. Another interpreter: make PYTHON=python3.12 ...
# The tests share two cores, whole files at a time: make WORKERS=4 test on a larger machine, WORKERS=0 in one process.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
WORKERS ?= 2
# A process that crashes ends the run and names its test: begun anew, the others wait for ever for what it had been given.
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --max-worker-restart 0

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow check check-format check-style check-types check-rows check-licences bench docs clean
.DELETE_ON_ERROR:

help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# `venv` over an existing folder completes one whose making was interrupted, and leaves a whole one as it is.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON): expected Python 3.11 or newer, got $$($(PYTHON) --version 2>&1); run: make PYTHON=python3.11 ..." >&2; \
	  exit 2; }
	@echo "Preparing $(VENV) (a few minutes the first time)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(READY) ## Make strips, train a small model on them and judge it: offline, about three minutes
	@$(BIN)/ringlight demo

test: $(READY) ## Run the quick tests
	@$(PYTEST) -m 'not slow and not gpu'

test-slow: $(READY) ## Run the tests that train for more than a few seconds
	@$(PYTEST) -m 'slow and not gpu'

check: check-format check-style check-types check-rows check-licences ## Check format, style, types, import rows and licences

# Targets of their own, so that `make --keep-going check` tells everything at once.
check-format: $(READY)
	$(BIN)/ruff format --check
check-style: $(READY)
	$(BIN)/ruff check
check-types: $(READY)
	$(BIN)/mypy
check-rows: $(READY)
	$(BIN)/lint-imports
check-licences: $(READY)
	$(BIN)/python scripts/check_licences.py

bench: $(READY) ## Run every benchmark in turn; each prints its figures
	@failed=''; \
	for script in benchmarks/[!_]*.py; do \
	  echo "== $$script"; \
	  $(BIN)/python "$$script" || failed="$$failed $$script"; \
	done; \
	if [ -n "$$failed" ]; then echo "failed:$$failed" >&2; exit 1; fi

docs: $(READY) ## Write the reference pages from the code
	@$(BIN)/python scripts/make_reference.py

clean: ## Remove the virtual environment, caches and build outputs; runs in workspace/ stay
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
