# `make quick` and `make test` are all a newcomer needs; `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORES ?= $(shell $(PYTHON) -c "import os; print(len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count())")
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
export PATH := $(abspath $(BIN)):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help install quick check test coverage test-all lint bench scores docs schema clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "SWIM needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "This Python has no venv module. On Debian or Ubuntu: sudo apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The stamps hold the installation back until a list of packages changes.
$(VENV)/installed: envs/requirements.txt pyproject.toml | $(BIN)/python
	@echo "Installing SWIM into $(VENV) (a few minutes and about 6 GB the first time) ..."
	$(PIP) -r envs/requirements.txt
	$(PIP) --no-deps --editable .
	@touch $@

$(VENV)/installed-dev: envs/requirements-dev.txt $(VENV)/installed
	$(PIP) -r envs/requirements-dev.txt
	@touch $@

install: $(VENV)/installed  ## make .venv and install everything into it

quick: $(VENV)/installed  ## LeNet on 5,000 embedded MNIST digits, all methods, a few minutes
	snakemake --cores $(CORES) quick
	snakemake --cores $(CORES) quick --report results/quick/report.zip
	@echo
	@python -m swim claims results/quick/claims.json
	@echo
	@echo "Figures:  results/quick/figures/ (PNG, SVG and PDF)"
	@echo "Tables:   results/quick/accuracy.csv, results/summary/quick.md"
	@echo "Claims:   results/quick/claims.html"
	@echo "Report:   results/quick/report.zip (unpack it, open report/report.html in a browser)"

lint: $(VENV)/installed-dev  ## formatting, lint, order of the rooms, types
	ruff format --check .
	ruff check .
	lint-imports
	snakefmt --check Snakefile rules
	snakemake --lint
	mypy

# Files are dealt out to the cores as they become free, the longest first.
PYTEST := pytest -n $(CORES) --dist loadfile --no-loadscope-reorder

check: lint  ## lint, and the unit tests that are quick: two minutes, for every edit
	$(PYTEST) -m "not slow and not long" tests/unit $(PYTEST_ARGS)

test: $(VENV)/installed-dev  ## the tests that every change must pass
	$(PYTEST) -m "not slow" $(PYTEST_ARGS)

# Counting covered lines takes 0.7 of the tests' own time more, next to nothing from Python 3.12 on.
coverage: $(VENV)/installed-dev  ## the same tests, and the part of each room's lines that they run
	COVERAGE_CORE=$$(python -c "import sys; print('sysmon' if sys.version_info >= (3, 12) else 'ctrace')") \
	  $(PYTEST) -m "not slow" --cov --cov-report= $(PYTEST_ARGS)
	@python -m tests.coverage_by_room

test-all: $(VENV)/installed-dev  ## all tests, before a release: many kills, every network
	$(PYTEST) $(PYTEST_ARGS)

$(VENV)/installed-bench: envs/requirements-bench.txt $(VENV)/installed-dev
	$(PIP) -r envs/requirements-bench.txt
	@touch $@

# aihwkit brings versions of its own: another environment, of about 6 GB.
AIHWKIT := .venv-aihwkit
$(AIHWKIT)/installed: envs/requirements-aihwkit.txt | $(BIN)/python
	$(PYTHON) -m venv $(AIHWKIT)
	$(AIHWKIT)/bin/python -m pip --disable-pip-version-check install --quiet -r $<
	@touch $@

bench: $(VENV)/installed-bench $(AIHWKIT)/installed  ## all benchmarks, some 40 minutes on an idle machine
	python -m benchmarks.engine --aihwkit $(AIHWKIT)/bin/python
	python -m benchmarks.sensitivity
	python -m benchmarks.estimators
	python -m benchmarks.steps
	python -m benchmarks.scaling
	python -m benchmarks.workflow
	python -m benchmarks.estimate
	python -m benchmarks.paper
	@echo "Results: benchmarks/results/*.md"

docs: $(VENV)/installed  ## write the tables of README and docs that are made from stored files
	python -m benchmarks.docs_pages

# Networks that others have trained: make scores SCORES="resnet20 --resnet20 FILE --cifar10 FILE"
scores: $(VENV)/installed  ## accuracy by score on networks of several kinds: docs/scores.md (hours)
	snakemake --cores $(CORES) results/lenet_mnist/model.safetensors results/convnet_cifar10/model.safetensors
	python -m benchmarks.scores vit gru lenet convnet $(SCORES)

schema: $(VENV)/installed  ## write the files that are generated from swim/settings
	python -m swim schema --out rules/schemas/config.schema.json --markdown docs/settings.md

clean:  ## remove the results (not the installation, not the data)
	rm -rf results
