# Everything runs in .venv, made here from the pinned versions of constraints.txt; the system Python stays as it is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip --quiet

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all test-lowest fuzz bench lint lint-page format nano clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "longclip needs Python 3.11 or newer; this is " + sys.version.split()[0] + " — say which one: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing longclip into $(VENV) (a few minutes the first time) …"
	$(PIP) install -c constraints.txt torch
	$(PIP) install -c constraints.txt -e .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@echo "installing the test tools …"
	$(PIP) install -c constraints.txt -e '.[dev]'
	# Parity oracles whose metadata asks for torchvision, which longclip never installs.
	$(PIP) install -c constraints.txt --no-deps clip-anytorch clip_benchmark open_clip_torch timm
	# Its metadata asks for an older huggingface_hub, of which it needs nothing that has changed.
	$(PIP) install -c constraints.txt --no-deps fastembed loguru mmh3 py-rust-stemmers
	@touch $@

setup: $(VENV)/installed-dev  ## make .venv with everything in it

demo: $(VENV)/installed  ## stretch, fine-tune and measure a small CLIP on drawn scenes (six minutes)
	$(BIN)/longclip demo --out runs/demo

# Files go to workers whole, since their tests share models, databases and servers.
WORKERS := -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder
test: $(VENV)/installed-dev  ## all tests but the slow ones
	$(BIN)/python -m pytest -m "not slow" $(WORKERS)

test-all: $(VENV)/installed-dev  ## all tests, with new random examples
	LONGCLIP_EXAMPLES=new $(BIN)/python -m pytest

fuzz: $(VENV)/installed-dev  ## random inputs under a memory limit (SEED=0 CASES=2000)
	$(BIN)/python -m tests.fuzz --first $(or $(SEED),0) --cases $(or $(CASES),2000)

bench: $(VENV)/installed-dev  ## all benchmarks in a short form, and one table of them (a quarter of an hour)
	$(BIN)/python benchmarks/run_all.py --out runs/bench

LOWEST := .venv-lowest/bin
test-lowest:  ## the tests that need no extras, with the lowest versions that pyproject.toml allows
	$(PYTHON) -m venv .venv-lowest
	$(LOWEST)/python -m pip --quiet install uv
	$(LOWEST)/uv pip compile --quiet --no-header --resolution lowest-direct pyproject.toml -o .venv-lowest/requirements.txt
	$(LOWEST)/python -m pip --quiet install -r .venv-lowest/requirements.txt pytest pytest-xdist hypothesis
	$(LOWEST)/python -m pip --quiet install --no-deps -e .
	$(LOWEST)/python -m pytest -m "not slow" $(WORKERS)

lint: $(VENV)/installed-dev  ## ruff, mypy, layers, codespell; biome and tsc for the search page
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	@if command -v npm > /dev/null; then $(MAKE) --no-print-directory lint-page; \
	else echo "npm is not installed: the search page's style and script are not checked"; fi

lint-page: node_modules/installed  ## biome and tsc for the search page
	npm run --silent lint

node_modules/installed: package.json package-lock.json
	npm ci --silent
	@touch $@

format: $(VENV)/installed-dev  ## let ruff and biome put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	@if command -v npm > /dev/null; then $(MAKE) --no-print-directory node_modules/installed && npm run --silent format; fi

nano: $(VENV)/installed  ## remake the bundled model (half an hour)
	$(BIN)/python scripts/make_nano.py

clean:  ## remove .venv and caches (runs/ stays)
	rm -rf $(VENV) .venv-lowest node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
