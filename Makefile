# Two commands do everything on a fresh machine: `make demo` and `make test`.
# VENV may name another virtual environment; DATA the folder of real routing-outcome tables.
PYTHON ?= python3
VENV   ?= .venv
DATA   ?= ../shared/data
BIN    := $(VENV)/bin
# Two test processes with one thread each: two with two threads spend their time waiting for each other.
PIP    := $(BIN)/pip install --quiet --disable-pip-version-check --constraint .ci/constraints.txt

.PHONY: help demo test test-slow lint bench default-bundle sample schema mlflow-ui clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

demo: $(VENV)/.training  ## set up, train on the shipped (simulated) sample, register in MLflow, route a page of prompts
	@$(BIN)/python -m training demo

test: $(VENV)/.dev  ## set up and run the whole test suite
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n 2

test-slow: $(VENV)/.dev  ## the suites that take long: soak, coverage simulations, many kill -9
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -m slow

lint: $(VENV)/.dev  ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev  ## measure every bar on the real tables of DATA; reports go to tests/benchmarks/report
	$(BIN)/python -m tests.benchmarks --data $(DATA) --out tests/benchmarks/report

default-bundle: $(VENV)/.training  ## fit models/default on the tables of DATA
	$(BIN)/python -m training default-bundle --data $(DATA) --out models/default --measured tests/benchmarks/report/quality.json

sample: $(VENV)/.training  ## write data/sample again (seeded; simulated)
	$(BIN)/python -m training.sample

schema: $(VENV)/.training  ## write data/schema again from the types
	$(BIN)/python -m training.schema

mlflow-ui: $(VENV)/.training  ## open the comparison of router versions (loopback only)
	@MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false $(BIN)/mlflow ui --backend-store-uri sqlite:///mlflow.db --host 127.0.0.1 --port 5000

clean:  ## remove what was made, the environment included
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache out mlruns mlartifacts mlflow.db

$(VENV)/.base: .ci/constraints.txt pyproject.toml
	@sh .ci/system-packages python
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.training: $(VENV)/.base
	@echo "Installing (about a minute, once) ..."
	@$(PIP) --editable '.[training]'
	@touch $@

$(VENV)/.dev: $(VENV)/.base
	@sh .ci/system-packages tests
	@echo "Installing with the test tools (about two minutes, once) ..."
	@$(PIP) --editable '.[training,dev]'
	@touch $@ $(VENV)/.training
