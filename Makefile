# `make run` and `make test` do all set-up themselves; see `make help`.
.DEFAULT_GOAL := help
.PHONY: help run build test test-matrix check wheel bench docs clean

VENV := .venv
BIN := $(VENV)/bin
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
SOURCES := $(shell find bpf native src -type f ! -path '*/__pycache__/*' ! -name '*.so' ! -name '*.bpf.o') meson.build pyproject.toml

help: ## what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

run: build ## set up, then trace this host while making a dozen attempts of our own
	$(SUDO) $(BIN)/callout trace --demo

build: $(VENV)/.built ## set up and leave the command at .venv/bin/callout

# System packages: only what is missing is installed.
$(VENV)/.system: scripts/setup.sh
	bash scripts/setup.sh
	mkdir -p $(VENV) && touch $@

$(VENV)/.python: $(VENV)/.system pyproject.toml
	"$$(bash scripts/setup.sh --python)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --group build
	touch $@

$(VENV)/.built: $(VENV)/.python $(SOURCES)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pip install --quiet --no-build-isolation '.[arrow,html,polars]'
	touch $@

$(VENV)/.tested: $(VENV)/.built
	bash scripts/setup.sh --test
	$(BIN)/python -m pip install --quiet --group test --group check
	touch $@

check: $(VENV)/.tested ## formatting, lint and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: check ## all checks, and all tests that this machine can run
	$(SUDO) env PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest $(PYTEST_ARGS)

test-matrix: $(VENV)/.tested ## the kernel tests inside emulated Debian kernels
	$(SUDO) env PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python tests/matrix/run.py $(MATRIX_ARGS)

wheel: $(VENV)/.tested ## one wheel for every CPython from 3.11 on, in dist/
	PATH="$(CURDIR)/$(BIN):$$PATH" bash scripts/wheel.sh

bench: $(VENV)/.tested ## what it costs, beside what others cost; writes docs/overhead.md
	$(SUDO) env PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m bench.overhead --write

docs: $(VENV)/.built ## generate docs/fields.md and the rest that comes from code
	$(BIN)/python scripts/docs.py

clean: ## remove everything that was made here
	rm -rf $(VENV) build dist
