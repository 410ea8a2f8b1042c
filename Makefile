# Every target is a line that a person could type. `make help` lists them.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PACKAGES := protos clients/python services/artefacts services/inference services/gateway services/api services/stack training
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help venv install demo serve test check lint types imports format protos bench constraints clean

help: ## List the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 14

.venv/installed: tools/install.py pyproject.toml constraints.txt $(PACKAGES:%=%/pyproject.toml)
	$(PYTHON) tools/install.py

venv: .venv/installed ## Make the virtual environment .venv, with everything in it

install: venv ## The same

demo: venv ## A noisy movie in, atom counts out: the whole stack on this machine, results in out/demo
	$(BIN)/python -m segdepth_stack.demo

serve: venv ## Run the whole stack on this machine until Ctrl-C
	$(BIN)/segdepth serve

test: check ## Everything that must hold: style, types, imports, and all tests that need no cluster
	$(BIN)/pytest -m "not cluster"

check: lint types imports ## Style, types and imports alone

lint: venv ## Style, with ruff
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: venv ## Types, with mypy
	$(BIN)/mypy

imports: venv ## Which package may import which, with import-linter
	$(BIN)/lint-imports --no-logo

format: venv ## Put the style right where ruff can
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

protos: venv ## Generate the code of the wire contract
	$(BIN)/python protos/generate.py

bench: venv ## Measure speed, on an otherwise idle machine; results in out/bench
	$(BIN)/python -m tests.benchmarks.bench

constraints: venv ## Pin what is installed now in constraints.txt
	$(BIN)/python tools/pin.py

clean: ## Remove what the other targets made, the virtual environment too
	rm -rf .venv out .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
