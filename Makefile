# Everything that a fresh machine with git, make, a C compiler and Python 3.11 needs.
PYTHON ?= python3.11
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
export MLFLOW_DISABLE_TELEMETRY := true
export OMP_NUM_THREADS ?= 1

.PHONY: env demo docs test lint types imports unit test-slow bench clean
.DEFAULT_GOAL := test

env: $(READY)

$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is needed (set PYTHON=…)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=26"
	@# torch by its pinned version first: asked for as a range, pip would take a build with gigabytes of CUDA packages.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' constraints.txt)" --constraint constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[simulate]' --group dev --constraint constraints.txt
	@touch $@

demo: $(READY)
	BIN=$(BIN) QUICK=$(QUICK) sh launch/demo.sh

# The documentation as a site; every warning is an error. Its tools are installed when it is asked for first.
docs: $(VENV)/.docs
	$(BIN)/sphinx-build --quiet --fail-on-warning --fresh-env docs site
	@echo "site/index.html"

$(VENV)/.docs: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group docs --constraint constraints.txt
	@touch $@

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

imports: $(READY)
	$(BIN)/lint-imports --no-cache

unit: $(READY)
	$(BIN)/pytest --quiet --numprocesses 2 --dist worksteal

test: lint types imports unit

test-slow: $(READY)
	$(BIN)/pytest --quiet -m slow

# Those that need nothing but this environment; docs/benchmarks.md says what the others are given.
bench: $(READY)
	for name in simulate prepare tracking step method_steps; do $(BIN)/python benchmarks/$$name.py || exit 1; done

clean:
	rm -rf demo demo-quick site .pytest_cache .mypy_cache .ruff_cache .hypothesis
