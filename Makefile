# make run     install what is missing into .venv and run the study (ARGS="..." goes to snakemake)
# make test    install and run all checks
# make help    list the targets

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
SHELL := /bin/bash

.DEFAULT_GOAL := help
.PHONY: help install run watch compare pictures test lint format schema constraints clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 22

install: $(VENV)/.installed ## install the study's environment into .venv

run: $(VENV)/.installed ## run the study; ARGS="--config preset=smoke" for a first look
	$(BIN)/snakemake --cores all --resources gpu=1 $(ARGS)

watch: $(VENV)/.installed ## watch a running study; STUDY=results/cpu (default: the newest)
	@$(BIN)/python scripts/watch.py $(STUDY)

compare: $(VENV)/.installed ## compare two studies: A=results/x B=results/y
	@$(if $(and $(A),$(B)),$(BIN)/python scripts/compare_studies.py $(A) $(B) $(ARGS),\
	  echo "error: name two studies: make compare A=results/x B=results/y" >&2; exit 2)

pictures: $(VENV)/.installed-dev ## take the README's pictures from a finished study: STUDY=results/cpu
	@$(BIN)/python docs/make_pictures.py $(or $(STUDY),results/cpu)

test: $(VENV)/.installed-dev ## run all checks: formatting, lint, unit, workflow and browser tests
	$(MAKE) --no-print-directory lint
	$(BIN)/pytest

lint: $(VENV)/.installed-dev ## check formatting and style, and snakemake --lint
	$(BIN)/ruff check scripts tests docs
	$(BIN)/ruff format --check scripts tests docs
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint

format: $(VENV)/.installed-dev ## format the code
	$(BIN)/ruff check --fix scripts tests docs
	$(BIN)/ruff format scripts tests docs
	$(BIN)/snakefmt Snakefile rules

schema: $(VENV)/.installed ## write config/schema.json from the typed configuration
	$(BIN)/python scripts/write_schema.py config/schema.json

constraints: $(VENV)/.installed-dev ## write envs/constraints.txt from .venv
	{ echo '# Every package of the environment, transitive ones too. Made by `make constraints`.'; \
	  $(BIN)/pip freeze --all --exclude pip; } > envs/constraints.txt

clean: ## remove .venv; results and data stay
	rm -rf $(VENV)

$(VENV)/.installed: envs/requirements.txt envs/constraints.txt
	@test "$$(uname -s)" = Linux || { echo "error: this needs Linux (on Windows: WSL 2), not $$(uname -s)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "error: Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) --version 2>&1); set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "error: $(PYTHON) cannot make environments; install its venv package (Debian: apt install python3-venv)"; exit 1; }
	@echo "installing into $(VENV): a few minutes the first time"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --progress-bar on -r envs/requirements.txt -c envs/constraints.txt
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed envs/requirements-dev.txt
	$(BIN)/pip install -r envs/requirements-dev.txt -c envs/constraints.txt
	@touch $@
