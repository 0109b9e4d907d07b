# Every target does its own set-up: all depend on `setup`, which makes .venv/ once and again when the pins change.
#   make scenes SKU=perfume01 PROMPT="on a white marble vanity, soft daylight"
#   make test

SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
SKU ?= perfume01
PROMPT ?= on a white marble vanity, soft daylight
CONFIG ?=
WORLD ?=
PHOTOS ?=
MODELS ?=
WORKSPACE ?= .
ARGS ?=
# a file stays with one worker, which makes what its tests share once; heavy files go first (tests/conftest.py)
WORKERS ?= -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# a thread a process: what two torch processes with all cores each do to one another is tenfold
TEST = OMP_NUM_THREADS=1 $(BIN)/pytest -q

BIN := .venv/bin
PACKSHOT := $(BIN)/packshot
STAMP := .venv/.made-from
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
CONFIG_OPTION = $(if $(CONFIG),--config $(CONFIG))
IN = --workspace $(WORKSPACE)

.PHONY: help setup prepare train-lora scenes evaluate nightly doctor test test-fast check format lint types \
        bench bench-gpu abuse constraints check-extras clean clean-all

help:  ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' Makefile | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

# The stamp holds the content of what the environment was made from (not a file time); a half-made .venv has none.
setup:  ## Make .venv/ with the pinned install and .venv/bin/packshot
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Error: Packshot needs Python 3.11 or newer"; echo "hint: make setup PYTHON=python3.12"; exit 1; } >&2
	@if ! cat pyproject.toml setup.py constraints.txt | cmp -s - $(STAMP); then \
	  echo "setting up .venv (once, about a minute)" >&2 && rm -f $(STAMP) && \
	  $(PYTHON) -m venv .venv && \
	  $(INSTALL) "torch==2.13.0" && $(INSTALL) -e ".[dev]" && \
	  cat pyproject.toml setup.py constraints.txt > $(STAMP); fi

prepare: setup  ## Photos of SKU -> prepared set
	@$(PACKSHOT) prepare "$(SKU)" $(CONFIG_OPTION) $(IN) $(ARGS) >/dev/null

train-lora: setup  ## Train the adapter of SKU (prepares first what is stale)
	@$(PACKSHOT) train "$(SKU)" $(CONFIG_OPTION) $(IN) $(ARGS)

scenes: setup  ## Prepare, train, and place SKU into PROMPT; each step only where something changed
	@$(PACKSHOT) train "$(SKU)" $(CONFIG_OPTION) $(IN) >/dev/null
	@$(PACKSHOT) place "$(SKU)" --prompt "$(PROMPT)" $(IN) $(ARGS)

evaluate: setup  ## Fidelity report of SKU's adapter; exit 3 when the gate is not met
	@$(PACKSHOT) evaluate "$(SKU)" $(IN) $(ARGS)

nightly: setup  ## Retrain what is stale, gate, promote, report
	@$(PACKSHOT) nightly $(IN) $(ARGS)

doctor: setup  ## What this machine can do
	@$(PACKSHOT) doctor $(IN)

test: setup  ## All tests but those that need a GPU; the slowest and the CPU time are shown
	@$(TEST) $(WORKERS) -m "not gpu" --durations=20 $(ARGS)

test-fast: setup  ## The unit tier alone: no model, under a minute of CPU
	@$(TEST) -m "not (tiny or e2e or slow or gpu)" $(ARGS)

format: setup  ## Format the code
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

lint: setup
	@$(BIN)/ruff format --check . && $(BIN)/ruff check .

types: setup
	@$(BIN)/mypy

check: lint types test  ## All that CI runs: format, lint, types, tests

bench: setup  ## Measurements, each a table: make bench WORLD=DIR PHOTOS=DIR MODELS=DIR (see benchmarks/README.md)
	@test -n "$(WORLD)" || { echo "Error: the benchmarks need a rendered world"; \
	  echo "hint: make bench WORLD=DIR [PHOTOS=DIR]"; exit 1; } >&2
	@echo "== prepare" && $(BIN)/python -m benchmarks.cutout --world "$(WORLD)" $(if $(MODELS),--model-dir "$(MODELS)")
	@echo "== incremental" && $(BIN)/python -m benchmarks.catalogue
	@echo "== embedded_base" && $(BIN)/python -m benchmarks.embedded_base --world "$(WORLD)" \
	  $(if $(PHOTOS),--photos "$(PHOTOS)") $(ARGS)

bench-gpu: setup  ## SDXL's step on a CUDA device: time, memory against the plan, every preset (under 8 minutes)
	@$(BIN)/python -m benchmarks.gpu $(ARGS)

abuse: setup  ## Every document and command abused and judged, resumable: a table (an hour; ARGS=pairs, kills, exports)
	@$(BIN)/python -m benchmarks.abuse $(ARGS)

constraints: setup  ## Resolve the pins again, over all extras at once
	@$(BIN)/python tools/packaging/pin_versions.py

check-extras: setup  ## Install each extra in a fresh environment and import what it brings
	@$(BIN)/python tools/packaging/check_extras.py $(ARGS)

clean:  ## Remove caches and the environment; adapters, scenes, runs and prepared sets stay
	rm -rf .cache .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis

clean-all: clean  ## Remove everything Packshot made here, after asking; product sets stay
	@read -r -p "Remove adapters/, scenes/, cutouts/, runs/ and every prepared set in $(WORKSPACE)? [y/N] " answer; \
	  if [ "$$answer" = y ]; then \
	    cd "$(WORKSPACE)" && rm -rf runs adapters scenes cutouts reports datasets/*/prepared; \
	  else echo "nothing was removed"; fi
