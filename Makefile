# Daily commands. The virtual environment is made on first use and again when pyproject.toml changes.

PYTHON ?= python3
VENV := .venv-dev
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test faults fuzz lint format types diagram events ci clean

help: ## list these commands
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --upgrade pip
	$(BIN)/pip install -q --group dev -e '.[cli]'
	touch $@

demo: $(VENV)/installed ## send a file through a lossy link between two processes
	$(BIN)/packhorse demo

test: $(VENV)/installed ## run the tests; make test ARGS=tests/protocol for some of them
	$(BIN)/python -m pytest $(ARGS)

fuzz: $(VENV)/installed ## look for input that does harm, a minute per target; make fuzz ARGS=-max_total_time=3600
	$(BIN)/pip install -q --group fuzz
	$(BIN)/python -m tests.fuzz.fuzz stream $(or $(ARGS),-max_total_time=60)
	$(BIN)/python -m tests.fuzz.fuzz sequences $(or $(ARGS),-max_total_time=60)
	$(BIN)/python -m tests.fuzz.fuzz messages $(or $(ARGS),-max_total_time=60)

faults: $(VENV)/installed ## kill every node in every way; make faults ARGS='--kills 10000' for a random killer
	$(BIN)/python -m tests.faults.matrix $(ARGS)

lint: $(VENV)/installed ## check style
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: $(VENV)/installed ## bring the style in order
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: $(VENV)/installed ## check types, with mypy and pyright
	$(BIN)/mypy --strict -p packhorse
	$(BIN)/mypy --strict tests .ci
	$(BIN)/pyright --pythonpath $(BIN)/python

diagram: $(VENV)/installed ## draw the wiring anew: diagrams/stack.mmd, and the same in README.md
	$(BIN)/python -c 'from packhorse.actors.wiring import mermaid; print(mermaid(), end="")' > diagrams/stack.mmd
	sed -i -e '/^```mermaid$$/,/^```$$/{//!d}' -e '/^```mermaid$$/r diagrams/stack.mmd' README.md

events: $(VENV)/installed ## write the tables of actors/EVENTS.md anew
	$(BIN)/python -c 'from pathlib import Path; from packhorse.actors.events import rewritten; path = Path("actors/EVENTS.md"); path.write_text(rewritten(path.read_text()))'

ci: ## do what CI does, on a clean copy of the last commit
	.ci/run

clean: ## remove what can be made again
	rm -rf .venv .venv-dev build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .fuzz
